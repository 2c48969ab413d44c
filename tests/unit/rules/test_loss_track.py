from __future__ import annotations

import math
import random

from orchestrator_runtime.rules.robust.loss import LossTrack

from tests.unit.rules.course import falling, flat


def track(losses):
    found = LossTrack()
    for loss in losses:
        found.take(loss)
    return found


class TestGain:
    def test_noise_around_zero_is_seldom_a_gain(self):
        def gain(seed):
            noise = random.Random(seed)
            return track([noise.gauss(0.0, 1.0) for _ in range(100)]).best_gain

        assert sum(gain(seed) > 0.3 for seed in range(200)) < 20

    def test_a_start_that_is_high_by_chance_is_no_gain(self):
        quiet = [1.0 if step % 2 else -1.0 for step in range(100)]
        assert track([1.2, 1.2, 1.2, *quiet]).best_gain < 0.1

    def test_what_is_learnt_is(self):
        assert track([*falling(60, 2.3, 0.1), *flat(40, 0.1)]).best_gain > 0.9

    def test_what_is_lost_again_is_not_kept(self):
        found = track([*falling(60, 2.3, 0.1), *flat(60, 2.3)])
        assert found.best_gain > 0.8
        assert found.kept_gain < 0.1
        assert found.lost > 0.9

    def test_nothing_gained_is_nothing_lost(self):
        assert math.isnan(track([1.0, 1.0, 1.0]).lost)


class TestStill:
    def test_a_loss_that_moves_is_not_still_in_either_direction(self):
        assert track(flat(60)).is_still
        assert not track(falling(60)).is_still
        assert not track(falling(60)[::-1]).is_still

    def test_no_loss_shows_nothing_against_it_and_a_single_one_does(self):
        assert LossTrack().is_still
        assert not track([1.0]).is_still
