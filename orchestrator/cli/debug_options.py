"""From ``--debug``, ``--rule`` and ``--stop-on`` of ``orchestrator run`` to a debugger. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.spec.debug import Debugger

ALL = "all"
DEFAULT = "default"


def wished(
    given: Debugger | None, debug: str | None, stop_on: str | None, tuned: Sequence[str] = ()
) -> Debugger | None:
    """Return the debugger that is meant; None = the job is not watched.

    Args:
        given: That of the job file.
        debug: Rules, separated by commas; they replace those of the job file.
        stop_on: Rules whose finding ends the job, or ``all``.
        tuned: Rules with parameters, each ``RULE:NAME=VALUE,…``; those that judge already get
            the parameters, others are added.

    Raises:
        InvalidSpec: There is no such rule, or no such parameter.
    """
    if debug is None and stop_on is None and not tuned:
        return given
    from orchestrator.spec.debug import Debugger

    fields: dict[str, Any] = {} if given is None else given.model_dump(exclude_unset=True)
    if debug is not None:
        fields.pop("rules", None)
        if (named := _words("--debug", debug, DEFAULT)) != [DEFAULT]:
            fields["rules"] = named
    if stop_on is not None:
        fields["stop_on"] = _words("--stop-on", stop_on, ALL)
    if tuned:
        fields["rules"] = _with_parameters(Debugger.parse(fields), tuned)
    return Debugger.parse(fields)


def _with_parameters(debugger: Debugger, tuned: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rules of a debugger, and those that are tuned, with their parameters."""
    from orchestrator.cli.rule_option import tuned_rule

    rules = {rule.called: rule.model_dump(exclude_unset=True) for rule in debugger.rules}
    for text in tuned:
        name, values = tuned_rule(text)
        rule = rules.setdefault(name, {"rule": name})
        rule["parameters"] = {**rule.get("parameters", {}), **values}
    return list(rules.values())


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
                f"{option} takes names of rules without parameters, got {word!r}; give --rule "
                f"{word!r} beside it"
            )
    return words
