"""Weights that no gradient reaches, and units that are dead."""

from __future__ import annotations

import math

import pytest
from orchestrator_runtime.rules.robust.reach import Reach
from orchestrator_runtime.trace.record import Block, StepRecord, Table, Tensor

from tests.unit.rules.course import Layers, course, falling, first, flat, layers

UNCHANGED, DEAD = "unchanged_weights", "dead_units"
LUCKY = [4.5, 4.4, 5.4, *[3.2 + 0.4 * (step % 3 - 1) for step in range(117)]]
"""What chance gains: the data of the first steps were hard."""


def unchanged(gradients, losses=None, model=None, **rest):
    return first(UNCHANGED, course(losses or flat(120), model or layers(), gradients, **rest))


class TestMissing:
    def test_half_of_the_matrices_is_enough(self):
        found = unchanged([None, None, 0.1, 0.1])
        assert found.layers == ("0.weight", "1.weight")
        assert found.step < 30

    def test_less_is_not(self):
        assert unchanged([None, 0.1, 0.1, 0.1]) is None

    def test_one_of_three_is_when_it_is_most_of_the_model(self):
        table = Layers([(400, 16), (32, 16), (5, 32)], roles=["embedding", "matrix", "matrix"])
        assert unchanged([None, 0.1, 0.1], model=table).layers == ("0.weight",)
        assert unchanged([0.1, None, 0.1], model=table) is None

    def test_a_loss_that_shakes_may_yet_settle_and_learn(self):
        """As of a head on frozen features, under a large learning rate."""
        losses = [2.5, 3.4, 7.1, 9.0, 11.0, *[13.0 - 0.5 * step for step in range(24)]]
        losses += [0.9 * 0.98**step for step in range(60)]
        assert unchanged([None, None, None, 1.0], losses) is None

    def test_a_gradient_that_comes_later_counts(self):
        assert unchanged(lambda step: [None if step < 10 else 0.1] * 2 + [0.1] * 2) is None

    def test_a_program_that_shows_no_loss_is_judged_by_gradients(self):
        records = list(course(flat(60), layers(), [None, None, None, 0.1]))
        bare = [
            StepRecord(r.step, r.time, 0, skipped=False, scalars={"norm": 0.1}, blocks=r.blocks)
            for r in records
        ]
        assert first(UNCHANGED, bare).step == 19


class TestStill:
    """Weights that do not change."""

    @pytest.mark.parametrize(("ratio", "is_found"), [(1e-9, True), (math.nan, False)])
    def test_only_what_is_known_stands_still(self, ratio, is_found):
        """Weights that are no numbers are the matter of another rule."""
        assert (unchanged([0.1] * 4, ratios=ratio) is not None) == is_found

    def test_a_rate_that_is_far_too_small_is_only_worth_a_warning(self):
        """As of fine-tuning near an optimum: see `update_ratio`."""
        assert unchanged([0.1] * 4, ratios=2e-5) is None

    def test_where_no_gradient_comes_to_matrices_it_is_not_the_rate(self):
        model = Layers([(16, 16)] * 3 + [(16,)], roles=["matrix"] * 3 + ["vector"])
        quick = {"model": model, "ratios": [0.0] * 3 + [None], "gradients": [0.1] * 4}
        assert unchanged(**quick).step == 20
        assert unchanged(**quick | {"gradients": [0.0] * 3 + [0.1]}).step > 30

    def test_where_no_gradient_matters_at_all_updates_are_small_for_that(self):
        assert unchanged([1e-9] * 4, ratios=1e-9) is None

    def test_a_loss_that_falls_knows_better_than_a_sample_of_the_weights(self):
        """As of large embeddings, of which a step changes few rows."""
        losses = falling(60, 2.3, 1.5)
        assert unchanged([0.1] * 4, losses, ratios=0.0) is None
        assert unchanged([0.1] * 4, ratios=0.0).step == 20


