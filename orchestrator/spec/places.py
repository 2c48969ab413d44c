"""Places: addresses of objects, and directories as programs see them."""

from __future__ import annotations

import posixpath
from typing import Annotated

from pydantic import AfterValidator, StringConstraints


def no_nul(text: str) -> str:
    """Return a text that a program can be given.

    Raises:
        ValueError: It cannot.
    """
    if "\0" in text:
        raise ValueError("a text for a program must not have a NUL character; leave it out")
    return text


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(
            f"local_path must be an absolute path as the program sees it, got {path!r}; "
            "begin it with /"
        )
    if posixpath.normpath(path) in {"/", "//"}:
        raise ValueError(
            f"local_path must be a directory below the root, which would hide all else, got "
            f"{path!r}; use one such as /opt/ml/checkpoints"
        )
    return no_nul(path)


def _known_scheme(uri: str) -> str:
    if uri.startswith(("s3://", "file:///", "/")):
        return uri
    raise ValueError(f"must start with s3://, file:/// or /, got {uri!r}; give the whole address")


MOST_PLACE = 1024
"""Characters of a place."""
Place = Annotated[str, StringConstraints(max_length=MOST_PLACE), AfterValidator(_known_scheme)]
"""``s3://…``, ``file:///…`` or an absolute path."""
LocalPath = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_absolute)]
