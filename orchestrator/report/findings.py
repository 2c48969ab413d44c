"""Findings of rules as cards, and where they are in the charts; pure.

They come from the program that was watched: any member may be missing, or anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.report.axes import Mark
from orchestrator.report.markup import Markup, join, tag
from orchestrator.report.names import elided
from orchestrator.report.words import number

Finding = Mapping[str, Any]
MOST = 60
TEXT = 1500
LAYERS, VALUES, REMEDIES = 8, 12, 6
NAME = 80

STYLE = Markup("""
.finding { border-left: 4px solid var(--warn); background: var(--card); padding: 12px 16px 10px; margin: 0 0 12px;
  border-radius: 0 6px 6px 0; break-inside: avoid; }
.finding.stopped { border-left-color: var(--bad); }
.finding .top { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: baseline; }
.finding .rule { font-weight: 700; } .finding .seen { font-weight: 600; margin: 4px 0 8px; }
.finding .badge { border-radius: 999px; padding: 0 8px; font-size: 12.5px; font-weight: 700; color: var(--on);
  background: var(--warn); } .finding.stopped .badge { background: var(--bad); }
.finding dl { margin: 0; } .finding .pair { display: grid; grid-template-columns: 92px 1fr; gap: 14px; margin: 4px 0; }
.finding dt { color: var(--soft); } .finding dd { margin: 0; min-width: 0; }
.finding ol { margin: 0; padding-left: 1.3em; }
.finding .value { display: inline-block; margin-right: 18px; font-variant-numeric: tabular-nums; }
.finding code { margin-right: 14px; display: inline-block; }
code.concerned { color: var(--bad); font-weight: 700; }
.fine { border-left-color: var(--good); }
.jumps { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 22px 0 -14px; } .jumps a { color: var(--blue); }
h3 { font-size: 15px; margin: 26px 0 2px; } h3 + p { margin: 0 0 8px; max-width: 78ch; }
.over svg.steps { min-width: 900px; margin: 4px 0 10px; }
@media (max-width: 600px) { .finding .pair { grid-template-columns: 1fr; gap: 0; } }
""")


def cards(findings: Sequence[Finding], *, many: bool) -> Markup:
    """Return a card for each finding; those that stopped the job are told apart.

    Args:
        findings: In the order of time; their places give them their numbers.
        many: Whether there are several optimizers to tell apart.
    """
    made = [_card(place + 1, finding, many) for place, finding in enumerate(findings[:MOST])]
    rest = len(findings) - MOST
    if rest > 0:
        made.append(tag("p", f"{rest:,} more findings are not shown here.", class_="soft"))
    return join(*made)


def of_optimizer(findings: Sequence[Finding], index: int) -> dict[int, Finding]:
    """Return the findings about an optimizer, by their numbers."""
    return {
        place + 1: finding
        for place, finding in enumerate(findings[:MOST])
        if finding.get("optimizer", 0) == index
    }


def marks_of(findings: Mapping[int, Finding]) -> list[Mark]:
    """Return where findings are in charts."""
    return [
        Mark(step, str(place), f"{place}: {name_of(finding)} at step {step:,}", stops(finding))
        for place, finding in findings.items()
        if (step := step_of(finding)) is not None
    ]


def layers_of(findings: Mapping[int, Finding]) -> frozenset[str]:
    """Return the names of all tensors that findings are about."""
    return frozenset(layer for finding in findings.values() for layer in texts(finding, "layers"))


def step_of(finding: Finding) -> int | None:
    """Return the step of a finding, if it has one."""
    step = finding.get("step")
    return step if isinstance(step, int) else None


def stops(finding: Finding) -> bool:
    """Return whether a finding ended the job."""
    return finding.get("stop") is True


def name_of(finding: Finding) -> str:
    """Return the name of the rule, as its user calls it."""
    return elided(str(finding.get("name") or finding.get("rule") or "a rule"), NAME)


def texts(finding: Finding, member: str) -> list[str]:
    """Return a member that is a list of text."""
    found = finding.get(member)
    return [str(each) for each in found] if isinstance(found, list | tuple) else []


def values_of(finding: Finding) -> list[tuple[str, str]]:
    """Return the numbers that decided, for people."""
    found = finding.get("values")
    if not isinstance(found, Mapping):
        return []
    return [
        (elided(str(name), NAME), number(value) if isinstance(value, float) else str(value)[:NAME])
        for name, value in list(found.items())[:VALUES]
    ]


def _card(place: int, finding: Finding, many: bool) -> Markup:
    step = step_of(finding)
    facts = [f"step {step:,}" if step is not None else ""]
    if many:
        facts.append(f"optimizer {finding.get('optimizer', 0)}")
    rule = str(finding.get("rule", ""))
    if rule and rule != finding.get("name", rule):
        facts.append(f"rule {elided(rule, NAME)}")
    facts.append("stopped the job" if stops(finding) else "reported only")
    pairs = (tag("div", tag("dt", k), tag("dd", *v), class_="pair") for k, v in _parts(finding))
    return tag(
        "article",
        tag(
            "div",
            tag("span", f"{place}", class_="badge"),
            tag("span", name_of(finding), class_="rule"),
            tag("span", " · ".join(fact for fact in facts if fact), class_="soft"),
            class_="top",
        ),
        tag("p", str(finding.get("message", ""))[:TEXT], class_="seen"),
        tag("dl", *pairs),
        class_="finding stopped" if stops(finding) else "finding",
        id=f"finding-{place}",
    )


def _parts(finding: Finding) -> Iterator[tuple[str, list[Markup | str]]]:
    values = values_of(finding)
    if values:
        yield "Values", [tag("span", f"{k} ", tag("b", v), class_="value") for k, v in values]
    layers = texts(finding, "layers")
    if layers:
        shown: list[Markup | str] = [tag("code", elided(each, NAME)) for each in layers[:LAYERS]]
        more = len(layers) - LAYERS
        yield "Layers", [*shown, f"and {more} more"] if more > 0 else shown
    cause = str(finding.get("cause") or "")
    if cause:
        yield "Cause", [cause[:TEXT]]
    remedies = texts(finding, "remedies")[:REMEDIES]
    if remedies:
        yield "What to do", [tag("ol", *(tag("li", each[:TEXT]) for each in remedies))]