class TestRateOfZero:
    """Steps of size zero: ratios are not recorded here, so that the rate alone tells."""

    @staticmethod
    def found(losses, rates):
        return unchanged([0.1] * 4, losses, ratios=math.nan, rates=rates)

    def test_what_chance_gains_excuses_it_for_a_while_only(self):
        found = self.found(LUCKY, lambda step: 0.1 if step < 3 else 0.0)
        assert 60 <= found.step < 100
        assert found.values["learning_rate"] == 0.0

    def test_it_is_found_soon_where_nothing_is_gained(self):
        assert self.found(flat(120), 0.0).step == 19

    def test_what_was_learnt_before_is_a_schedule_that_has_ended(self):
        losses = [*falling(40), *[0.5] * 80]
        assert self.found(losses, lambda step: 0.1 if step < 40 else 0.0) is None

    def test_a_rate_that_comes_back_is_a_warm_up(self):
        assert self.found(flat(120), lambda step: 0.0 if step < 19 else 0.1) is None


class TestRows:
    """Of large tables a step changes few rows, of which a sample may have none."""

    def of(self, role, zeros):
        model = Layers([(5000, 16)] * 3, roles=[role] * 3)
        records = list(course(flat(100), model, 0.1, ratios=0.0))
        records[0].blocks["gradients/zeros"] = Block(model.gradients, [zeros] * 3)
        return first(UNCHANGED, records)

    def test_a_table_may_well_change(self):
        assert self.of("matrix", 0.0).step == 20
        assert self.of("matrix", 0.98) is None
        assert self.of("embedding", 0.0) is None


class TestReturn:
    """Weights that move by a hundredth at each step, and what their norms do."""

    def of(self, weights, losses=None, number=4):
        return unchanged([0.1] * number, losses, layers(number), ratios=1e-2, weights=weights)

    def test_norms_that_stay_are_those_of_weights_that_are_put_back(self):
        assert self.of(4.0).step == 30
        assert self.of(lambda step: 4.0 * (1.0 + 1e-6 * step)) is not None

    def test_steps_that_add_up_change_them(self):
        assert self.of(lambda step: 4.0 * (1.0 + 1e-4 * step)) is None
        assert self.of(lambda step: [4.0, 4.0, 4.0, 4.0 + 1e-2 * step]) is None

    def test_what_learns_may_keep_its_length(self):
        assert self.of(4.0, falling(120)) is None

    def test_one_matrix_may_swing_about_its_place(self):
        assert self.of(4.0, number=1) is None


class TestStrays:
    """Matrices that get gradients and belong to no optimizer, looked for at two steps."""

    def of(self, number, losses=None, norms=(1.0, 2.0)):
        records = list(course(losses or flat(160), layers(), 0.1))
        strays = tuple(Tensor(f"stray{i}", (16, 16), "matrix") for i in range(number))
        table = Table("strays", 0, strays)
        for step, norm in zip((10, 40), norms, strict=False):
            records[step].blocks["strays/l2"] = Block(table, [norm] * number)
        return first(UNCHANGED, records)

    def test_most_of_a_model_is_found_when_nothing_is_learnt(self):
        found = self.of(5)
        assert found.step == 40 + 19
        assert found.layers[:2] == ("stray0", "stray1")
        assert self.of(1) is None

    def test_one_look_is_not_enough(self):
        assert self.of(5, norms=(1.0,)) is None

    def test_what_a_head_learns_of_the_classes_alone_is_little(self):
        def fallen(to):
            return [to + (1 - to) * 0.8**step for step in range(160)]

        assert self.of(5, fallen(0.85)) is not None
        assert self.of(5, fallen(0.6)) is None

    def test_gradients_that_are_left_over_from_an_earlier_training_are_none(self):
        assert self.of(5, norms=(1.0, 1.0)) is None

    def test_a_head_that_learns_is_trained_alone_on_purpose(self):
        assert self.of(5, falling(160)) is None


