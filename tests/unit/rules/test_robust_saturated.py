from __future__ import annotations

import pytest

from tests.unit.rules.course import course, falling, first, flat, layers

RULE = "saturated_activation"


def of(share, losses=None, gradients=0.1, units=("tanh", "tanh")):
    shares = share if callable(share) else lambda step: share
    records = course(
        losses or flat(160), layers(units=units), gradients, outputs={"saturated": shares}
    )
    return first(RULE, records)


@pytest.mark.parametrize(("share", "is_found"), [(0.59, False), (0.61, True)])
def test_most_units_of_a_layer_in_two_samples(share, is_found):
    found = of([0.0, share])
    assert (found is not None) == is_found
    if found:
        assert found.step == 50
        assert found.layers == ("unit1",)


def test_once_may_be_chance():
    assert of(lambda step: [1.0 if step == 50 else 0.0] * 2) is None


def test_what_learns_may_be_at_its_ends():
    assert of(1.0, falling(160)) is None


def test_a_run_that_learnt_and_fell_back_is_judged_by_what_is_left():
    losses = [*falling(60, 2.3, 1.0), *flat(100, 2.3)]
    assert of(lambda step: [float(step > 60)] * 2, losses).step == 150


class TestGradientIsGone:
    """Outputs at their ends: most of a bad start is gained, and then no gradient is left."""

    losses = (0.46, 0.3, 0.28, *flat(157, 0.1))

    def gone(self, left):
        return lambda step: [1.0 if step < 5 else left] * 4

    def test_then_a_gain_does_not_count(self):
        assert of(1.0, self.losses, self.gone(1e-5)).step == 100

    def test_with_a_gradient_it_does(self):
        assert of(1.0, self.losses, self.gone(1e-2)) is None

    def test_nor_if_all_was_gained(self):
        sure = [*falling(60, 0.7, 0.01), *flat(100, 0.01)]
        assert of(1.0, sure, self.gone(1e-5)) is None
