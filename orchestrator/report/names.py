"""Names of tensors in little room: what tells them apart stays; pure."""

from __future__ import annotations

from collections.abc import Sequence

ELLIPSIS = "…"
SHORTEST = 3  # letters that are left of a word


def elided(name: str, most: int) -> str:
    """Return a name with its middle left out where it is too long."""
    if len(name) <= most:
        return name
    tail = (most - 1) * 3 // 5  # the end of a tensor's name says more than its beginning
    return f"{name[: most - 1 - tail]}{ELLIPSIS}{name[len(name) - tail :]}"


def labels(names: Sequence[str], most: int) -> list[str]:
    """Return short forms of names that are shown together.

    Words that all begin with are left out where one is too long otherwise; then the longest words
    are cut, but no numbers: ``…11.self_atte….output_pr….weight``.
    """
    if all(len(name) <= most for name in names):
        return list(names)
    common = _common([name.split(".")[:-1] for name in names])
    return [_label(name.split(".")[common:], most, is_cut=common > 0) for name in names]


def _common(paths: Sequence[list[str]]) -> int:
    """Return how many words all have in common; one path alone has nothing in common."""
    if len(paths) < 2:
        return 0
    first, last = min(paths), max(paths)
    same = 0
    for one, other in zip(first, last, strict=False):
        if one != other:
            break
        same += 1
    return same


def _label(words: list[str], most: int, *, is_cut: bool) -> str:
    lead = ELLIPSIS if is_cut else ""
    room = most - len(lead)
    if len(words) * 2 > room:
        return elided(lead + ".".join(words), most)
    lengths = [len(word) for word in words]
    while sum(lengths) + len(words) - 1 > room:
        place = max(range(len(words)), key=lambda n: 0 if words[n].isdigit() else lengths[n])
        if lengths[place] <= SHORTEST:
            return elided(lead + ".".join(words), most)
        lengths[place] -= 1
    return lead + ".".join(_cut(word, n) for word, n in zip(words, lengths, strict=True))


def _cut(word: str, length: int) -> str:
    return word if len(word) <= length else f"{word[: length - 1]}{ELLIPSIS}"
