"""The option ``--rule RULE:NAME=VALUE,…``: a rule with parameters of the user's own. Pure."""

from __future__ import annotations

import re

from orchestrator_runtime.rules import RuleError, judge_of

from orchestrator.errors import InvalidSpec

SEE_RULES = "see `orchestrator debug rules`"
# A rule, or a class of the user's source, and parameters; `module:Class` has a colon as well.
TUNED = re.compile(
    r"(?P<rule>[A-Za-z_][\w.]*(?::[A-Za-z_]\w*(?=:|$))?)(?::(?P<values>\w+=.*))?", re.S
)
_NEXT_VALUE = re.compile(r",(?=\w+=)")  # a value may hold commas itself


def tuned_rule(text: str) -> tuple[str, dict[str, str]]:
    """Return a rule and its parameters.

    Raises:
        InvalidSpec: The text has another form, or there is no such rule or parameter. A class of
            the user's is not looked at: only the program's own Python can load it.
    """
    found = TUNED.fullmatch(text)
    if found is None:
        raise InvalidSpec(
            f"--rule must be RULE:NAME=VALUE,NAME=VALUE, got {text!r}; for example "
            f"non_finite:loss_patience=5; {SEE_RULES}"
        )
    pairs = _NEXT_VALUE.split(found["values"]) if found["values"] else []
    values = dict(pair.split("=", 1) for pair in pairs)
    try:
        if ":" not in found["rule"]:
            judge_of(found["rule"], values)
    except RuleError as error:
        raise InvalidSpec(f"--rule must be one that can be: {error}; {SEE_RULES}") from error
    return found["rule"], values
