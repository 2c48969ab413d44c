"""Channels in Pipe mode: what a program reads from FIFOs, whatever it does with them, and what is left."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime.stream import order

from tests.runtime.hosts import Host, all_pids, eventually
from tests.runtime.recordio_reader import records

PLAN = {"gzip": False, "record_io": False, "seed": None, "share": None}
READ = """
import os, sys
folder = os.environ["SM_INPUT_DATA_DIR"]
def read(name, size=-1):
    with open(f"{folder}/{name}", "rb") as fifo:
        return fifo.read(size)
"""


def channel(host: Host, name: str, items: list[Any], **plan: Any) -> Path:
    """Give a host a channel in Pipe mode; bytes are objects, texts are values; return its folder."""
    folder = host.directory.parent / "pipe" / name
    (folder / "objects").mkdir(parents=True)
    lines = []
    for number, item in enumerate(items):
        parts = []
        for place, value in enumerate(item if isinstance(item, list) else [item]):
            if isinstance(value, bytes):
                file = f"{number}-{place}"
                (folder / "objects" / file).write_bytes(value)
                parts.append({"file": file, "name": f"s3://b/{file}"})
            else:
                parts.append({"text": value})
        lines.append(json.dumps(parts) + "\n")
    (folder / "items").write_text("".join(lines))
    paths = {"items": str(folder / "items"), "root": str(folder / "objects")}
    host.plan.setdefault("pipes", []).append({"channel": name, **paths, **PLAN, **plan})
    return folder


def feeders(host: Host) -> list[int]:
    """The supervisor's forks: they have its command line."""
    mark = str(host.directory).encode()
    found = []
    for pid in all_pids():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            parent = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1]
        except OSError:
            continue
        if mark in words and int(parent) == host.pid:
            found.append(pid)
    return found


class TestEpochs:
    def test_each_epoch_gives_everything_through_a_fifo_of_its_own(self, fenced: Host):
        channel(fenced, "train", [b"one,", b"two,", b"", b"three\n"])
        channel(fenced, "test", [b"other"])
        program = """
for epoch in range(3):
    print(read(f"train_{epoch}").decode(), end="", flush=True)
    print(sorted(os.listdir(folder)), flush=True)
print(read("test_0").decode())
"""
        record = fenced.program(READ + program).run()
        assert record["outcome"] == "exited", (record, fenced.errors())
        lines = fenced.log.decode().splitlines()
        assert lines[0::2][:3] == ["one,two,three"] * 3
        assert lines[-1] == "other"
        for epoch in range(3):  # the next one is there when the end of one is seen
            assert f"train_{epoch + 1}" in lines[2 * epoch + 1]
        assert not list((fenced.ml / "input" / "data").glob("train_[012]"))

    def test_an_epoch_may_be_closed_early_and_a_large_one_needs_no_memory(self, host: Host):
        size = 48 << 20
        folder = channel(host, "train", [b"head"])
        with (folder / "objects" / "0-0").open("r+b") as file:
            file.truncate(size)  # a hole: nothing on the disk
        program = """
for epoch in range(20):
    assert read(f"train_{epoch}", 4) == b"head"
    while not os.path.exists(f"{folder}/train_{epoch + 1}"):
        pass
total = 0
with open(f"{folder}/train_20", "rb") as fifo:
    while chunk := fifo.read(1 << 20):
        total += len(chunk)
print(total)
"""
        record = host.program(READ + program).run()
        assert record["outcome"] == "exited", (record, host.log)
        assert host.log.split() == [str(size).encode()]

    def test_an_epoch_without_items_ends_at_once(self, host: Host):
        channel(host, "train", [])
        host.program(READ + 'print([read(f"train_{n}") for n in range(2)])').run()
        assert host.log.strip() == b"[b'', b'']"

    def test_the_root_itself_may_be_the_object(self, host: Host, tmp_path: Path):
        (tmp_path / "one.csv").write_bytes(b"1,2\n")
        folder = channel(host, "train", [])
        (folder / "items").write_text(json.dumps([{"file": "", "name": "one"}]) + "\n")
        host.plan["pipes"][0]["root"] = str(tmp_path / "one.csv")
        host.program(READ + 'print(read("train_0"))').run()
        assert host.log.strip() == b"b'1,2\\n'"


class TestForms:
    def test_each_part_becomes_a_record(self, host: Host):
        odd = b"\x0a\x23\xd7\xce" * 2 + b"x"
        channel(host, "train", [[odd, '{"label":1}'], [b"", "2"]], record_io=True)
        host.program(READ + 'sys.stdout.buffer.write(read("train_0"))').run()
        assert list(records(host.log)) == [odd, b'{"label":1}', b"", b"2"]

    @pytest.mark.parametrize("record_io", [False, True])
    def test_gzip_is_unpacked_also_when_it_has_several_members(self, host: Host, record_io: bool):
        packed = gzip.compress(b"ab") + gzip.compress(b"cd")
        channel(host, "train", [packed, gzip.compress(b"e")], gzip=True, record_io=record_io)
        host.program(READ + 'sys.stdout.buffer.write(read("train_0"))').run()
        got = b"|".join(records(host.log)) if record_io else host.log
        assert got == (b"abcd|e" if record_io else b"abcde")

    def test_items_are_shuffled_anew_for_each_epoch(self, host: Host):
        channel(host, "train", [f"{n} ".encode() for n in range(20)], seed=3)
        program = 'for n in range(3): print(read(f"train_{n}").decode())'
        host.program(READ + program).run()
        epochs = [list(map(int, line.split())) for line in host.log.splitlines()]
        assert epochs == [list(order(20, n, 3, None)) for n in range(3)]
        assert all(sorted(numbers) == list(range(20)) for numbers in epochs)
        assert len({tuple(numbers) for numbers in epochs}) == 3


