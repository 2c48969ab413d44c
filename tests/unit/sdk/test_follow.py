"""Following a job: every line once, in order, then the end; whatever the transport goes through."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.errors import NotFound, Unavailable
from orchestrator.sdk.follow import follow_job
from orchestrator.sdk.jobs import TrainingJob
from orchestrator.sdk.lines import OutputLine
from orchestrator.spec.job import ResourceConfig, TrainingJobSpec
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(
    revision: int,
    attempt: int = 1,
    status: TrainingJobStatus = TrainingJobStatus.IN_PROGRESS,
    hosts: int = 1,
) -> TrainingJobRecord:
    """Return a job's state."""
    terminal = status.is_terminal
    return TrainingJobRecord(
        number=1,
        spec=TrainingJobSpec(
            training_job_name="job",
            algorithm_specification={"container_entrypoint": ("true",)},  # type: ignore[arg-type]
            resource_config=ResourceConfig(instance_count=hosts),
        ),
        arn="arn",
        status=status,
        secondary_status=SecondaryStatus(status.value) if terminal else SecondaryStatus.TRAINING,
        end_reason=EndReason.COMPLETED if terminal else None,
        revision=revision,
        attempt=attempt,
        created_at=NOW,
        modified_at=NOW,
    )


END = TrainingJobStatus.COMPLETED


class Scripted:
    """A transport that plays back states and logs; a log or state may also be an error.

    Args:
        states: Answers of ``wait``, one after the other.
        logs: Chunks per (attempt, host); the last one is the end.
    """

    def __init__(
        self, states: list[Any], logs: dict[tuple[int, str], list[bytes | Exception]]
    ) -> None:
        self._states = states
        self._logs = {key: list(chunks) for key, chunks in logs.items()}
        self._lock = threading.Lock()
        self.first = states[0] if states else record(1)
        self.asked: list[tuple[int, str, int]] = []

    def describe(self, name: str) -> dict[str, Any]:
        return self._last().model_dump(mode="json")

    def _last(self) -> TrainingJobRecord:
        found = [state for state in self._states if isinstance(state, TrainingJobRecord)]
        return found[0]

    def wait(self, name: str, *, after: int, timeout_seconds: float) -> dict[str, Any]:
        with self._lock:
            state = self._states[0]
            if isinstance(state, Exception):
                self._states.pop(0)
                raise state
            if state.revision <= after and len(self._states) > 1:
                self._states.pop(0)
                state = self._states[0]
                if isinstance(state, Exception):
                    self._states.pop(0)
                    raise state
        assert isinstance(state, TrainingJobRecord)
        return state.model_dump(mode="json")

    def read_log(
        self,
        name: str,
        *,
        host: str,
        attempt: int | None = None,
        offset: int = 0,
        limit_bytes: int = 1 << 20,
        wait_seconds: float = 0,
    ) -> dict[str, Any]:
        number = attempt or self._last().attempt
        with self._lock:
            self.asked.append((number, host, offset))
            chunks = self._logs.get((number, host), [])
            chunk = chunks.pop(0) if chunks else b""
            if isinstance(chunk, Exception):
                raise chunk
            return {
                "host": host,
                "attempt": number,
                "offset": offset,
                "data": chunk,
                "next_offset": offset + len(chunk),
                "finished": not chunks,
            }


def follow(transport: Scripted, **arguments: Any) -> tuple[TrainingJobRecord, list[OutputLine]]:
    """Follow to the end; return the last state and the lines."""
    lines: list[OutputLine] = []
    used: Any = transport
    end = follow_job(used, transport.first, on_line=lines.append, timeout_seconds=30, **arguments)
    return end, lines


def test_all_lines_come_before_the_end_is_returned() -> None:
    transport = Scripted(
        [record(1), record(2, status=END)], {(1, "algo-1"): [b"a\nb", b"\nc\n", b"d"]}
    )
    end, lines = follow(transport)
    assert end.status == END
    assert lines == [("algo-1", text) for text in "abcd"]


def test_a_service_that_goes_away_is_asked_again_at_the_same_byte() -> None:
    away = Unavailable("away")
    transport = Scripted(
        [record(1), away, record(2, status=END)],
        {(1, "algo-1"): [b"first\n", away, b"second\n"]},
    )
    _, lines = follow(transport)
    assert [line.text for line in lines] == ["first", "second"]
    assert [offset for _, _, offset in transport.asked] == [0, 6, 6]


