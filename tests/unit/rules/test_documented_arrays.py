from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime.rules import Engine, judge_of
from orchestrator_runtime.rules.documented.arrays import classes, numbers, stride
from orchestrator_runtime.trace import Writer

from tests.unit.rules.steps import array, findings, fired_at, step

batches = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12), max_size=6
)


def pairs(batches):
    for number, batch in enumerate(batches):
        yield array("labels", [label for label, _ in batch], number=number)
        yield array("predictions", [guess for _, guess in batch], number=number)


class TestNumbers:
    @pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "uint8"])
    def test_all_kinds(self, dtype):
        assert list(numbers(array("x", [0, 1, 100], dtype=dtype))) == [0, 1, 100]

    def test_scores_are_taken_by_their_largest(self):
        labels = array("labels", [0, 1])
        scores = array("p", [0.1, 0.9, 0.8, 0.2], shape=(2, 2), dtype="float32")
        assert classes(scores, labels) == [1, 0]

    def test_also_where_classes_are_in_the_middle(self):
        labels = array("labels", range(4), shape=(1, 4))
        scores = array("p", [1, 5, 0, 0, 2, 1, 9, 0], shape=(1, 2, 4), dtype="float32")
        assert classes(scores, labels) == [1, 0, 1, 0]

    def test_shapes_that_do_not_fit(self):
        with pytest.raises(ValueError, match="do not fit"):
            classes(array("p", range(6), shape=(2, 3)), array("labels", range(4)))

    @given(st.integers(0, 1 << 34))
    def test_strides_are_odd(self, elements):
        assert stride(elements) % 2 == 1


class TestClassImbalance:
    def reference(self, batches, samples, ratio, share):
        seen: Counter[int] = Counter()
        wrong: Counter[int] = Counter()
        for number, batch in enumerate(batches):
            for label, guess in batch:
                seen[label] += 1
                wrong[label] += label != guess
            if sum(seen.values()) >= samples and (
                max(seen.values()) / min(seen.values()) > ratio
                or any(wrong[label] / seen[label] > share for label in seen)
            ):
                return number
        return None

    @given(batches, st.integers(1, 30), st.sampled_from([1, 2, 5]), st.sampled_from([0, 0.5, 1]))
    def test_fires_as_the_guide_says(self, batches, samples, ratio, share):
        parameters = {
            "samples": samples,
            "threshold_imbalance": ratio,
            "threshold_misprediction": share,
        }
        found = fired_at("ClassImbalance", pairs(batches), parameters)
        assert found == self.reference(batches, samples, ratio, share)

    def test_scores_need_argmax(self):
        items = [
            array("labels", [0, 1]),
            array("predictions", [0.1, 0.9, 0.2, 0.8], shape=(2, 2), dtype="float32"),
        ]
        engine = Engine([judge_of("ClassImbalance", {"samples": 2})])
        assert [engine.observe_array(item) for item in items] == [[], []]
        assert "argmax" in engine.not_evaluated()["ClassImbalance"]
        parameters = {"samples": 2, "argmax": "True"}
        (found,) = findings("ClassImbalance", items, parameters)
        assert found.values["class"] == 0

    def test_labels_and_predictions_belong_to_one_step(self):
        items = [array("labels", [0], number=0), array("predictions", [1], number=1)]
        assert fired_at("ClassImbalance", items, {"samples": 1}) is None

    def test_what_it_needs(self):
        needs = judge_of("ClassImbalance", save_interval=5).needs
        assert needs == (
            ("labels/array", 5, ".*labels"),
            ("predictions/array", 5, ".*predictions"),
        )


class TestConfusion:
    def reference(self, batches, size, low, high):
        counts: Counter[tuple[int, int]] = Counter()
        for number, batch in enumerate(batches):
            counts.update(batch)
            if any(not any(counts[i, j] for j in range(4)) for i in range(size)):
                continue
            diagonal = sum(counts[i, i] for i in range(size))
            for i in range(size):
                if (counts[i, i] / diagonal if diagonal else 0) < low:
                    return number
                column = sum(counts[j, i] for j in range(size))
                if any(j != i and column and counts[j, i] / column > high for j in range(size)):
                    return number
        return None

    @given(
        batches, st.integers(2, 4), st.sampled_from([0, 0.2, 0.5]), st.sampled_from([0.1, 0.5, 1])
    )
    def test_fires_as_the_guide_says(self, batches, size, low, high):
        parameters = {"category_no": size, "min_diag": low, "max_off_diag": high}
        found = fired_at("Confusion", pairs(batches), parameters)
        assert found == self.reference(batches, size, low, high)

    def test_categories_may_be_counted(self):
        items = list(pairs([[(0, 0), (1, 1), (2, 2)]]))
        assert fired_at("Confusion", items, {"min_diag": 0.3}) is None
        assert fired_at("Confusion", items, {"min_diag": 0.34}) == 0


