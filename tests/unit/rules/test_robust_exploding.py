from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.course import course, falling, first, flat, layers

RULE = "exploding_gradient"


def doubling(number, start=2.3):
    return [start * 4.0**step for step in range(number)]


def growing(step):
    return [4.0**step] * 4


class TestEvidence:
    def test_a_loss_and_gradients_that_grow_have_exploded_within_ten_steps(self):
        found = first(RULE, course(doubling(20), layers(), growing))
        assert found is not None
        assert found.step <= 10

    @given(st.floats(-6, 6))
    def test_no_scale_of_the_loss_matters(self, decades):
        scale = 10.0**decades

        def scaled(step):
            return [scale * value for value in growing(step)]

        plain = first(RULE, course(doubling(20), layers(), growing))
        found = first(RULE, course(doubling(20, 2.3 * scale), layers(), scaled))
        assert found.step == plain.step

    def test_a_spike_of_some_steps_that_recovers_is_none(self):
        # As of a density whose variance becomes small: 23 from 4, with a norm 200 times the usual.
        losses = [3.9, 3.9, *[1.0] * 48, 2.8, 7.8, 23.2, 14.6, *[0.9] * 40]
        norms = dict(zip(range(50, 54), (22.0, 63.0, 190.0, 145.0), strict=True))
        found = first(RULE, course(losses, layers(), lambda step: norms.get(step, 1.0)))
        assert found is None

    def test_a_first_batch_that_is_easy_by_chance_is_no_start_to_rise_from(self):
        losses = [0.011, 0.95, 19.0, 8.9, 1.7, 13.0, 6.9, 0.33, 12.0, 19.0] * 4
        model = layers(1)
        quiet = course(losses, model, lambda step: 5 * losses[step] ** 0.5, ratios=0.011)
        moved = course(losses, model, lambda step: 5 * losses[step] ** 0.5, ratios=0.2)
        assert first(RULE, quiet) is None
        assert first(RULE, moved).step == 2


class TestClippedStart:
    losses = falling(60, 1e13, 1e10)

    def of(self, norm, clip=1.0, losses=None):
        """Norm: of each of four layers, as a multiple of the loss; weights have norm 4."""
        losses = losses or self.losses
        return course(losses, layers(), lambda step: norm * losses[step], clip=clip)

    def test_what_only_clipping_holds_has_exploded_though_its_loss_falls(self):
        found = first(RULE, self.of(20.0), elasticity=1e4)
        assert found.step == 19
        assert "clipped" in found.message

    def test_a_sum_of_losses_is_clipped_as_much_but_is_not_steep(self):
        assert first(RULE, self.of(1.0)) is None

    def test_what_is_clipped_moderately_is_judged_by_other_things(self):
        mild = falling(60, 2.3, 0.3)
        assert first(RULE, self.of(20.0, clip=1.0, losses=mild), elasticity=1e4) is None

    def test_later_it_is_a_loss_near_its_floor_that_makes_gradients_large(self):
        losses = falling(120, 1e6, 1e3)

        def late(step):
            return (20.0 if step > 50 else 1.0) * losses[step]

        assert first(RULE, course(losses, layers(), late, clip=1.0)) is None

    @pytest.mark.parametrize("elasticity", [700.0, 50.0])
    def test_its_limit_is_a_parameter(self, elasticity):
        found = first(RULE, self.of(20.0), elasticity=1e4, clipped_elasticity=elasticity)
        assert (found is None) == (elasticity == 700.0)


class TestElasticity:
    """Gradients and weights of four layers; a loss of 2.3 that does not fall."""

    def of(self, gradients, weights, clip=None):
        return first(RULE, course(flat(40), layers(), gradients, weights=weights, clip=clip))

    def test_a_start_at_which_any_step_is_too_large_is_found(self):
        assert self.of(190.0, 4.0).step == 4
        assert self.of(20.0, 4.0) is None

    def test_clipping_does_not_hide_it(self):
        assert self.of(190.0, 4.0, clip=1.0).step == 4

    def test_large_weights_of_one_layer_do_not_count_for_gradients_of_another(self):
        """Those before a normalisation may have any scale."""
        assert self.of([1e-5, 1e-5, 1e-5, 10.0], [1e4, 1e4, 1e4, 4.0]) is None


class TestHover:
    """A loss that goes to three times its start and stays there."""

    def of(self, clip, high=7.5, losses=None):
        losses = losses or [*flat(20), *flat(60, high, 0.05)]
        return first(RULE, course(losses, layers(), 1.0, clip=clip))

    def test_clipping_holds_it(self):
        assert 50 < self.of(0.5).step < 75

    @pytest.mark.parametrize(("clip", "high"), [(None, 7.5), (1.5, 7.5), (0.5, 4.0)])
    def test_without_clipping_or_not_so_high_it_may_be_meant(self, clip, high):
        """The loss of a generator goes up as its judge gets better."""
        assert self.of(clip, high) is None

    def test_a_start_that_was_low_by_chance_is_none(self):
        noise = [(-1.0) ** step for step in range(100)]
        assert self.of(0.5, losses=[-1.5, -1.5, -1.5, *noise]) is None


