"""What is seen of a page in a browser: its texts with their places and colours."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chromium import Chromium, chromium

SCREENS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3 (AA)

# What is seen of every piece of text: its box, cut by what scrolls around it, its colours.
TEXTS = """
(() => {
  const cut = (box, by) => ({left: Math.max(box.left, by.left), top: Math.max(box.top, by.top),
    right: Math.min(box.right, by.right), bottom: Math.min(box.bottom, by.bottom)});
  const rgb = colour => colour.match(/[0-9.]+/g).map(Number);
  const background = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let number = 0; walker.nextNode(); number++) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || !parent.checkVisibility() || parent.closest('title')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const block = parent.closest('pre');
    const boxes = block ? [block.getBoundingClientRect()] : [...range.getClientRects()];
    const style = getComputedStyle(parent);
    const ink = parent.closest('svg') ? style.fill : style.color;
    for (let box of boxes) {
      for (let at = parent; at; at = at.parentElement)
        if (at !== document.documentElement && getComputedStyle(at).overflowX !== 'visible')
          box = cut(box, at.getBoundingClientRect());
      if (box.right - box.left < 1 || box.bottom - box.top < 1) continue;
      found.push({node: number, text: node.data.trim().slice(0, 40), ink: rgb(ink).slice(0, 3),
        paper: background(parent), pixels: parseFloat(style.fontSize),
        box: [box.left, box.top, box.right, box.bottom]});
    }
  }
  return JSON.stringify(found);
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser for all tests of the module."""
    with chromium(tmp_path_factory.mktemp("browser") / "chromium") as browser:
        yield browser


def complaints(browser: Chromium) -> list[Any]:
    """Everything that the browser's console would show."""
    methods = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    return [said for method in methods for said in browser.said(method)]


def requests(browser: Chromium) -> list[str]:
    """Addresses that the page has asked for."""
    return [said["request"]["url"] for said in browser.said("Network.requestWillBeSent")]


def text(browser: Chromium, selector: str = "body") -> str:
    """What is read on the page, also in folded parts."""
    browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    shown: str = browser.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
    return shown


def keep(browser: Chromium, path: Path) -> None:
    """Check that the page can be drawn; the picture stays where ORCHESTRATOR_TEST_PICTURES says."""
    folder = os.environ.get("ORCHESTRATOR_TEST_PICTURES")
    path = Path(folder) / path.name if folder else path
    browser.screenshot(path)
    assert path.stat().st_size > 10_000


def overlaps(pieces: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of texts of which one lies on the other by more than the edge of a letter."""
    found = []
    for place, one in enumerate(pieces):
        for other in pieces[place + 1 :]:
            if one["node"] == other["node"]:
                continue
            (a, b, c, d), (e, f, g, h) = one["box"], other["box"]
            if min(c, g) - max(a, e) > 2 and min(d, h) - max(b, f) > 4:
                found.append((one["text"], other["text"]))
    return found


def luminance(colour: list[float]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    parts = [each / 255 for each in colour]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: list[float], other: list[float]) -> float:
    """Contrast of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