class TestZeros:
    """Every gradient is exactly zero from the first step on: they were wiped out, or cut off."""

    noisy = flat(100, noise=0.2)

    def test_nothing_can_change_whatever_the_loss_does(self):
        assert unchanged([0.0] * 4, self.noisy).step == 59

    def test_a_loss_of_zero_has_no_gradient_and_needs_none(self):
        assert unchanged([0.0] * 4, flat(100, 0.0)) is None

    @pytest.mark.parametrize("there", [0, 7, 40])
    def test_a_single_gradient_makes_it_another_matter(self, there):
        assert unchanged(lambda step: [0.1 if step == there else 0.0] * 4, self.noisy) is None

    @pytest.mark.parametrize(
        ("kind", "statistic"), [("relu", "idle_units"), ("sigmoid", "saturated")]
    )
    def test_units_that_pass_nothing_on_explain_it(self, kind, statistic):
        outputs = {"idle_units": [0.0], "saturated": [0.0]}
        model = layers(units=(kind,))
        assert unchanged([0.0] * 4, self.noisy, model, outputs=outputs) is not None
        outputs[statistic] = [1.0]
        assert unchanged([0.0] * 4, self.noisy, model, outputs=outputs) is None


class TestFrozen:
    """Matrices of the optimizer that need no gradient."""

    def of(self, frozen, losses=None):
        table = Layers([(16, 16)] * 4, frozen=frozen)
        return unchanged([None if i in frozen else 0.1 for i in range(4)], losses, table)

    def test_they_are_meant_to_stay(self):
        """Where the rest learns nothing, its targets may have no meaning."""
        assert self.of((0, 1, 2), falling(120)) is None
        assert self.of((0, 3)) is None


class TestCut:
    """Exact zeros in all first layers, from the first step on: round() or sign() in the path."""

    learnt_the_mean = (*falling(40, 0.26, 0.075), *flat(120, 0.075))

    def test_it_is_found_once_nothing_more_is_gained(self):
        found = unchanged([0.0, 0.0, 0.0, 0.1], self.learnt_the_mean)
        assert 80 < found.step < 150
        assert found.layers == ("0.weight", "1.weight", "2.weight")

    @pytest.mark.parametrize(
        "gradients",
        [
            [0.1, 0.0, 0.0, 0.0],  # experts that are not chosen
            [0.0, 0.1, 0.1, 0.1],  # a small part, as a branch, and much was learnt
            [0.0, 0.0, 1e-30, 0.1],  # rounding of tiny numbers
        ],
    )
    def test_other_zeros_are_not(self, gradients):
        assert unchanged(gradients, self.learnt_the_mean) is None

    def test_matrices_that_are_not_used_do_not_hide_it(self):
        assert unchanged([0.0, 0.0, None, 0.1], self.learnt_the_mean).layers[0] == "0.weight"

    def test_nor_those_of_units_at_the_ends_of_their_range(self):
        model = layers(units=("tanh",))
        of = {"outputs": {"idle_units": [0.0], "saturated": [1.0]}, "model": model}
        assert unchanged([0.0, 0.0, 0.1, 0.1], self.learnt_the_mean, **of) is None
        of["outputs"]["saturated"] = [0.5]
        assert unchanged([0.0, 0.0, 0.1, 0.1], self.learnt_the_mean, **of) is not None

    def test_zeros_of_the_first_step_are_none(self):
        def adapter(step):
            return [0.0 if step == 0 else 0.1] * 2 + [0.1] * 2

        assert unchanged(adapter) is None

    def test_nor_those_of_dead_units(self):
        model = layers(units=("relu", "relu"))
        of = {"outputs": {"idle_units": [0.2, 1.0]}, "model": model}
        assert unchanged([0.0, 0.0, 0.1, 0.1], self.learnt_the_mean, **of) is None
        of["outputs"] = {"idle_units": [0.2, 0.5]}
        assert unchanged([0.0, 0.0, 0.1, 0.1], self.learnt_the_mean, **of) is not None

    def test_a_run_that_has_gained_nearly_all_is_well(self):
        losses = [*falling(60, 2.3, 0.05), *flat(100, 0.05)]
        assert unchanged([0.0, 0.0, 0.0, 0.1], losses) is None


