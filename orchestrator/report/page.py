"""The page around a report: one file, nothing loaded from anywhere, no script but the file's own."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from orchestrator.report.markup import Markup, join, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

# Nothing may be loaded or run, whatever slips in; styles are those below.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
PICTURES = "; img-src data:"  # those that are in the file itself
SCRIPTED = (
    "; connect-src 'none'; img-src data: blob:; script-src "  # a plot can be saved as a picture
)

_STYLE = Markup("""
:root { color-scheme: light dark; --text: #1f2328; --soft: #59636e; --line: #d1d9e0; --back: #ffffff;
  --card: #f6f8fa; --good: #1a7f37; --bad: #cf222e; --warn: #9a6700; --blue: #0969da; --on: #ffffff;
  --c0: #0969da; --c1: #bc4c00; --c2: #1a7f37; --c3: #8250df; --c4: #bf3989; --c5: #57606a; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --soft: #9198a1; --line: #3d444d;
  --back: #0d1117; --card: #151b23; --good: #3fb950; --bad: #f85149; --warn: #d29922; --blue: #4493f8;
  --on: #0d1117;
  --c0: #4493f8; --c1: #f0883e; --c2: #3fb950; --c3: #ab7df8; --c4: #db61a2; --c5: #9198a1; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); overflow-wrap: anywhere;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 24px; margin: 0; }
h2 { font-size: 17px; margin: 34px 0 10px; }
p { margin: 6px 0; }
.soft { color: var(--soft); }
.head { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; }
.pill { border-radius: 999px; padding: 2px 12px; font-weight: 600; color: var(--on); background: var(--blue); }
.pill.Completed { background: var(--good); } .pill.Failed { background: var(--bad); }
.pill.Stopped, .pill.Stopping { background: var(--warn); }
.facts { display: flex; flex-wrap: wrap; gap: 6px 28px; margin: 12px 0 0; color: var(--soft); }
.facts b { color: var(--text); font-weight: 600; }
.failure { border-left: 4px solid var(--bad); background: var(--card); padding: 12px 16px; margin: 18px 0 0;
  border-radius: 0 6px 6px 0; }
.failure .what { font-weight: 600; white-space: pre-wrap; max-height: 15em; overflow: auto; }
.lane { margin: 4px 0 14px; }
.lane svg.bars { height: 22px; border-radius: 4px; background: var(--card); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; margin-top: 4px; font-size: 14px; }
.legend svg { display: inline-block; width: 10px; height: 10px; }
.hint { border-left-color: var(--warn); }
.cards { display: grid; margin-bottom: 14px; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: 14px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px;
  min-width: 0; }
.card .name { font-weight: 600; display: flex; flex-direction: row-reverse; justify-content: space-between; gap: 12px; }
.card .last { flex: none; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; margin: 6px 0 14px; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 500; }
table.pairs { table-layout: fixed; } table.pairs th { width: 26%; }
table.pairs th, table.pairs td, td.long { white-space: normal; }
td.long { min-width: 9em; }
th:last-child, td:last-child { padding-right: 0; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px;
  overflow: auto; max-height: 460px; font: 12.5px/1.45 ui-monospace, SFMono-Regular, Menlo, monospace;
  margin: 8px 0; }
.tail { display: flex; flex-direction: column-reverse; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; max-height: 460px; overflow: auto; margin: 8px 0; }
.tail pre { flex: none; border: 0; margin: 0; max-height: none; overflow: visible; }
details > summary { cursor: pointer; font-weight: 600; margin: 10px 0 4px; }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, monospace; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.grid { stroke: var(--line); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; }
.curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); } .s3 { stroke: var(--c3); }
.s4 { stroke: var(--c4); } .s5 { stroke: var(--c5); }
.f0 { fill: var(--c0); } .f1 { fill: var(--c1); } .f2 { fill: var(--c2); } .f3 { fill: var(--c3); }
.f4 { fill: var(--c4); } .f5 { fill: var(--c5); } .odd { fill: var(--bad); }
footer { margin-top: 44px; color: var(--soft); font-size: 13px; }
@media (max-width: 600px) { main { padding: 20px 14px 40px; } table.pairs th { width: 36%; }
  .wide th, .wide td { font-size: 12.5px; padding-right: 9px; } td.long { min-width: 6.5em; }
  .stack th { display: none; } .stack tr { display: flex; flex-wrap: wrap; border-bottom: 1px solid var(--line); }
  .stack td { border: 0; padding-bottom: 0; } .stack td.long { flex: 1 0 100%; padding: 0 0 5px; } }
