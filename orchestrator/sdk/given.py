"""What users give a trainer, as values: plain data is taken where its meaning is plain."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import InvalidSpec
from orchestrator.sdk.config import InputData, SourceCode
from orchestrator.spec.job import MetricDefinition

if TYPE_CHECKING:
    from orchestrator.spec.base import Spec

S = TypeVar("S", bound="Spec")


def value(kind: type[S], given: object, name: str) -> S:
    """Return a value of a kind; mappings are read as its fields.

    Raises:
        InvalidSpec: It is neither, or breaks a rule.
    """
    if isinstance(given, kind):
        return given
    if isinstance(given, Mapping):
        return kind.parse(dict(given))
    raise _unfit(name, f"{kind.__name__}(...), or a mapping of its fields", given)


def optional(kind: type[S], given: object, name: str) -> S | None:
    """Return a value of a kind, or None for None; see ``value``."""
    return None if given is None else value(kind, given, name)


def mapping(given: object, name: str) -> dict[str, Any]:
    """Return ``{name: value}``; nothing is an empty one.

    Raises:
        InvalidSpec: It is something else.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise _unfit(name, "a mapping of names to values", given)
    for key in given:
        if not isinstance(key, str):
            raise _unfit(f"a name in {name}", "a text", key)
    return dict(given)


def names(given: object, name: str) -> tuple[str, ...]:
    """Return texts; one alone is refused, since it is a sequence of letters.

    Raises:
        InvalidSpec: It is something else.
    """
    return tuple(str(each) for each in _sequence(given, name))


def source_code(given: object) -> SourceCode | None:
    """Return source code of a value, mapping, function, file or directory.

    Raises:
        InvalidSpec: It is none of these.
    """
    if given is None or isinstance(given, SourceCode):
        return given
    if isinstance(given, str | Path):
        path = Path(given)
        if path.is_dir():
            return SourceCode(source_dir=str(path), entry_script="train.py")
        return SourceCode(entry_script=str(path))
    if callable(given):
        return SourceCode.from_function(given)
    return value(SourceCode, given, "source_code")


def channels(given: object) -> dict[str, InputData]:
    """Return channels by name, of ``InputData`` values or of ``{name: where its data is}``.

    Raises:
        InvalidSpec: It is something else.
    """
    if isinstance(given, Mapping):
        given = [_channel(name, place) for name, place in given.items()]
    found = [
        value(InputData, each, "each of input_data_config")
        for each in _sequence(given, "input_data_config")
    ]
    return {channel.channel_name: channel for channel in found}


def _channel(name: str, place: object) -> object:
    if isinstance(place, str | Path):
        return InputData(channel_name=name, data_source=place)
    if isinstance(place, InputData) and place.channel_name != name:
        raise _unfit(f"input_data_config[{name!r}]", f"the channel {name!r}", place.channel_name)
    return place


def metric_definitions(given: object) -> tuple[MetricDefinition, ...]:
    """Return definitions of values, or of mappings with ``Name`` and ``Regex``.

    Raises:
        InvalidSpec: There is something else among them.
    """
    return tuple(_metric_definition(each) for each in _sequence(given, "metric_definitions"))


def _metric_definition(given: object) -> MetricDefinition:
    if isinstance(given, Mapping):
        given = {str(key).lower(): each for key, each in given.items()}
    return value(MetricDefinition, given, "each of metric_definitions")


def hyperparameters(given: object) -> dict[str, str]:
    """Return hyperparameters as SageMaker sends them: texts as they are, all else as JSON.

    Raises:
        InvalidSpec: One has no JSON form.
    """
    return {
        name: each if isinstance(each, str) else _json(name, each)
        for name, each in mapping(given, "hyperparameters").items()
    }


def _json(name: str, given: object) -> str:
    try:
        return json.dumps(given, default=_plain)
    except (TypeError, ValueError) as error:
        raise InvalidSpec(
            f"hyperparameters must be strings, numbers, booleans, lists or mappings, got {given!r} "
            f"for {name!r} ({error}); convert it first"
        ) from error


def _plain(given: Any) -> Any:
    """Return what JSON can hold of a path, or of a number or array of NumPy or PyTorch."""
    if isinstance(given, Path):
        return str(given)
    for method in ("tolist", "item"):
        if callable(convert := getattr(given, method, None)):
            return convert()
    raise TypeError(f"{type(given).__name__} has no JSON form")


def _sequence(given: object, name: str) -> Iterable[object]:
    if given is None:
        return ()
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise _unfit(name, "a list or another sequence, not one value alone", given)
    return given


def _unfit(name: str, wanted: str, given: object) -> InvalidSpec:
    text = repr(given)
    shown = text if len(text) <= 80 else text[:79] + "…"
    return InvalidSpec(f"{name} must be {wanted}, got {shown} ({type(given).__name__})")
