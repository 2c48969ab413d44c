"""``train``: the program of images that are started with nothing but the /opt/ml tree."""

from __future__ import annotations


def train(arguments: list[str]) -> int:
    """Run the program of an image; return its exit code."""
    raise NotImplementedError(arguments)
