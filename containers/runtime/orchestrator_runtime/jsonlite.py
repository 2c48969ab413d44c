"""JSON through the interpreter's C accelerator alone.

The ``json`` package imports ``re``, ``enum`` and ``functools``: 6 ms and 1.2 MB for a process
that should start in 20 ms and idle in 8 MB. Where the accelerator is missing or different,
``json`` is used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


class _ScannerContext:
    """The attributes of ``json.JSONDecoder`` that the C scanner reads."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {
        "NaN": float("nan"),
        "Infinity": float("inf"),
        "-Infinity": float("-inf"),
    }.__getitem__

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _native() -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    import _json  # noqa: PLC0415 -- may be missing

    scan = _json.make_scanner(_ScannerContext())  # type: ignore[arg-type] # duck-typed in C
    encode = _json.make_encoder(
        None, _refuse, _json.encode_basestring_ascii, None, ": ", ", ", False, False, True
    )  # type: ignore[call-arg,arg-type,unused-ignore] # the stubs differ between releases

    def load(text: str) -> Any:
        stripped = text.strip(" \t\r\n")
        try:
            value, end = scan(stripped, 0)
        except StopIteration as error:
            raise ValueError(f"no JSON value at character {error.value}") from None
        except SystemError:  # the scanner finds no json.decoder.JSONDecodeError to raise
            raise ValueError("malformed JSON value") from None
        if end != len(stripped):
            raise ValueError(f"extra data after the JSON value at character {end}")
        return value

    def dump(value: Any) -> str:
        return "".join(encode(value, 0))

    load('{"a": [1, 2.5, "b", null, NaN]}')
    dump({"a": [1, 2.5, "b", None]})
    return load, dump


def _choose() -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    try:
        return _native()
    except (ImportError, AttributeError, TypeError):
        import json  # noqa: PLC0415 -- the fallback

        return json.loads, json.dumps


_load, _dump = _choose()


def loads(data: bytes | str) -> Any:
    """Parse one JSON value.

    Raises:
        ValueError: The text is no JSON, or the bytes are no UTF-8.
        RecursionError: It is nested too deeply.
    """
    return _load(data.decode("utf-8") if isinstance(data, bytes) else data)


def dumps(value: Any) -> str:
    """Write one value as a single line of ASCII JSON."""
    return _dump(value)
