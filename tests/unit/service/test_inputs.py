"""Channels are brought as they are wanted: linked or copied, and only if they fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.inputs import Fetch, View
from orchestrator.blobs.local import LocalBlobStore
from orchestrator.errors import InputError
from orchestrator.service.inputs import Inputs
from orchestrator.spec.job import Channel


class FarStore(LocalBlobStore):
    """A store whose objects have to be downloaded."""

    def lends(self, uri: str) -> bool:
        return False


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a").write_bytes(b"a" * 15)
    (folder / "b").write_bytes(b"b" * 5)
    return folder


def wanted(data: Path, view: View, room: int | None, **more: Any) -> Fetch:
    place = data.parent / "place"
    place.mkdir()
    channel = Channel.parse({"channel_name": "train", "uri": str(data), **more})
    return Fetch(channel, place, view, 0, 1, room)


@pytest.mark.parametrize(
    ("view", "shared"), [(View.LINK, True), (View.COPY, False)], ids=["link", "copy"]
)
def test_what_need_not_be_writable_shares_its_bytes(data: Path, view: View, shared: bool):
    fetch = wanted(data, view, None)
    Inputs(LocalBlobStore(data.parent / "blobs")).fetch(fetch)
    assert sorted(p.name for p in fetch.directory.iterdir()) == ["a", "b"]
    assert (fetch.directory / "a").samefile(data / "a") is shared


@pytest.mark.parametrize(
    ("store", "view", "room", "fits"),
    [
        (FarStore, View.LINK, 19, False),
        (FarStore, View.LINK, 20, True),
        (FarStore, View.LINK, None, True),
        (LocalBlobStore, View.COPY, 19, False),
        (LocalBlobStore, View.LINK, 19, True),  # it takes no space
    ],
)
def test_nothing_is_fetched_that_does_not_fit(
    data: Path, store: type[LocalBlobStore], view: View, room: int | None, fits: bool
):
    fetch = wanted(data, view, room)
    inputs = Inputs(store(data.parent / "blobs"))
    if fits:
        inputs.fetch(fetch)
        return
    with pytest.raises(InputError, match=r"\(VolumeSizeInGB\), channel 'train' has .* larger"):
        inputs.fetch(fetch)
    assert list(fetch.directory.iterdir()) == []


def test_a_stream_may_be_larger_than_the_volume(data: Path):
    fetch = wanted(data, View.PIPE, None, input_mode="Pipe")
    Inputs(FarStore(data.parent / "blobs")).fetch(fetch)
    assert [p.name for p in fetch.directory.iterdir()] == ["items"]
