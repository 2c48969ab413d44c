"""From ``--debug`` and ``--stop-on`` of ``orchestrator run`` to a debugger. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidSpec

if TYPE_CHECKING:
    from orchestrator.spec.debug import Debugger

ALL = "all"
DEFAULT = "default"


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
        if (named := _words("--debug", debug, DEFAULT)) != [DEFAULT]:
            fields["rules"] = named
    if stop_on is not None:
        fields["stop_on"] = _words("--stop-on", stop_on, ALL)
    return Debugger.parse(fields)


def _words(option: str, text: str, everything: str) -> list[str]:
    """Return the names of an option: an empty variable of a shell must not switch it off."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise InvalidSpec(
            f"{option} must name rules, got {text!r}; write {everything}, or leave it out"
        )
    for word in words:
        if "=" in word:
            raise InvalidSpec(
                f"{option} takes names of rules without parameters, got {word!r}; set them in "
                "[[debugger.rules]] of job.toml, or by ModelTrainer(debugger=...)"
            )
    return words
