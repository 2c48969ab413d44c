"""Watching: what is shown in which order, and what Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.cli.watch import Choice, Interrupts, Mailbox, last_values, watch
from orchestrator.errors import NotFound, Unavailable
from orchestrator.sdk.lines import OutputLine
from orchestrator.spec.record import TrainingJobRecord
from tests.unit.cli.records import Jobs, curve, record, running


class Recorder:
    """A view that remembers."""

    def __init__(
        self, answers: list[Choice] | None = None, on_tick: Callable[[], None] = lambda: None
    ) -> None:
        self.is_live = False
        self.seen: list[Any] = []
        self.answers = answers or []
        self._on_tick = on_tick
        self.threads: set[str] = set()

    def lines(self, lines: list[OutputLine]) -> None:
        self.seen += [line.text for line in lines]
        self.threads.add(threading.current_thread().name)

    def change(self, record: TrainingJobRecord) -> None:
        self.seen.append(record.secondary_status.value)
        self.threads.add(threading.current_thread().name)

    def progress(self, line: OutputLine) -> None:
        self.seen.append(f"... {line.text}")

    def metrics(self, values: dict[str, float]) -> None:
        self.seen.append(values)

    def tick(self) -> None:
        self._on_tick()

    def ask(self, record: TrainingJobRecord) -> Choice:
        self.seen.append("asked")
        return self.answers.pop(0)

    def close(self) -> None:
        self.seen.append("closed")


class Unfolding(Jobs):
    """A job that goes on with each look: from running to its end."""

    def __init__(self, *states: TrainingJobRecord, **parts: Any) -> None:
        super().__init__(states[0], **parts)
        self._states = list(states)
        self.held = threading.Event()
        self.held.set()

    def wait(self, name: str, *, after: int, timeout_seconds: float) -> dict[str, Any]:
        self.held.wait(10)
        later = [state for state in self._states if state.revision > after]
        state = later[0] if later else self._states[-1]
        self.records[name] = state
        return state.model_dump(mode="json")


def test_lines_and_changes_are_shown_by_one_thread_and_the_end_is_last():
    jobs = Unfolding(
        running("job", revision=1),
        running("job", revision=2, secondary_status="Uploading"),
        record("job", revision=3),
        logs={("job", "algo-1"): b"one\ntwo\nlast without newline"},
    )
    view = Recorder()
    watched = watch(jobs, jobs.records["job"], view)
    assert (watched.record.status, watched.detached) == ("Completed", False)
    assert view.threads == {threading.current_thread().name}
    assert [text for text in view.seen if text in {"one", "two", "last without newline"}] == [
        "one",
        "two",
        "last without newline",
    ]
    states = [text for text in view.seen if text in {"Training", "Uploading", "Completed"}]
    assert states == ["Training", "Uploading", "Completed"]
    assert view.seen[-1] == "closed"


def test_an_ended_job_is_shown_with_its_log():
    jobs = Jobs(record("job"), logs={("job", "algo-1"): b"one\n"})
    view = Recorder()
    watched = watch(jobs, jobs.records["job"], view)
    assert not watched.detached
    assert view.seen == ["Completed", "one", "closed"]


def test_only_the_lines_of_the_host_that_is_meant_are_shown():
    spec = {"resource_config": {"instance_count": 2}}
    logs = {("job", "algo-1"): b"first\n", ("job", "algo-2"): b"second\n"}
    jobs = Jobs(record("job", spec=spec), logs=logs)
    view = Recorder()
    watch(jobs, jobs.records["job"], view, host="algo-2")
    assert view.seen == ["Completed", "second", "closed"]


def test_what_the_service_refuses_is_raised_in_the_main_thread():
    class Gone(Unfolding):
        def wait(self, name: str, *, after: int, timeout_seconds: float) -> dict[str, Any]:
            raise NotFound("it was deleted")

    jobs = Gone(running("job"))
    view = Recorder()
    with pytest.raises(NotFound, match="deleted"):
        watch(jobs, jobs.records["job"], view)
    assert view.seen[-1] == "closed"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_our_own_ends_the_watching_too():
    broken: Any = SimpleNamespace(name="job", secondary_status=SimpleNamespace(value="Odd"))
    with pytest.raises(Unavailable, match="fault of ours"):
        watch(Jobs(), broken, Recorder(), logs=False)
    for thread in threading.enumerate():
        if thread.name == "follow":
            thread.join(10)  # its traceback belongs to this test


def interrupted(*answers: Choice, jobs: Unfolding) -> tuple[Recorder, Any]:
    """Watch a job that waits, with one Ctrl-C for each answer."""
    left = list(answers)

    def on_tick() -> None:
        if left:
            left.pop(0)
            signal.raise_signal(signal.SIGINT)
        else:
            jobs.held.set()

    view = Recorder(list(answers), on_tick)
    jobs.held.clear()
    try:
        return view, watch(jobs, jobs.records["job"], view)
    finally:
        jobs.held.set()


def waiting() -> Unfolding:
    return Unfolding(running("job", revision=1), record("job", revision=2))


def test_ctrl_c_may_detach():
    jobs = waiting()
    view, watched = interrupted(Choice.DETACH, jobs=jobs)
    assert watched.detached
    assert watched.record.status == "InProgress"
    assert jobs.stopped == []
    assert view.seen.count("asked") == 1


def test_ctrl_c_may_stop_and_the_end_is_still_shown():
    jobs = waiting()
    view, watched = interrupted(Choice.STOP, jobs=jobs)
    assert jobs.stopped == ["job"]
    assert not watched.detached
    assert view.seen[-2:] == ["Completed", "closed"]


def test_ctrl_c_may_be_a_mistake():
    jobs = waiting()
    view, watched = interrupted(Choice.GO_ON, Choice.GO_ON, jobs=jobs)
    assert view.seen.count("asked") == 2
    assert jobs.stopped == []
    assert not watched.detached


def test_a_job_that_ends_while_it_is_asked_about_is_no_error():
    class Ending(Unfolding):
        def stop(self, name: str, *, grace_seconds: float | None = None) -> dict[str, Any]:
            self.records[name] = self._states[-1]
            return super().stop(name, grace_seconds=grace_seconds)

    jobs = Ending(running("job", revision=1), record("job", revision=2))
    _, watched = interrupted(Choice.STOP, jobs=jobs)
    assert watched.record.status == "Completed"


def test_a_second_ctrl_c_while_asking_detaches():
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts.pending

        def question() -> Choice:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("Ctrl-C must interrupt the question")

        assert interrupts.ask(question) is Choice.DETACH
        assert not interrupts.pending


def test_a_command_that_shall_end_detaches_and_leaves_the_screen_in_order():
    jobs = waiting()
    jobs.held.clear()
    view = Recorder(on_tick=lambda: signal.raise_signal(signal.SIGTERM))
    watched = watch(jobs, jobs.records["job"], view)
    jobs.held.set()
    assert watched.detached
    assert "asked" not in view.seen
    assert view.seen[-1] == "closed"


def test_signals_are_as_before_afterwards():
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with Interrupts():
        assert not set(before) & {signal.getsignal(number) for number in numbers}
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_full_mailbox_makes_its_writer_wait_and_a_closed_one_does_not():
    box = Mailbox(limit=2)

    def write() -> None:
        for number in range(5):
            box.put("line", number)

    writer = threading.Thread(target=write)
    writer.start()
    taken: list[Any] = []
    while len(taken) < 3:
        taken += box.take(1)
    box.close()
    writer.join(10)
    assert not writer.is_alive()
    assert [value for _, value in taken + box.take(0)] == [0, 1, 2, 3, 4]


def test_an_empty_mailbox_gives_nothing_when_the_time_is_over():
    assert Mailbox().take(0) == []


def test_the_last_values_of_a_few_metrics_are_asked_for():
    curves = {("job", f"m{n}"): curve(f"m{n}", [1.0, float(n)]) for n in range(9)}
    values = last_values(Jobs(record("job"), curves=curves), "job")
    assert values == {"m0": 0.0, "m1": 1.0, "m2": 2.0, "m3": 3.0}
