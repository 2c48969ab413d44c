"""HTML that cannot be broken by what is put into it: text is escaped unless this file made it."""

from __future__ import annotations

import html
import re

from orchestrator.logs.render import strip_controls

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")
_VOID = frozenset(
    {"meta", "br", "line", "rect", "circle", "polyline", "polygon", "path", "image", "stop"}
)


class Markup(str):
    """Text that is HTML already. Made by ``tag`` and ``join``, never from foreign text."""

    __slots__ = ()


Child = str | Markup | None


def escape(text: str) -> Markup:
    """Return text as HTML; what would steer a terminal or hide text is taken out too."""
    lines = (strip_controls(line) for line in text.split("\n"))
    return Markup(html.escape("\n".join(lines), quote=True))


def join(*children: Child) -> Markup:
    """Return children after each other; plain strings are escaped, None is nothing."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(child)
            for child in children
            if child is not None
        )
    )


def tag(tag_name: str, *children: Child, **attributes: str | float | None) -> Markup:
    """Return an element.

    Args:
        tag_name: Its name.
        children: What is in it: text, or markup.
        attributes: ``class_`` becomes ``class``, ``a_b`` becomes ``a-b``; None leaves it out.
    """
    if not _NAME.fullmatch(tag_name):
        raise ValueError(f"an element's name must be letters and digits, got {tag_name!r}")
    words = [tag_name]
    for key, value in attributes.items():
        if value is None:
            continue
        name = key.removesuffix("_").replace("_", "-")
        if not _NAME.fullmatch(name) or name.lower().startswith("on"):
            raise ValueError(f"an attribute's name must be letters and no handler, got {name!r}")
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        words.append(f'{name}="{escape(text)}"')
    opening = f"<{' '.join(words)}>"
    if tag_name in _VOID and not children:
        return Markup(opening if tag_name in {"meta", "br"} else opening[:-1] + "/>")
    return Markup(f"{opening}{join(*children)}</{tag_name}>")
