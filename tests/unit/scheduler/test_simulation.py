"""The driver against seeded chaos, and the simulation against seeded bugs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.base import HostStatus, Observation
from orchestrator.errors import InvalidState
from orchestrator.scheduler import capacity, phases
from orchestrator.scheduler import loop as loop_module
from orchestrator.scheduler import reconcile as reconcile_module
from orchestrator.scheduler.ages import Ages
from orchestrator.scheduler.effects import Effects
from orchestrator.scheduler.outcome import Verdict
from orchestrator.spec.state import EndReason
from orchestrator.testing.fake_backend import FakeBackend
from tests.unit.scheduler import simulation
from tests.unit.scheduler.simulation import Violation, World

FAKE_OBSERVE = FakeBackend.observe
loop: Any = loop_module  # the bugs below reach into both, as no caller may
reconciling: Any = reconcile_module

SEEDS = 150
FULL_SEEDS = 10_000


def explore(first: int, count: int, directory: Path) -> int:
    """Run worlds; return how many hosts were started in all."""
    starts = 0
    for seed in range(first, first + count):
        world = World(seed, directory / str(seed % 7))
        world.run()
        starts += len(world.engine.starts)
    return starts


def test_no_job_is_lost_or_doubled_whatever_goes_wrong(tmp_path: Path) -> None:
    assert explore(0, SEEDS, tmp_path) > SEEDS


@pytest.mark.slow
@pytest.mark.usefixtures("no_log_records")
@pytest.mark.timeout(3600)
def test_ten_thousand_worlds(tmp_path: Path) -> None:
    assert explore(SEEDS, FULL_SEEDS, tmp_path) > FULL_SEEDS


def test_the_same_seed_gives_the_same_world(tmp_path: Path) -> None:
    first, second = World(7, tmp_path / "a"), World(7, tmp_path / "b")
    first.run()
    second.run()
    assert first.engine.starts == second.engine.starts
    assert first.ended == second.ended


def test_a_violation_names_seed_and_step() -> None:
    assert str(Violation(3, 4, "one live attempt")) == "seed 3, step 4: one live attempt"


# -- the simulation itself is tested: it must find these bugs ----------------------------------


def _ends_with_the_first_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        reconciling, "_ended_all", lambda seen: any(reconciling._has_ended(o) for o in seen)
    )


def _lets_peers_of_a_failed_host_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "failed", lambda _seen: False)


def _takes_silence_for_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    def observe(self: FakeBackend, context: Any, host: str, handle: Any) -> Observation:
        seen = FAKE_OBSERVE(self, context, host, handle)
        silent = seen.status is HostStatus.UNREACHABLE
        return replace(seen, status=HostStatus.LOST) if silent else seen

    monkeypatch.setattr(FakeBackend, "observe", observe)


def _retries_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        reconciling, "may_retry", lambda reason, _attempt, _policy: reason.is_infrastructure_fault
    )


def _retries_what_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        reconciling,
        "_retries",
        lambda job, found: reconciling.may_retry(
            found.reason, job.attempt, job.spec.retry_strategy
        ),
    )


def _forgets_what_is_leased(monkeypatch: pytest.MonkeyPatch) -> None:
    real = loop.place
    monkeypatch.setattr(loop, "place", lambda queue, machine, _leases: real(queue, machine, ()))


def _keeps_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    real = reconciling._end
    monkeypatch.setattr(
        reconciling,
        "_end",
        lambda *a, **k: replace(
            found := real(*a, **k), update=replace(found.update, release=False)
        ),
    )


def _ignores_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "_stop_intent", lambda _job, _view, _now: None)


def _does_not_count_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    real = loop.placed
    monkeypatch.setattr(
        loop,
        "placed",
        lambda job, *rest: replace(update := real(job, *rest), attempt=max(1, update.attempt - 1)),
    )


def _shares_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_take_gpus", lambda demand, _free: (0,) * demand.gpus_per_host)


def _calls_every_end_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        reconciling,
        "verdict",
        lambda _seen, _intent, **_: Verdict(EndReason.COMPLETED, None, "done"),
    )


def _never_tries_a_start_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real = reconciling._must_start
    monkeypatch.setattr(
        reconciling, "_must_start", lambda view: view.start_fault is None and real(view)
    )


def _leaves_things_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Effects, "release", lambda *_a, **_k: None)
    monkeypatch.setattr(simulation, "release_leftovers", lambda *_a: None)


def _believes_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ages, "of", lambda _self, _job: None)


def _goes_back_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    real = phases.transition

    def transition(job: Any, status: Any, at: Any, message: str) -> Any:
        return real(job, status, at, message).model_copy(update={"started_at": at})

    for module in (phases, reconciling):
        monkeypatch.setattr(module, "transition", transition)


BUGS = [
    _believes_the_wall_clock,
    _goes_back_in_time,
    _ends_with_the_first_host,
    _lets_peers_of_a_failed_host_run,
    _takes_silence_for_loss,
    _retries_for_ever,
    _retries_what_was_stopped,
    _forgets_what_is_leased,
    _keeps_leases,
    _ignores_stops,
    _does_not_count_attempts,
    _shares_every_gpu,
    _calls_every_end_a_success,
    _never_tries_a_start_again,
    _leaves_things_behind,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__.strip("_"))
def test_the_simulation_finds_a_driver_that(
    bug: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    # A bug may also show as the store refusing what the driver asks for.
    with pytest.raises((Violation, InvalidState)):
        explore(0, SEEDS, tmp_path)
