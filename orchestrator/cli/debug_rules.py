"""``orchestrator debug rules``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.cli.options import Json

if TYPE_CHECKING:
    from orchestrator_runtime.rules import Parameter, Rule

EXAMPLES = """
orchestrator debug rules
orchestrator debug rules --json
"""
UNBOUNDED = float("inf")


def command(json: Json = False) -> int:
    """List the rules, their parameters, and the defaults.

    Rules marked with * judge a run by default. A parameter is set by
    --rule RULE:PARAMETER=VALUE.
    """
    from orchestrator_runtime.rules import DEFAULT_RULES, rules

    from orchestrator.cli import exits
    from orchestrator.cli.output import print_json
    from orchestrator.cli.tables import draw

    known = rules()
    if json:
        print_json([described(rule) for rule in known.values()])
        return exits.DONE
    rows = []
    for name, rule in known.items():
        mark = "*" if name in DEFAULT_RULES else ""
        rows.append((f"{name}{mark}", "", "", meaning(rule)))
        rows += [
            ("", parameter.name, written(parameter.default), parameter_meaning(parameter))
            for parameter in rule.parameters
        ]
    draw(rows, ("rule", "parameter", "default", "meaning"))
    return exits.DONE


def described(rule: type[Rule]) -> dict[str, Any]:
    """Return a rule as JSON can hold it."""
    from orchestrator_runtime.rules import DEFAULT_RULES

    return {
        "rule": rule.name,
        "default": rule.name in DEFAULT_RULES,
        "meaning": meaning(rule),
        "parameters": [
            {
                "name": parameter.name,
                "type": parameter.type,
                "default": parameter.default,
                "minimum": parameter.low if parameter.low > -UNBOUNDED else None,
                "maximum": parameter.high if parameter.high < UNBOUNDED else None,
                "choices": list(parameter.choices),
                "meaning": parameter.help,
            }
            for parameter in rule.parameters
        ],
    }


def meaning(rule: type[Rule]) -> str:
    """Return the first sentence of a rule's description, without its full stop."""
    paragraph = " ".join((rule.__doc__ or "").strip().partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".")


def parameter_meaning(parameter: Parameter) -> str:
    """Return what a parameter does and which values it can have."""
    words = [parameter.help] if parameter.help else []
    if parameter.choices:
        words.append(f"one of {', '.join(parameter.choices)}")
    elif parameter.low > -UNBOUNDED and parameter.high < UNBOUNDED:
        words.append(f"from {parameter.low:g} to {parameter.high:g}")
    elif parameter.low > -UNBOUNDED:
        words.append(f"at least {parameter.low:g}")
    elif parameter.high < UNBOUNDED:
        words.append(f"at most {parameter.high:g}")
    return "; ".join(words)


def written(value: object) -> str:
    """Return a default as it would be given on the command line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
