"""From ``--debug`` and ``--stop-on`` of ``orchestrator run`` to a debugger. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.spec.debug import Debugger

DEFAULT = "default"
ALL = "all"


def wished(given: Debugger | None, debug: str | None, stop_on: str | None) -> Debugger | None:
    """Return the debugger that is meant; None = the job is not watched.

    Args:
        given: That of the job file.
        debug: Rules, separated by commas; they replace those of the job file.
        stop_on: Rules whose finding ends the job, or ``all``.

    Raises:
        InvalidSpec: There is no such rule.
    """
    if debug is None and stop_on is None:
        return given
    from orchestrator.spec.debug import Debugger

    fields: dict[str, Any] = {} if given is None else given.model_dump(exclude_unset=True)
    if debug is not None:
        fields.pop("rules", None)
        if (named := _words(debug)) != [DEFAULT]:
            fields["rules"] = named
    if stop_on is not None:
        fields["stop_on"] = _words(stop_on)
    watched = Debugger.parse({**fields, "stop_on": ()})
    if stop_on is not None and ALL in fields["stop_on"]:
        fields["stop_on"] = [rule.called for rule in watched.rules]
    return Debugger.parse(fields)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