@given(st.integers(0, 40), st.integers(0, 5), st.integers(), st.integers(1, 6))
def test_shuffled_items_are_dealt_out_to_all_hosts_each_to_one(
    count: int, epoch: int, seed: int, hosts: int
):
    shares = [order(count, epoch, seed, [rank, hosts]) for rank in range(hosts)]
    assert sorted(n for share in shares for n in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert order(count, epoch, seed, [0, hosts]) == shares[0]


def test_another_epoch_gives_a_host_other_items():
    shares = [frozenset(order(100, epoch, 7, [0, 4])) for epoch in range(3)]
    assert len(set(shares)) == 3


class TestTheEnd:
    def test_a_stop_does_not_wait_for_a_reader_and_leaves_no_feeder(self, fenced: Host):
        channel(fenced, "never", [b"x"])
        channel(fenced, "begun", [bytes(8 << 20)])
        program = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
fifo = open(f"{folder}/begun_0", "rb")
fifo.read(1)
print("ready", flush=True)
while True:
    time.sleep(60)
"""
        fenced.program(READ + program).start()
        fenced.says(b"ready")
        pids = feeders(fenced)
        assert len(pids) >= 2
        fenced.stop(grace=20)
        record = fenced.end()
        assert (record["outcome"], record["exit_code"]) == ("stopped", 0)
        assert not set(pids) & set(all_pids())

    def test_a_stop_lets_the_program_read_on(self, host: Host):
        channel(host, "train", [b"x" * (4 << 20)])
        program = """
import signal, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
fifo = open(f"{folder}/train_0", "rb")
fifo.read(1)
print("ready", flush=True)
while not asked:
    time.sleep(0.01)
print(1 + len(fifo.read()), flush=True)
"""
        host.program(READ + program).start()
        host.says(b"ready")
        host.stop(grace=20)
        assert host.end()["outcome"] == "stopped"
        assert host.log.split()[-1] == str(4 << 20).encode()

    def test_feeders_die_with_their_supervisor(self, host: Host):
        channel(host, "train", [bytes(8 << 20)])
        program = 'fifo = open(f"{folder}/train_0", "rb"); fifo.read(1); print("ready", flush=True); fifo.read()'
        host.program(READ + "import time\n" + program + "\ntime.sleep(60)").start()
        host.says(b"ready")
        pids = feeders(host)
        os.kill(host.pid, 9)
        eventually(lambda: not set(pids) & set(all_pids()), "the feeders' end")


class TestFailures:
    def test_data_that_is_no_gzip_fails_the_job_before_the_program_sees_an_end(self, host: Host):
        channel(host, "train", [gzip.compress(b"good"), b"plain"], gzip=True)
        record = host.program(READ + 'read("train_0"); print("got all of it")').run()
        assert record["outcome"] == "input_failed"
        assert "channel 'train' could not be streamed" in record["message"]
        assert "s3://b/1-0 is not" in record["message"]
        assert b"got all of it" not in host.log

    def test_an_object_that_cannot_be_read_fails_the_job(self, host: Host):
        folder = channel(host, "train", [b"x"])
        (folder / "objects" / "0-0").unlink()
        record = host.program(READ + 'read("train_0")').run()
        assert record["outcome"] == "input_failed"
        assert "s3://b/0-0 cannot be read: No such file or directory" in record["message"]

    def test_a_feeder_that_is_killed_fails_the_job(self, host: Host):
        channel(host, "train", [b"x" * (4 << 20)])
        program = """
fifo = open(f"{folder}/train_0", "rb")
fifo.read(1)
print("ready", flush=True)
open(f"{folder}/gate").read(1)
fifo.read()
"""
        gate = host.ml / "input" / "data" / "gate"
        os.mkfifo(gate)
        opener = os.open(gate, os.O_RDWR)
        host.program(READ + program).start()
        host.says(b"ready")
        (feeder,) = set(feeders(host)) - {int(host.read("status.json")["program_pid"])}
        os.kill(feeder, 9)
        os.write(opener, b"x\n")
        record = host.end()
        os.close(opener)
        assert record["outcome"] == "input_failed", (record, host.errors())
        assert "its feeder was killed" in record["message"]

    def test_a_program_cannot_make_a_feeder_write_elsewhere(self, fenced: Host, tmp_path: Path):
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        channel(fenced, "train", [b"EVIL" * (1 << 20)])  # more than a FIFO holds
        program = f"""
fifo = open(f"{{folder}}/train_0", "rb")
os.symlink({str(victim)!r}, f"{{folder}}/train_1")
fifo.read()
import time; time.sleep(60)
"""
        record = fenced.program(READ + program).run()
        assert record["outcome"] == "input_failed", record
        assert victim.read_bytes() == b"precious"
