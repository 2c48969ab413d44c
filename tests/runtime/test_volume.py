"""The quota of a host's files: what counts, when it is looked at, and how a job over it ends."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime import volume
from orchestrator_runtime.volume import VolumeWatch, pause_seconds

from tests.runtime.hosts import Host

MIB = 1 << 20
WRITE = """
import os, sys, time
def write(path, mib):
    with open(os.path.join(os.environ["SM_MODEL_DIR"], "..", path), "wb") as file:
        file.write(os.urandom(1 << 20) * mib)
"""


def limit(host: Host, size: int, **more: Any) -> Host:
    written = [str(host.ml), str(host.directory / "scratch")]
    host.plan["volume"] = {"bytes": size, "written": written, "inputs": None, **more}
    return host


def watch(*written: Path, size: int = MIB, inputs: Path | None = None) -> VolumeWatch:
    shown = str(inputs) if inputs else None
    return VolumeWatch({"bytes": size, "written": [str(w) for w in written], "inputs": shown})


class TestAJob:
    def test_a_program_that_goes_on_writing_is_ended_and_what_it_made_is_kept(self, fenced: Host):
        program = """
write("model/weights", 1)
print("written", flush=True)
write("output/data/big", 8)
time.sleep(60)
"""
        record = limit(fenced, 4 * MIB).program(WRITE + program).run()
        assert record["outcome"] == "disk_quota", record
        assert record["signal"] == 9
        assert record["message"].startswith("no space left on the volume: a host's files must fit")
        assert "ask for a larger volume, or write less" in record["message"]
        with tarfile.open(fenced.directory / record["artifacts"]["model"]["path"]) as archive:
            assert archive.getnames() == ["weights"]

    def test_a_program_that_ends_before_it_is_looked_at_is_over_its_quota_all_the_same(
        self, host: Host
    ):
        record = limit(host, MIB).program(WRITE + 'write("model/big", 8)').run()
        assert (record["outcome"], record["exit_code"]) == ("disk_quota", 0)

    def test_what_fits_changes_nothing(self, host: Host):
        record = limit(host, 16 * MIB).program(WRITE + 'write("model/big", 8)').run()
        assert (record["outcome"], record["exit_code"]) == ("exited", 0)

    def test_inputs_that_do_not_fit_are_told_before_the_program_starts(
        self, host: Host, tmp_path: Path
    ):
        inputs = tmp_path / "inputs"
        inputs.mkdir()
        (inputs / "data").write_bytes(os.urandom(2 * MIB))
        limit(host, MIB, inputs=str(inputs)).program("print('started')")
        record = host.run()
        assert (record["outcome"], record["started_at"]) == ("disk_quota", None)
        assert host.log == b""


class TestWhatCounts:
    def test_files_with_several_names_count_once_and_lent_ones_not_at_all(self, tmp_path: Path):
        stored, inputs, written = (tmp_path / name for name in ("stored", "inputs", "written"))
        for folder in (stored, inputs, written):
            folder.mkdir()
        (stored / "large").write_bytes(os.urandom(4 * MIB))
        os.link(stored / "large", inputs / "large")
        (written / "a").write_bytes(os.urandom(MIB))
        os.link(written / "a", written / "b")
        seen = watch(written, size=2 * MIB, inputs=inputs)
        assert not seen.measure()
        assert MIB <= seen.used < 1.5 * MIB
        (inputs / "fetched").write_bytes(os.urandom(2 * MIB))
        assert watch(written, size=2 * MIB, inputs=inputs).measure()

    def test_links_are_not_followed_and_holes_take_no_space(self, tmp_path: Path):
        (tmp_path / "away").mkdir()
        (tmp_path / "away" / "large").write_bytes(os.urandom(4 * MIB))
        written = tmp_path / "written"
        written.mkdir()
        (written / "link").symlink_to(tmp_path / "away")
        with (written / "hole").open("wb") as file:
            file.truncate(1 << 40)
        assert not watch(written, tmp_path / "missing").measure()


class TestLooking:
    def test_a_look_goes_on_where_it_paused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        for n in range(50):
            (tmp_path / f"{n}").write_bytes(bytes(4096))
        monkeypatch.setattr(volume, "SLICE_SECONDS", 0)
        seen, looks = watch(tmp_path, size=100 * 4096), 0
        while not seen.used:
            assert not seen.exceeded()
            looks += 1
        assert looks >= 50
        assert seen.used >= 50 * 4096
        (tmp_path / "last").write_bytes(os.urandom(51 * 4096))
        assert any(seen.exceeded() for _ in range(60))

    def test_without_a_quota_nothing_is_looked_at(self):
        seen = VolumeWatch(None)
        assert seen.due_at == float("inf")
        assert not seen.measure()

    @given(st.integers(-(1 << 50), 1 << 50))
    def test_the_fuller_the_volume_the_sooner_it_is_looked_at(self, room: int):
        pause = pause_seconds(room)
        assert volume.SHORTEST_PAUSE_SECONDS <= pause <= volume.LONGEST_PAUSE_SECONDS
        assert pause_seconds(room - 1) <= pause
        if pause > volume.SHORTEST_PAUSE_SECONDS:
            assert pause * volume.BYTES_PER_SECOND <= room
