"""Walks a directory that a hostile program has filled: no link is followed, no order is trusted."""

from __future__ import annotations

import os
from itertools import chain, islice

from orchestrator_runtime import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    Entries = Iterator["os.DirEntry[str]"]

MAX_DEPTH = 200
"""Directories deeper than this are passed over: each level holds a descriptor open."""
SORTED_ENTRIES = 10_000
"""Directories up to this size are walked in order of names; larger ones in order of the disk,
so that a million files in one directory need no memory."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
REGULAR, DIRECTORY, LINK = 0o100000, 0o040000, 0o120000
_KINDS = {0o010000: "FIFO", 0o020000: "device", 0o060000: "device", 0o140000: "socket"}


class Entry:
    """One name: ``name`` in the open directory ``directory``, ``path`` from the root."""

    __slots__ = ("directory", "name", "path", "stat")

    def __init__(self, path: str, name: str, directory: int, stat: os.stat_result) -> None:
        self.path = path
        self.name = name
        self.directory = directory
        self.stat = stat

    @property
    def kind(self) -> int:
        """The file type bits: REGULAR, DIRECTORY or LINK."""
        return self.stat.st_mode & 0o170000


class Walk:
    """Iterates over all entries that can be kept.

    ``skipped`` tells which could not, and why.

    Args:
        root: A directory that the program cannot replace.
        name: The directory below it; one whose parts became links is skipped as a whole.
        only: Of what lies in it, only these names; None = everything.
    """

    def __init__(self, root: str, name: str, only: Collection[str] | None = None) -> None:
        self.skipped: list[str] = []
        self.skipped_count = 0
        self._root = root
        self._name = name
        self._only = only

    def skip(self, path: str, reason: str) -> None:
        """Note an entry that is left out; the first hundred are kept by name."""
        self.skipped_count += 1
        if len(self.skipped) < 100:
            self.skipped.append(f"{path}: {reason}")

    def __iter__(self) -> Iterator[Entry]:
        """Yield entries, directories before what they hold."""
        try:
            top = files.open_directory(self._root, self._name)
        except FileNotFoundError:
            return
        except OSError as error:
            self.skip(self._name, error.strerror or "no directory")
            return
        stack = [(top, "", self._wanted(_listed(top)))]
        try:
            while stack:
                directory, prefix, entries = stack[-1]
                item = next(entries, None)
                if item is None:
                    stack.pop()
                    os.close(directory)
                    continue
                entry = self._look(item, prefix, directory)
                if entry is None:
                    continue
                yield entry
                if entry.kind == DIRECTORY:
                    self._descend(entry, stack)
        finally:
            for directory, _, _ in stack:
                os.close(directory)

    def _wanted(self, entries: Entries) -> Entries:
        only = self._only
        return entries if only is None else (item for item in entries if item.name in only)

    def _look(self, item: os.DirEntry[str], prefix: str, directory: int) -> Entry | None:
        path = prefix + item.name
        try:
            stat = item.stat(follow_symlinks=False)
        except OSError as error:
            self.skip(path, error.strerror or "unreadable")
            return None
        reason = _KINDS.get(stat.st_mode & 0o170000)
        if reason is not None:
            self.skip(path, reason)
            return None
        return Entry(path, item.name, directory, stat)

    def _descend(self, entry: Entry, stack: list[tuple[int, str, Entries]]) -> None:
        if len(stack) >= MAX_DEPTH:
            self.skip(entry.path, f"more than {MAX_DEPTH} directories deep")
            return
        try:
            below = os.open(entry.name, _DIRECTORY, dir_fd=entry.directory)
        except OSError as error:
            self.skip(entry.path, error.strerror or "unreadable")
            return
        stack.append((below, entry.path + "/", _listed(below)))


def _listed(directory: int) -> Entries:
    entries = os.scandir(directory)
    first = sorted(islice(entries, SORTED_ENTRIES), key=lambda item: item.name)
    return chain(first, entries)


def safe_link(path: str, target: str, base: str) -> str | None:
    """Return where a link may point in the archive, None if it leaves the tree.

    A target is kept when it climbs only at its beginning and not above the root: links within
    links then cannot add up to an escape. An absolute target below ``base`` becomes relative.

    Args:
        path: The link, from the root.
        target: What it points to.
        base: The root as the program saw it.
    """
    depth = path.count("/")
    if target.startswith("/"):
        inside = target[len(base) :] if target.startswith(base.rstrip("/") + "/") else ""
        if not inside.strip("/"):
            return None
        target = "../" * depth + inside.strip("/")
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    if climbs > depth or ".." in parts[climbs:]:
        return None
    return target
