from __future__ import annotations

import pytest

from tests.unit.rules.course import Layers, course, falling, first, flat, layers

RULE = "poor_initialization"
DRAWN, CONSTANT = 0.1, 0.0


def start(losses=None, *, deviations=DRAWN, weights=4.0, gradients=0.1, model=None):
    model = model or layers(10)
    losses = losses or flat(140)
    return first(RULE, course(losses, model, gradients, weights=weights, deviations=deviations))


class TestConstants:
    def test_a_third_of_constant_layers_hurts(self):
        found = start(deviations=[CONSTANT] * 3 + [DRAWN] * 7)
        assert found.step == 14
        assert len(found.layers) == 3

    def test_fewer_do_not(self):
        assert start(deviations=[CONSTANT] * 2 + [DRAWN] * 8) is None

    def test_one_alone_has_no_symmetry_to_break(self):
        assert start(deviations=[CONSTANT, DRAWN], model=layers(2)) is None

    def test_zeros_that_keep_gradients_from_all_others_are_enough_alone(self):
        few = {"deviations": [DRAWN, CONSTANT, DRAWN, DRAWN], "model": layers(4)}
        weights = [4.0, 0.0, 4.0, 4.0]
        assert start(gradients=0.0, weights=weights, **few).layers == ("1.weight",)
        assert start(gradients=[0.1, 0.0, 0.1, 0.1], weights=weights, **few) is None
        assert start(gradients=0.0, **few) is None

    def test_who_learns_may_start_as_he_likes(self):
        assert start(falling(140), deviations=CONSTANT) is None

    def test_zeros_that_stay_are_found_in_a_part_of_a_network(self):
        found = start(
            deviations=[CONSTANT] * 4 + [DRAWN] * 6, weights=[0.0] * 4 + [4.0] * 6, gradients=0.1
        )
        assert found.step == 14

    def test_zeros_that_training_fills_were_meant(self):
        def filled(step):
            return [0.0 if step == 0 else 0.5] * 4 + [4.0] * 6

        assert start(deviations=[CONSTANT] * 4 + [DRAWN] * 6, weights=filled) is None

    def test_a_matrix_without_gradient_is_the_matter_of_another_rule(self):
        assert start(deviations=CONSTANT, gradients=[None] * 9 + [0.1]) is None

    def test_a_loss_that_fell_at_first_by_noise_is_looked_at_again(self):
        losses = [*falling(14, 2.3, 1.9), *flat(6, 2.3), *flat(120, 2.28, 0.2)]
        assert start(losses, deviations=CONSTANT).step > 14

    def test_after_some_looks_a_start_is_forgotten(self):
        losses = [*falling(130), *flat(200)]
        assert start(losses, deviations=CONSTANT) is None


class TestSizes:
    """Weights of norm 4 on 16 units pass on about as much as comes in."""

    def test_large_weights_that_do_not_learn_are_found(self):
        found = start(weights=[4.0] * 4 + [20.0] * 6)
        assert found.step == 29
        assert "so large" in found.message
        assert len(found.layers) == 6

    @pytest.mark.parametrize(("norm", "is_found"), [(11.9, False), (12.1, True)])
    def test_what_is_large_is_the_gain_of_a_layer(self, norm, is_found):
        assert (start(weights=norm) is not None) == is_found

    def test_normalised_networks_learn_with_them(self):
        assert start(falling(140), weights=100.0) is None

    def test_a_loss_that_moves_gets_more_time(self):
        assert start([2.3 - 0.006 * step for step in range(35)], weights=20.0) is None

    def test_a_table_of_embeddings_may_be_large(self):
        model = Layers([(16, 16)] * 10, roles=["embedding"] * 6 + ["matrix"] * 4)
        assert start(weights=[20.0] * 6 + [4.0] * 4, model=model) is None

    def test_small_weights_that_do_not_learn_are_found(self):
        found = start(weights=0.01)
        assert found.step == 29
        assert "so small" in found.message
