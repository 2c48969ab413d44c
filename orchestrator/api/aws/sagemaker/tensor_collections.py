"""Collections of DebugHookConfig <-> ``Debugger.collections``. Pure.

As in smdebug's ``core/json_config.py``: lists are separated by commas, what begins with ``train.``
goes before what does not, and HookParameters are the defaults of all collections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.spec.recorded import ARRAY, HISTOGRAM, KINDS, TensorCollection

DEFAULT_SAVE_INTERVAL = 500
EVERYTHING = frozenset({"all", "default"})
"""Collections that hold any tensor."""
REDUCTIONS = {
    "l2": "l2",
    "abs_l2_norm": "l2",
    "l2_norm": "l2",
    **{name: name for name in ("min", "max", "mean", "std", "variance", "abs_max", "abs_mean")},
}
"""Those of smdebug's that are recorded here, and their names; of several the last is told back."""
_MOST = 20  # collections, as AWS's model has it


def collections_of(hook: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the fields of the collections that a hook is asked for, by name.

    Collections of the user's, with ``include_regex``, have whole tensors unless they name
    reductions, as in smdebug; those of all gradients, weights, and so on have their L2 norm, and
    whole tensors with ``save_raw_tensor``, since rules of SageMaker's ask for them as well.
    """
    general = hook.get("HookParameters", {})
    found = {}
    for _, name, given in _configurations(hook):
        include = _listed(given.get("include_regex", "")) or ([".*"] if name in EVERYTHING else [])
        if include or name in KINDS:
            raw = name in EVERYTHING or "include_regex" in given
            found[name] = _interval(given, general) | {
                "include": include,
                "statistics": _statistics(given, general, raw=raw),
            }
    return found


def broken_collections(hook: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a hook's collections that the model allows."""
    for place, _, given in _configurations(hook):
        for word in _listed(given.get("include_regex", "")):
            try:
                re.compile(word)
            except (re.error, OverflowError, RecursionError) as error:
                yield (
                    f"Value '{word:.256}' at 'debugHookConfig.{place}.include_regex' failed to "
                    "satisfy constraint: Member must be regular expressions, separated by commas: "
                    f"{error}"
                )


def save_interval(parameters: Mapping[str, str], otherwise: int) -> int:
    """Return the steps between two values of what some parameters are given for."""
    return _number("save_interval", parameters) or otherwise


def requested_collections(
    collections: Mapping[str, TensorCollection],
) -> list[dict[str, Any]]:
    """Return the configurations that would ask for collections, as far as a request can."""
    return [
        {"CollectionName": name, "CollectionParameters": _parameters(collection)}
        for name, collection in collections.items()
        if not any("," in word for word in collection.include)
    ][:_MOST]


def _configurations(hook: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Yield place, name and parameters of each collection; HookParameters can mean two more."""
    general = hook.get("HookParameters", {})
    if general.get("save_all", "").lower() == "true":
        yield "hookParameters", "all", {}
    if "include_regex" in general:
        yield "hookParameters", "default", {"include_regex": general["include_regex"]}
    for number, each in enumerate(hook.get("CollectionConfigurations", ()), 1):
        place = f"collectionConfigurations.{number}.member.collectionParameters"
        yield place, each.get("CollectionName", ""), each.get("CollectionParameters", {})


def _statistics(given: Mapping[str, str], general: Mapping[str, str], *, raw: bool) -> list[str]:
    reduced = given if "reductions" in given else general
    words = _listed(reduced.get("reductions", "")) + _listed(given.get("norms", ""))
    found = list(dict.fromkeys(REDUCTIONS[word] for word in words if word in REDUCTIONS))
    if _is_true("save_raw_tensor", given, general) or (raw and not words):
        found.append(ARRAY)
    if _is_true("save_histogram", given, {}):
        found.append(HISTOGRAM)
    return found or ["l2"]


def _interval(given: Mapping[str, str], general: Mapping[str, str]) -> dict[str, Any]:
    start = _number("start_step", given, general) or 0
    end = _number("end_step", given, general)
    every = _number("save_interval", given, general) or DEFAULT_SAVE_INTERVAL
    fields: dict[str, Any] = {"every": every, "start": start, "end": end}
    if end is not None and end <= start:
        fields = {"every": 0}  # no step lies between them
    listed = _listed(_found("save_steps", given, general) or "")
    return fields | {"steps": [int(word) for word in listed if _is_number(word)]}


def _number(name: str, *sources: Mapping[str, str]) -> int | None:
    text = _found(name, *sources)
    return int(text) if text is not None and _is_number(text) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _found(name: str, *sources: Mapping[str, str]) -> str | None:
    for source in sources:
        for key in (f"train.{name}", name):
            if key in source:
                return source[key].strip()
    return None


def _is_true(name: str, *sources: Mapping[str, str]) -> bool:
    return (_found(name, *sources) or "").lower() == "true"


def _listed(text: str) -> list[str]:
    return [word for word in map(str.strip, text.split(",")) if word]


def _parameters(collection: TensorCollection) -> dict[str, str]:
    names = {ours: theirs for theirs, ours in REDUCTIONS.items()}
    reductions = [names[each] for each in collection.statistics if each in names]
    given = {
        "include_regex": ",".join(collection.include),
        "save_interval": str(collection.every or ""),
        "start_step": str(collection.start or ""),
        "end_step": "" if collection.end is None else str(collection.end),
        "save_steps": ",".join(map(str, collection.steps)),
        "reductions": ",".join(reductions),
        "save_raw_tensor": "true" if ARRAY in collection.statistics else "",
        "save_histogram": "true" if HISTOGRAM in collection.statistics else "",
    }
    if not collection.every:  # none but save_steps
        given["end_step"] = "0"
    return {name: text for name, text in given.items() if text}