class TestRelapse:
    """A run that learns for 80 steps and then is back at chance, with ordinary norms."""

    def test_a_fifth_of_the_loss_is_learnt_enough_to_fall_back_from(self):
        def of(low):
            losses = [*falling(40, 2.3, low), *flat(60)]
            rates = {"rates": lambda step: 0.1 if step < 40 else 1.0}
            return first(RULE, course(losses, layers(), 0.1, **rates))

        assert 45 < of(1.7).step < 65
        assert of(2.1) is None

    def test_what_was_learnt_is_judged_by_the_noise_of_then(self):
        """A raised rate throws the loss to 400, and then from 1 to 10 and back at each step."""
        wild = [400.0, 21.0, 7.0, *[7.5 if step % 2 else 1.1 for step in range(40)]]
        losses = [*falling(75, 1.07, 0.1), *wild]
        records = course(losses, layers(), 0.1, rates=lambda step: 0.1 if step < 75 else 15.0)
        assert first(RULE, records).step < 90

    def relapse(self, rates, start=2.3, chance=2.3, noise=0.02):
        losses = [*falling(80, start, 0.5), *flat(60, chance, noise)]
        return first(RULE, course(losses, layers(), 1.0, rates=rates))

    def test_it_is_found_where_steps_grew(self):
        assert 85 < self.relapse(lambda step: 0.1 if step < 80 else 1.0).step < 110

    def test_it_is_another_task_where_they_did_not(self):
        assert self.relapse(0.1) is None

    def test_the_average_is_late_so_its_best_may_be_after_the_rate_rose(self):
        assert self.relapse(lambda step: 0.1 if step < 75 else 1.0) is not None

    def test_chance_may_be_well_below_the_start(self):
        found = self.relapse(lambda step: 0.1 if step < 80 else 1.0, start=3.2)
        assert found is not None

    def test_a_bump_after_a_restart_is_none(self):
        losses = [*falling(80, 2.3, 0.5), *[0.9] * 60]
        rates = {True: 0.1, False: 1.0}
        records = course(losses, layers(), 1.0, rates=lambda step: rates[step < 80])
        assert first(RULE, records) is None

    def test_noise_of_the_relapse_does_not_hide_what_was_learnt(self):
        assert self.relapse(lambda step: 0.1 if step < 80 else 1.0, chance=4.0, noise=0.4)


def test_a_run_without_a_loss_is_not_judged():
    records = course([math.nan] * 30, layers(), 1.0)
    stripped = [record for record in records if record.scalars.pop("loss")]
    assert first(RULE, stripped) is None


class TestOvershoot:
    """Weights of norm 4 that move by 5 %, along gradients of 10: five times 2 of a loss of 2.3."""

    def of(self, losses, gradient=10.0, clip=None, **parameters):
        records = course(losses, layers(), gradient, ratios=0.05, clip=clip)
        return first(RULE, records, **parameters)

    def test_steps_that_promise_all_of_the_loss_and_gain_nothing_are_too_large(self):
        assert self.of(flat(80, noise=0.2)).step == 40

    def test_the_measure_is_the_sum_over_the_layers_as_a_share_of_the_loss(self):
        assert self.of(flat(80), overshoot=3.4) is not None
        assert self.of(flat(80), overshoot=3.6) is None

    def test_clipping_does_not_hide_it(self):
        assert self.of(flat(80, noise=0.2), clip=1e-2) is not None

    def test_what_learns_may_take_large_steps(self):
        assert self.of(falling(80)) is None

    def test_an_easy_first_batch_does_not_hide_that_the_loss_falls(self):
        losses = [0.4, 2.3, *(0.5 - 0.03 * step for step in range(60))]
        assert self.of(losses, 2.0, patience=10**6) is None

    def test_nor_does_a_small_step_along_a_steep_slope_matter(self):
        assert self.of(flat(80, noise=0.2), 1.0) is None


class TestBottomless:
    """A loss that is maximised by mistake: it and its gradient grow without end."""

    losses = tuple(-3.9 * 1.3**step for step in range(60))

    def test_a_slope_that_grows_with_the_loss_has_no_floor(self):
        found = first(RULE, course(self.losses, layers(), lambda step: 1.3**step))
        assert 15 < found.step < 30

    def test_a_likelihood_that_goes_far_below_zero_has(self):
        assert first(RULE, course(self.losses, layers(), 1.0)) is None


class TestNegativeRate:
    def test_a_schedule_that_runs_below_zero_climbs(self):
        losses = [*falling(50, 2.3, 0.3), *flat(60, 2.3)]

        def of(rate):
            return first(
                RULE, course(losses, layers(), 0.1, rates=lambda step: rate * (50 - step))
            )

        assert of(1e-3).step > 50

    def test_without_steps_that_grow_another_task_may_begin(self):
        losses = [*falling(50, 2.3, 0.3), *flat(60, 2.3)]
        assert first(RULE, course(losses, layers(), 0.1)) is None


class TestOverflow:
    def test_an_update_that_is_not_finite_is_no_growth(self):
        losses = [2.3, *[math.nan] * 20]
        assert first(RULE, course(losses, layers(), 1.0, ratios=math.inf)) is None
        assert first(RULE, course(losses, layers(), 1.0, ratios=5.0)) is not None