class TestImages:
    pixels = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(-2, 2, width=32)

    @given(
        st.lists(st.lists(pixels, min_size=12, max_size=12), max_size=6)
        | st.lists(st.lists(st.just(0.5), min_size=12, max_size=12), max_size=3)
    )
    def test_fires_by_the_mean_of_a_channel(self, batches):
        """Batches of two images with three colours and two pixels."""
        expected, seen = None, []
        for number, batch in enumerate(batches):
            seen += [batch[:6], batch[6:]]
            means = [
                math.fsum(value for image in seen for value in image[2 * c : 2 * c + 2])
                / (2 * len(seen))
                for c in range(3)
            ]
            if len(seen) >= 4 and max(abs(mean) for mean in means) > 0.5:
                expected = number
                break
        items = [
            array(
                "x", batch, shape=(2, 3, 1, 2), number=n, collection="input_image", dtype="float32"
            )
            for n, batch in enumerate(batches)
        ]
        assert (
            fired_at("CheckInputImages", items, {"threshold_samples": 4, "threshold_mean": 0.5})
            == expected
        )

    def test_colours_may_be_last(self):
        image = array("x", [0, 1, 0, 1], shape=(1, 1, 2, 2), collection="input_image")
        parameters = {"threshold_samples": 1, "channel": 3}
        (found,) = findings("CheckInputImages", [image], parameters)
        assert (found.values["channel"], found.values["mean"]) == (1, 1.0)

    def test_other_tensors_are_left_alone(self):
        image = array("x", [9] * 4, shape=(4, 1), collection="inputs")
        assert fired_at("CheckInputImages", [image], {"threshold_samples": 1}) is None
        assert fired_at("CheckInputImages", [image], {"threshold_samples": 1, "regex": "^x$"}) == 0


class TestWords:
    @given(st.lists(st.lists(st.integers(0, 3), min_size=1), max_size=6), st.floats(0, 100))
    def test_fires_by_the_share_of_a_token(self, batches, limit):
        expected = next(
            (
                number
                for number, batch in enumerate(batches)
                if 100 * batch.count(0) / len(batch) > limit
                or 100 * batch.count(2) / len(batch) > 60
            ),
            None,
        )
        items = [
            array("ids", batch, number=n, collection="input_sequence")
            for n, batch in enumerate(batches)
        ]
        parameters = {"token_values": "0, 2", "token_thresholds_percent": f"{limit!r}, 60"}
        assert fired_at("NLPSequenceRatio", items, parameters) == expected

    @pytest.mark.parametrize(
        "rule", ["NLPSequenceRatio", "CheckInputImages", "Confusion", "ClassImbalance"]
    )
    def test_without_arrays_nothing_is_evaluated(self, rule):
        engine = Engine([judge_of(rule)])
        engine.observe(step(0))
        assert rule in engine.not_evaluated()


class TestSimilarAcrossRuns:
    @pytest.fixture
    def other(self, tmp_path):
        writer = Writer(str(tmp_path / "host-0-1-1.trace"))
        for number in range(4):
            writer.step(step(number, loss=1.0 / (number + 1), blocks={"weights/l2": [1.0, 2.0]}))
        writer.close()
        return tmp_path

    def steps(self, changed=None):
        return [
            step(
                number,
                loss=1.0 / (number + 1) if number != changed else 7.0,
                blocks={"weights/l2": [1.0, 2.0]},
            )
            for number in range(6)
        ]

    def test_the_same_run_is_similar(self, other):
        assert (
            fired_at("SimilarAcrossRuns", self.steps(), {"other_trial": str(other)}, every=1)
            is None
        )

    @pytest.mark.parametrize(("every", "expected"), [(1, 2), (2, 2), (3, None)])
    def test_the_first_saved_step_that_differs_is_found(self, other, every, expected):
        parameters = {"other_trials": str(other / "host-0-1-1.trace")}
        assert fired_at("SimilarAcrossRuns", self.steps(2), parameters, every=every) == expected

    def test_a_run_that_is_not_there_is_no_agreement(self, tmp_path):
        engine = Engine([judge_of("SimilarAcrossRuns", {"other_trial": str(tmp_path / "no")})])
        engine.observe(step(0, loss=1.0))
        assert "cannot be read" in engine.not_evaluated()["SimilarAcrossRuns"]

    def test_nor_is_one_without_common_steps(self, other):
        engine = Engine([judge_of("SimilarAcrossRuns", {"other_trial": str(other)})])
        engine.observe(step(500, loss=1.0))
        assert "has no step" in engine.not_evaluated()["SimilarAcrossRuns"]