class TestReach:
    def test_a_table_that_changes_does_not_forget(self):
        reach, whole, other = Reach(), layers(), layers()
        reach.take(Block(whole.gradients, [0.1, None, 0.0, None]))
        assert [tensor.name for tensor in reach.unreached] == ["1.weight", "3.weight"]
        assert reach.unreached_share == 0.5
        reach.take(Block(other.gradients, [None, 0.1, None, None]))
        assert [tensor.name for tensor in reach.unreached] == ["3.weight"]

    def test_without_matrices_nothing_is_missing(self):
        reach = Reach()
        reach.take(Block(Layers([(4,)], roles=["vector"]).gradients, [None]))
        assert (reach.matrices, reach.unreached, reach.unreached_share) == ((), (), 0.0)


class TestDead:
    def of(self, kinds, idle, losses=None):
        model = layers(units=kinds)
        records = course(
            losses or flat(100), model, [0.0, 0.0, 0.0, 0.1], outputs={"idle_units": idle}
        )
        return first(DEAD, records)

    def test_a_loss_from_absurd_heights_that_rests_at_a_guess_has_not_learnt(self):
        heights = [*falling(20, 1e8, 1.4)]

        def dead(step):
            return [0.0 if step >= 20 else 0.1] * 3 + [0.1]

        rests = course([*heights, *flat(80, 1.4)], layers(), dead)
        assert first(DEAD, rests).step > 40
        learns = course([*heights, *falling(80, 1.4, 1e-3)], layers(), dead)
        assert first(DEAD, learns) is None

    def test_units_that_are_off_are(self):
        assert self.of(("relu", "relu"), [1.0, 1.0]).step == 14

    def test_units_of_a_tanh_saturate_but_do_not_die(self):
        assert self.of(("tanh", "sigmoid"), [0.0, 0.0]) is None

    def test_where_no_activation_is_known_others_may_speak_first(self):
        assert self.of((), []).step == 44

    def test_the_mean_that_the_last_bias_learns_is_no_health(self):
        losses = [*falling(20, 1.0, 0.3), *flat(80, 0.3)]
        assert self.of(("relu", "relu"), [1.0, 1.0], losses) is not None

    def test_a_loss_without_anything_left_is(self):
        losses = [*falling(20, 1.0, 0.05), *falling(80, 0.05, 1e-3)]
        assert self.of(("relu", "relu"), [1.0, 1.0], losses) is None


class TestBlocked:
    """A layer that is off altogether keeps inputs from all that lies behind it."""

    def of(self, gradients, idle, losses=None):
        model = layers(len(gradients), units=("relu", "relu"))
        records = course(losses or flat(100), model, gradients, outputs={"idle_units": idle})
        return first(DEAD, records)

    def test_the_first_matrices_are_enough(self):
        assert self.of([0.0, 0.1, 0.1, 0.1], [1.0, 0.4]).layers == ("0.weight",)

    def test_a_branch_is_not(self):
        assert self.of([0.1, 0.0, 0.1, 0.1], [1.0, 0.4]) is None
        assert self.of([0.0, 0.1, 0.1, 0.0, 0.1, 0.1], [1.0, 0.4]) is None

    def test_nor_a_layer_of_which_some_units_live(self):
        assert self.of([0.0, 0.1, 0.1, 0.1], [0.95, 0.4]) is None

    def test_it_explains_that_no_gradient_comes_at_all(self):
        assert self.of([0.0] * 4, [1.0, 1.0]).step == 15
        assert self.of([0.0] * 4, [0.95, 0.4]) is None

    def test_tiny_numbers_that_became_zero_are_no_dead_units(self):
        assert first(DEAD, course(flat(100), layers(), [0.0, 0.0, 1e-17, 0.1])) is None
        assert first(DEAD, course(flat(100), layers(), [0.0, 0.0, 1e-5, 0.1])) is not None

    def test_a_bias_that_is_still_zero_explains_nothing(self):
        model = Layers([(16, 16)] * 3 + [(16,)], ("relu",), ["matrix"] * 3 + ["vector"])
        weights = [4.0, 4.0, 4.0, 0.0]
        outputs = {"idle_units": [1.0]}
        records = course(flat(60), model, [0.0, 0.0, 0.1, 0.0], weights=weights, outputs=outputs)
        assert first(DEAD, records).layers == ("0.weight", "1.weight")