@media print { pre, .tail { max-height: none; } .tail { display: block; } pre { white-space: pre-wrap; }
  .card, .lane { break-inside: avoid; } }
""")


def page(
    title: str,
    *sections: Markup | None,
    footer: str,
    style: Markup | None = None,
    pictures: bool = False,
    scripts: Sequence[Markup] = (),
) -> str:
    """Return a whole HTML document.

    Args:
        title: Of the browser's window.
        sections: What is on the page, in order; None is nothing.
        footer: One line at the end.
        style: Rules for what only this page has.
        pictures: Whether the file may contain pictures other than SVG.
        scripts: What runs, in order, when all else is there; nothing else can. They may make
            pictures.
    """
    policy = POLICY + PICTURES if pictures and not scripts else POLICY
    if scripts:
        policy += SCRIPTED + " ".join(map(_digest, scripts))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", _STYLE, style),
    )
    running = (tag("script", script) for script in scripts)
    body = tag("body", tag("main", *sections, tag("footer", footer)), *running)
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _digest(script: Markup) -> str:
    """Return how a policy names a script: no other text is run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def head(name: str, status: str, facts: dict[str, str], *more: Markup | str | None) -> Markup:
    """Return what a page begins with: whose it is, how that stands, and some facts.

    Args:
        name: Of the job.
        status: Of the job; one that the style has a colour for.
        facts: By what they are called.
        more: What comes below.
    """
    shown = (tag("span", f"{fact} ", tag("b", value)) for fact, value in facts.items())
    return join(
        tag("div", tag("h1", name), tag("span", status, class_=f"pill {status}"), class_="head"),
        tag("div", *shown, class_="facts"),
        *more,
    )


def section(title: str, *children: Markup | str | None) -> Markup | None:
    """Return a titled part of the page; None when there is nothing in it."""
    if not any(children):
        return None
    return tag("section", tag("h2", title), *children)


def rows(pairs: dict[str, str | Markup]) -> Markup | None:
    """Return a table of names and values; None for no pairs."""
    if not pairs:
        return None
    lines = (tag("tr", tag("th", name), tag("td", value)) for name, value in pairs.items())
    return tag("table", *lines, class_="pairs")


def grid(
    header: tuple[str, ...],
    lines: list[tuple[str | Markup, ...]],
    *,
    long: tuple[str, ...] = (),
    stack: bool = False,
) -> Markup | None:
    """Return a table with a header; None for no lines.

    Args:
        header: Titles of the columns.
        lines: Cells.
        long: Titles of the columns whose text may be broken into several lines.
        stack: On a narrow screen those columns get lines of their own, below the others.
    """
    if not lines:
        return None
    kinds = ["long" if title in long else None for title in header]
    head = tag("tr", *(tag("th", title) for title in header))
    body = (
        tag("tr", *(tag("td", cell, class_=kind) for cell, kind in zip(line, kinds, strict=True)))
        for line in lines
    )
    return tag("div", tag("table", head, *body), class_="wide stack" if stack else "wide")


def details(title: str, *children: Markup | str | None, is_open: bool = False) -> Markup:
    """Return a part that can be folded away."""
    return tag("details", tag("summary", title), join(*children), open="open" if is_open else None)
