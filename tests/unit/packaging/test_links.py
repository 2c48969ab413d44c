"""Symbolic links in what programs leave: kept while they stay inside, never followed."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.packaging.archive import extract_archive, merge_archives
from orchestrator.packaging.tar_reader import MODEL_LIMITS, stays_inside


def archive(path: Path, **members: str) -> Path:
    """Write an archive: a value that begins with `->` makes a link."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, value in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            if value.startswith("->"):
                info.type, info.linkname = tarfile.SYMTYPE, value[2:]
                tar.addfile(info)
            else:
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value.encode()))
    return path


def test_merged_archives_keep_links_and_they_can_be_unpacked(tmp_path: Path) -> None:
    one = archive(tmp_path / "1.tar.gz", step3__weights="w", latest="->step3", own="->a")
    two = archive(tmp_path / "2.tar.gz", latest="->elsewhere", other="->" + "d/" * 60 + "x")
    merged = merge_archives([one, two], tmp_path / "merged.tar.gz")
    assert [(c.name, c.kept, c.dropped) for c in merged.clashes] == [("latest", 0, 1)]
    extract_archive(tmp_path / "merged.tar.gz", tmp_path / "out", limits=MODEL_LIMITS)
    assert (tmp_path / "out" / "latest" / "weights").read_text() == "w"
    assert (tmp_path / "out" / "own").readlink() == Path("a")
    assert (tmp_path / "out" / "other").readlink() == Path("d/" * 60 + "x")


def test_sources_have_no_links(tmp_path: Path) -> None:
    path = archive(tmp_path / "1.tar.gz", latest="->step3")
    with pytest.raises(InputError, match="only files and directories"):
        extract_archive(path, tmp_path / "out")


@pytest.mark.parametrize("target", ["/etc", "..", "../x", "a/../../x", "x\0y", ""])
def test_links_that_leave_are_refused(target: str, tmp_path: Path) -> None:
    assert not stays_inside(target, 0)
    if "\0" in target:
        return
    path = archive(tmp_path / "1.tar.gz", link="->" + target)
    with pytest.raises(InputError, match="links that leave"):
        extract_archive(path, tmp_path / "out", limits=MODEL_LIMITS)
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    for members in (
        {"d": "->.", "d__x": "evil"},
        {"d": "->e", "d__x": "evil"},
        {"a__b": "->..", "a__b__x": "evil"},
    ):
        path = archive(tmp_path / "1.tar.gz", **members)
        with pytest.raises(InputError, match="below a file"):
            extract_archive(path, tmp_path / "out", limits=MODEL_LIMITS)
        assert not (tmp_path / "out").exists()


@given(st.lists(st.sampled_from(["..", ".", "a", "b", ""]), max_size=8), st.integers(0, 4))
def test_what_stays_inside_resolves_inside(parts: list[str], depth: int) -> None:
    link = "/".join(parts)
    if not stays_inside(link, depth):
        return
    here = "/root" + "/d" * depth
    assert os.path.normpath(f"{here}/{link}").startswith("/root")
