from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime.hook.system import Gpus, Sampler
from orchestrator_runtime.trace.record import Gpu

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Proc:
    """Files as the kernel has them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cpu(*[0] * 10)

    def cpu(self, *ticks):
        self.write("stat", f"cpu  {' '.join(map(str, ticks))}\ncpu0 1 2 3\n")

    def write(self, name, text):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def proc(tmp_path):
    return Proc(tmp_path)


@pytest.fixture
def sampler(proc):
    return Sampler(str(proc.directory), Gpus())


class TestHost:
    def test_percentages_are_those_since_the_sample_before(self, proc, sampler):
        proc.cpu(30, 0, 20, 40, 10, 0, 0, 0, 30, 0)
        first = sampler.sample()
        assert (first.cpu, first.io_wait) == (50.0, 10.0)
        proc.cpu(40, 0, 20, 70, 20, 0, 0, 0, 99, 0)
        second = sampler.sample()
        assert (second.cpu, second.io_wait) == (20.0, 20.0)

    def test_without_time_in_between_nothing_is_known(self, sampler):
        assert sampler.sample()[1:3] == (None, None)

    def test_the_process(self, proc, sampler):
        fields = ["S", *["0"] * 10, str(3 * TICKS), str(TICKS), *["0"] * 8, "7", *["0"] * 9]
        proc.write("self/stat", f"12 (a (b) c) {' '.join(fields)}")
        proc.write("self/task/12/children", "13 14 ")
        proc.write("self/task/15/children", "16")
        sample = sampler.sample()
        assert sample.process_seconds == 4.0
        assert sample.resident_bytes == 7 * PAGE
        assert sample.children == 3
        assert sample.cores == os.cpu_count()

    @pytest.mark.parametrize("text", ["", "cpu", "cpu a b", "cpu 1 2", "\n\n"])
    def test_what_makes_no_sense_is_unknown(self, proc, sampler, text):
        proc.write("stat", text)
        proc.write("self/stat", text)
        for _ in range(2):
            sample = sampler.sample()
            assert sample[1:6] == (None, None, (), None, None)

    def test_no_files_at_all(self, tmp_path):
        sample = Sampler(str(tmp_path / "none"), Gpus()).sample()
        assert (sample.cpu, sample.children, sample.resident_bytes) == (None, None, None)

    @given(st.binary(max_size=80))
    def test_it_never_raises(self, tmp_path_factory, content):
        directory = tmp_path_factory.mktemp("proc")
        (directory / "self").mkdir()
        for name in ("stat", "self/stat"):
            (directory / name).write_bytes(content)
        sampler = Sampler(str(directory), Gpus())
        sampler.sample()
        sampler.sample()

    def test_this_machine(self):
        sample = Sampler(gpus=Gpus()).sample()
        assert sample.resident_bytes is None or sample.resident_bytes > 1_000_000
        assert sample.process_seconds is None or sample.process_seconds > 0


class Library:
    """NVML with two GPUs; a function of `failing` gives an error."""

    def __init__(self, *failing):
        self.failing = failing

    def __getattr__(self, name):
        function = {
            "nvmlDeviceGetCount_v2": self.count,
            "nvmlDeviceGetHandleByIndex_v2": self.by_index,
            "nvmlDeviceGetHandleByUUID": self.by_name,
            "nvmlDeviceGetUtilizationRates": self.used,
            "nvmlDeviceGetMemoryInfo": self.memory,
        }[name]
        return (lambda *_: 3) if name in self.failing else function

    def count(self, to):
        to._obj.value = 2
        return 0

    def by_index(self, index, to):
        to._obj.value = 100 + index
        return 0 if index < 2 else 2

    def by_name(self, name, to):
        to._obj.value = 101
        return 0 if name == b"GPU-1" else 6

    def used(self, handle, to):
        to._obj.gpu = handle.value - 90
        return 0

    def memory(self, handle, to):
        to._obj.total, to._obj.used = 400, handle.value
        return 0


class TestGpus:
    ZERO, ONE = Gpu(10.0, 25.0), Gpu(11.0, 25.25)

    @pytest.mark.parametrize(
        ("visible", "expected"),
        [
            (None, (ZERO, ONE)),
            ("0,1", (ZERO, ONE)),
            ("1", (ONE,)),
            ("GPU-1, 0", (ONE, ZERO)),
            ("", ()),
            ("-1,0", ()),
            ("0,7,1", (ZERO,)),
            ("MIG-x", ()),
        ],
    )
    def test_those_that_the_process_may_use(self, visible, expected):
        assert Gpus(Library(), visible).read() == expected

    @pytest.mark.parametrize(
        "failing",
        ["nvmlDeviceGetCount_v2", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo"],
    )
    def test_one_that_does_not_answer_is_left_out(self, failing):
        assert Gpus(Library(failing)).read() == ()

    def test_a_machine_without_a_driver(self, monkeypatch):
        monkeypatch.setattr(ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
        assert Gpus.open().read() == ()
