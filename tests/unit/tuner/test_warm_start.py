"""What a tuning job learns from earlier ones."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import InvalidSpec, InvalidState
from orchestrator.spec.ranges import CategoricalParameter, ContinuousParameter, Parameter
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import TunedJob, TuningJobRecord
from orchestrator.spec.tuning import TuningJobSpec, TuningObjective, WarmStart
from orchestrator.store.memory import MemoryStore
from orchestrator.testing.store_jobs import START, SetClock, make_spec
from orchestrator.tuner.asking import wanted
from orchestrator.tuner.warm_start import inherited_from
from tests.unit.tuner.world import RATE, tuning_spec

KIND = CategoricalParameter(name="kind", values=("a", "b"))


def rate(low: float, high: float) -> ContinuousParameter:
    return ContinuousParameter(name="rate", min_value=low, max_value=high)


def parent(
    *results: tuple[dict[str, str], float],
    parameters: tuple[Parameter, ...] = (RATE,),
    status: TrainingJobStatus = TrainingJobStatus.COMPLETED,
    **changes: Any,
) -> tuple[TuningJobRecord, list[TunedJob]]:
    store = MemoryStore(clock=SetClock())
    spec = tuning_spec(*parameters, **{"tuning_job_name": "parent", **changes})
    record = store.tunings.create(spec, arn="arn:parent", now=START)
    jobs = [
        TunedJob(
            index=index,
            definition_name=spec.definitions[0].definition_name,
            values=values,
            job_name=f"parent-{index}",
            created_at=START,
            objectives=(loss,),
            ended_at=START,
        )
        for index, (values, loss) in enumerate(results, 1)
    ]
    return record.model_copy(update={"status": status}), jobs


def child(*parameters: Parameter, kind: str = "TransferLearning", **changes: Any) -> TuningJobSpec:
    start = WarmStart.parse({"parents": ["parent"], "type": kind})
    return tuning_spec(*parameters, warm_start=start, **changes)


TWO = (({"rate": "0.25"}, 0.5), ({"rate": "0.75"}, 0.1))


class TestWhatCounts:
    def test_results_within_the_ranges(self):
        found = inherited_from(child(rate(0.5, 1)), [parent(*TWO)])
        assert [(each.job_name, each.values, each.objectives) for each in found] == [
            ("parent-2", {"rate": "0.75"}, (0.1,))
        ]

    def test_a_configuration_counts_once_with_its_longest_training(self):
        record, jobs = parent(*TWO, ({"rate": "0.25"}, 0.05))
        jobs[2] = jobs[2].model_copy(update={"continues": 1})
        found = inherited_from(child(), [(record, jobs)])
        assert [(each.job_name, each.objectives) for each in found] == [
            ("parent-3", (0.05,)), ("parent-2", (0.1,)),
        ]  # fmt: skip

    def test_what_was_static_has_its_value(self):
        found = inherited_from(child(RATE, KIND), [parent(*TWO, static={"kind": "b"})])
        assert [each.values for each in found] == [
            {"rate": "0.25", "kind": "b"},
            {"rate": "0.75", "kind": "b"},
        ]

    def test_what_is_static_now_is_not_searched(self):
        old = parent(({"rate": "0.25", "kind": "a"}, 0.5), parameters=(RATE, KIND))
        (found,) = inherited_from(child(RATE, static={"kind": "b"}), [old])
        assert found.values == {"rate": "0.25"}

    def test_several_parents_together(self):
        other = parent(TWO[0], tuning_job_name="other")
        found = inherited_from(child(), [parent(*TWO), other])
        assert [each.tuning_job_name for each in found] == ["parent", "parent", "other"]


class TestWhatIsRefused:
    def test_nothing_to_learn(self):
        with pytest.raises(InvalidSpec, match="no result lies within the ranges"):
            inherited_from(child(rate(0.8, 1)), [parent(*TWO)])

    def test_a_parent_that_runs(self):
        running = parent(*TWO, status=TrainingJobStatus.IN_PROGRESS)
        with pytest.raises(InvalidState, match="have ended, 'parent' is InProgress"):
            inherited_from(child(), [running])

    def test_another_objective(self):
        other = parent(*TWO, objectives=(TuningObjective(metric_name="accuracy"),))
        with pytest.raises(InvalidSpec, match=r"accuracy \(Minimize\) and not loss \(Minimize\)"):
            inherited_from(child(), [other])

    def test_another_image_where_it_is_to_be_the_same(self):
        spec = child(kind="IdenticalDataAndAlgorithm")
        (definition,) = spec.definitions
        job = make_spec("x", algorithm_specification={"training_image": "another:2"})
        other = definition.model_copy(update={"job": job})
        changed = spec.model_copy(update={"definitions": (other,)})
        assert inherited_from(spec, [parent(*TWO)])
        with pytest.raises(InvalidSpec, match="use TransferLearning"):
            inherited_from(changed, [parent(*TWO)])

    def test_fewer_hyperparameters_only_where_aws_says_so(self):
        spec = child()
        old = parent(({"rate": "0.25", "kind": "a"}, 0.5), parameters=(RATE, KIND))
        assert inherited_from(spec, [old])
        with pytest.raises(InvalidSpec, match="as many static and tuned hyperparameters"):
            inherited_from(spec.model_copy(update={"create_request": "{}"}), [old])


def test_the_search_is_told_of_them():
    losses = [({"rate": str(n / 10)}, (n / 10 - 0.3) ** 2) for n in range(1, 10)]
    spec = child(random_seed=1)
    store = MemoryStore(clock=SetClock())
    record = store.tunings.create(
        spec, arn="arn:t", now=START, inherited=inherited_from(spec, [parent(*losses)])
    )
    needed = wanted(record, [])
    assert needed is not None
    assert needed.question.index == 0
    assert [point.values for point in needed.question.points] == [values for values, _ in losses]