def test_no_attempt_is_left_out_when_several_pass_between_two_looks() -> None:
    transport = Scripted(
        [record(1, attempt=1), record(9, attempt=3), record(10, attempt=3, status=END)],
        {(n, "algo-1"): [f"attempt {n}\n".encode()] for n in (1, 2, 3)},
    )
    _, lines = follow(transport)
    assert sorted(line.text for line in lines) == ["attempt 1", "attempt 2", "attempt 3"]


def test_every_host_is_read() -> None:
    hosts = [f"algo-{n}" for n in range(1, 6)]
    transport = Scripted(
        [record(1, hosts=5), record(2, status=END, hosts=5)],
        {(1, host): [f"I am {host}\n".encode()] for host in hosts},
    )
    _, lines = follow(transport)
    assert sorted(lines) == [(host, f"I am {host}") for host in hosts]


def test_a_job_that_never_starts_has_no_lines() -> None:
    transport = Scripted([record(1, attempt=0), record(2, attempt=0, status=END)], {})
    assert follow(transport)[1] == []


def test_changes_are_told_in_order_without_doubles() -> None:
    seen: list[int] = []
    states = [record(n) for n in range(1, 6)] + [record(6, status=END)]
    transport = Scripted(states, {(1, "algo-1"): [b""]})
    follow(transport, on_change=lambda r: seen.append(r.revision))
    assert seen == sorted(set(seen))
    assert seen[-1] == 6


def test_an_error_of_a_poller_is_raised_where_one_waits() -> None:
    transport = Scripted([record(1), record(2, status=END)], {(1, "algo-1"): [NotFound("gone")]})
    with pytest.raises(NotFound, match="gone"):
        follow(transport)
    transport = Scripted([record(1), ValueError("a defect")], {(1, "algo-1"): [b"x\n", b""]})
    with pytest.raises(ValueError, match="a defect"):
        follow(transport)


def test_an_error_of_the_callback_ends_following() -> None:
    def fail(_line: OutputLine) -> None:
        raise RuntimeError("enough")

    transport = Scripted([record(1), record(2, status=END)], {(1, "algo-1"): [b"x\n", b""]})
    used: Any = transport
    with pytest.raises(RuntimeError, match="enough"):
        follow_job(used, transport.first, on_line=fail)


def test_time_that_is_over_is_said_and_the_job_goes_on() -> None:
    transport: Any = Scripted([record(1)], {})
    with pytest.raises(TimeoutError, match="it goes on"):
        follow_job(transport, record(1), timeout_seconds=0.05)


def test_an_ended_job_is_returned_at_once() -> None:
    transport: Any = None  # it is not even asked
    ended = record(7, status=END)
    assert follow_job(transport, ended) is ended


def test_a_slow_reader_bounds_what_is_held() -> None:
    """The pollers wait for the reader instead of filling the memory."""
    chunks: list[bytes | Exception] = [b"x\n" * 10] * 5000
    transport = Scripted([record(1), record(2, status=END)], {(1, "algo-1"): chunks})
    most = 0
    taken = 0

    def slowly(_line: OutputLine) -> None:
        nonlocal most, taken
        taken += 1
        most = max(most, len(transport.asked) - taken // 10)

    used: Any = transport
    follow_job(used, transport.first, on_line=slowly, timeout_seconds=60)
    assert taken == 50_000
    assert most < 1200


def test_a_handle_follows_the_log_through_attempts() -> None:
    transport: Any = Scripted(
        [record(1, attempt=1), record(2, attempt=2), record(3, attempt=2, status=END)],
        {(1, "algo-1"): [b"one\n", b"two\n"], (2, "algo-1"): [b"three\n", b"four"]},
    )
    job = TrainingJob(record(1, attempt=1), transport)
    assert list(job.logs(follow=True)) == ["one", "two", "three", "four"]
    assert (2, "algo-1", 0) in transport.asked  # the second log is read from its beginning


def test_a_progress_bar_is_seen_while_it_moves() -> None:
    chunks: list[bytes | Exception] = [b"start\n 0%", b"\r50%", b"\r100%\n", b"end\n"]
    bars: list[OutputLine] = []
    _, lines = follow(
        Scripted([record(1), record(2, status=END)], {(1, "algo-1"): chunks}),
        on_progress=bars.append,
    )
    assert [bar.text for bar in bars] == [" 0%", "50%", ""]
    assert [line.text for line in lines] == ["start", " 0%\r50%\r100%", "end"]
