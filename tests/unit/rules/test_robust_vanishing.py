from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.course import course, falling, first, flat, layers

RULE = "vanishing_gradient"


def graded(number, decades, last=1.0):
    """Gradients that fall by so many decades from the last layer to the first."""
    return [last * 10 ** (-decades * (number - 1 - i) / (number - 1)) for i in range(number)]


def of(gradients, losses=None, **rest):
    return first(RULE, course(losses or flat(100), layers(len(gradients)), gradients, **rest))


class TestDepth:
    @pytest.mark.parametrize(
        ("number", "healthy", "vanished"), [(3, 2.7, 2.9), (6, 2.4, 2.8), (21, 1.8, 2.6)]
    )
    def test_the_more_layers_the_less_they_must_fall(self, number, healthy, vanished):
        assert of(graded(number, healthy)) is None
        assert of(graded(number, vanished)).step == 27

    def test_a_loss_that_falls_is_health(self):
        assert of(graded(20, 5.0), falling(100)) is None

    def test_an_average_that_moves_once_by_chance_does_not_start_anew(self):
        losses = flat(100, noise=0.001)
        losses[15:18] = [loss * 0.8 for loss in losses[15:18]]
        found = of(graded(20, 5.0), losses)
        assert found is not None
        assert found.step < 60

    def test_what_fell_back_has_not_learnt(self):
        losses = [*falling(60, 2.3, 0.5), *flat(80, 2.3)]
        found = of(graded(20, 4.0), losses)
        assert found.step > 60


class TestImportance:
    """Weights have norm 4: a gradient g of a layer means 4 g / loss."""

    @pytest.mark.parametrize(("size", "is_found"), [(5e-4, True), (1e-3, False)])
    def test_layers_that_do_not_matter_to_the_loss_are_found(self, size, is_found):
        losses = flat(100, loss=2.3)
        assert (of([size] * 6, losses) is not None) == is_found

    @given(st.floats(-8, 8))
    def test_no_scale_of_the_loss_matters(self, decades):
        scale = 10.0**decades
        assert of([1e-3 * scale] * 6, flat(60, 2.3 * scale)) is None
        assert of([5e-4 * scale] * 6, flat(60, 2.3 * scale)).step == 27

    def test_clipping_does_not_make_layers_unimportant(self):
        assert of([1e3] * 6, flat(100, 2.3e3), clip=1e-3) is None

    def test_a_mean_that_was_learnt_does_not_help_when_no_gradient_is_left(self):
        """As behind a sigmoid that is at its end: the first steps went from 0.5 to 0.2."""
        losses = [0.5, 0.5, 0.5, 0.3, 0.2, *flat(95, 0.2)]

        def gone(step):
            return [1.0 if step < 5 else 1e-7] * 4

        assert of(gone(0)) is None
        assert first(RULE, course(losses, layers(), gone)).step < 90

    def test_a_last_layer_that_begins_small_hides_the_others(self):
        """Labels without a meaning: it does not grow, and that is no fault of the gradients."""
        small = [4.0, 4.0, 4.0, 0.04]
        assert of([1e-4, 1e-4, 1e-4, 0.1], weights=small) is None
        assert of([1e-6, 1e-5, 1e-4, 0.1], weights=small) is not None
        assert of([1e-4, 1e-4, 1e-4, 0.1], weights=4.0) is not None

    def test_it_is_health_when_all_was_gained(self):
        losses = [*falling(50, 2.3, 0.01), *falling(60, 0.01, 1e-4)]
        assert of([1e-8] * 4, losses) is None

    def test_a_single_layer_that_does_not_matter_is_enough_wherever_it_is(self):
        """The first one may be the last in the model's list."""
        assert of([0.1, 0.1, 0.1, 1e-5], flat(120)).step == 59
        assert of([0.1, 0.1, 0.1, 1e-4], flat(120)) is None
        assert of([0.1, 0.1, 0.1, 1e-5], falling(120)) is None

    def test_the_first_layer_may_get_nothing_at_all(self):
        """As behind a mask that hides all inputs: what follows learns from biases."""
        assert of([0.0, 0.1, 0.1, 0.1], flat(120)).step == 59
        assert of([0.1, 0.0, 0.1, 0.1], flat(120)) is None  # a branch
        assert of([0.0, 0.1, 0.1, 0.1], falling(120)) is None

    def test_a_loss_that_seems_to_move_by_noise_does_not_excuse_layers_that_are_cut_off(self):
        losses = [1.0 + 0.3 * math.sin(step / 5.0) for step in range(100)]
        assert of([1e-12] * 4, losses) is not None
        assert of([5e-4] * 4, losses) is None


class TestOverflow:
    @pytest.mark.parametrize("weights", [math.inf, math.nan])
    def test_weights_that_are_no_numbers_are_another_matter(self, weights):
        assert of([1.0] * 4, weights=weights) is None

    def test_a_ratio_too_small_for_any_number_counts_as_zero(self):
        assert of([1e-300] * 4, weights=1e300) is not None


class TestConverged:
    """Full batches of targets that are noise: gradients go to nothing, the loss stays."""

    def of(self, gradient):
        return first(RULE, course(flat(160), layers(), lambda step: [gradient(step)] * 4))

    def test_gradients_that_become_small_by_and_by_are_those_of_a_minimum(self):
        assert self.of(lambda step: 0.9**step) is None

    def test_those_that_are_gone_at_once_are_not(self):
        assert self.of(lambda step: 0.9**step if step < 30 else 1e-7).step < 70

    def test_nor_those_that_are_exactly_zero_from_some_step_on(self):
        assert self.of(lambda step: 1.0 if step < 9 else 0.0).step < 40

    def test_where_there_was_none_at_all_others_look_first(self):
        """As of a loss that is switched off for some steps, or units that are all at an end."""
        assert self.of(lambda step: 0.0).step > 80
        done = course(flat(160, 0.0), layers(), [0.0] * 4)
        assert first(RULE, done) is None

    def test_nor_those_that_were_small_from_the_start(self):
        assert self.of(lambda step: 1e-4).step == 27
