from __future__ import annotations

import threading
from itertools import islice

import pytest

from orchestrator.logs import host_log
from tests.unit.logs.log_writer import LogWriter


class Script:
    """A writer whose next step happens whenever the reader waits."""

    def __init__(self, writer, steps, *, woken=True):
        self.writer = writer
        self.steps = list(steps)
        self.woken = woken
        self.waits = []

    def wait(self, seconds):
        self.waits.append(seconds)
        chunk = self.steps.pop(0) if self.steps else b""
        if chunk:
            self.writer.write(chunk)
        return self.woken

    def finished(self):
        return not self.steps


@pytest.fixture
def writer(tmp_path):
    return LogWriter(tmp_path)


@pytest.fixture
def log(tmp_path):
    return host_log(tmp_path)


def test_lines_come_as_they_are_completed_and_the_rest_at_the_end(writer, log):
    script = Script(writer, [b"one\ntw", b"o\n", b"", b"three\nhal", b"f"])
    assert [line.text for line in log.follow(script.wait, script.finished)] == [
        "one", "two", "three", "half",
    ]  # fmt: skip


def test_following_resumes_at_a_byte_offset(writer, log):
    writer.write(b"one\ntwo\n")
    script = Script(writer, [b"three\n"])
    assert [line.text for line in log.follow(script.wait, script.finished, offset=4)] == [
        "two", "three",
    ]  # fmt: skip


@pytest.mark.parametrize("asked_before", [0, 1, 2, 3])
def test_what_was_written_before_the_end_was_known_is_read(writer, log, asked_before):
    answers = [False] * asked_before

    def finished():
        if answers:
            return answers.pop()
        if log.size() == 0:
            writer.write(b"last words\n")  # the writer ends between a read and this question
        return True

    assert [line.text for line in log.follow(lambda _: True, finished)] == ["last words"]


def test_waits_grow_while_nothing_comes_and_are_short_again_after_a_line(writer, log):
    script = Script(writer, [b""] * 7 + [b"x\n", b"", b""], woken=False)
    assert [line.text for line in log.follow(script.wait, script.finished)] == ["x"]
    assert script.waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 0.05, 0.1]


def test_an_idle_wait_gives_an_empty_list_so_that_a_caller_can_leave(writer, log):
    batches = log.batches(wait=lambda _: False, finished=lambda: False)
    assert list(islice(batches, 3)) == [[], [], []]
    batches.close()


def test_a_slow_reader_holds_one_batch(writer, log):
    writer.write(b"".join(b"line %d\n" % i for i in range(2500)))
    batches = log.batches(wait=lambda _: False, finished=lambda: True)
    assert [len(batch) for batch in batches] == [1000, 1000, 500]


def test_nothing_is_lost_or_doubled_beside_a_writer_that_is_faster(writer, log):
    count, done, news = 20_000, threading.Event(), threading.Event()

    def write():
        for start in range(0, count, 50):
            data = b"".join(b"number %d\n" % i for i in range(start, start + 50))
            writer.write(data[:77])  # chunks end anywhere
            writer.write(data[77:])
            news.set()
        done.set()
        news.set()

    def wait(seconds):
        woken = news.wait(seconds)
        news.clear()
        return woken

    thread = threading.Thread(target=write)
    thread.start()
    offset, seen = 0, []
    for line in log.follow(wait, done.is_set):
        assert line.offset == offset
        offset = line.next_offset
        seen.append(line.text)
    thread.join()
    assert seen == [f"number {i}" for i in range(count)]
