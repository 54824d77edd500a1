"""A gain over seeds: its mean, and its two intervals, each of which knows one source of chance."""

import numpy as np
import pytest
from scipy import stats

from reflash_sr.evaluation.bootstrap import gain_over_seeds, paired_gain


def test_one_seed_is_the_gain_over_images(rng):
    sets = [rng.normal(0.1, 1, (5, 3)), rng.normal(0.1, 1, (9, 3))]
    gain, plain = gain_over_seeds([sets]), paired_gain(sets)
    assert (gain.mean, gain.low, gain.high, gain.images) == (plain.mean, plain.low, plain.high, 14)
    assert gain.by_seed == (pytest.approx(plain.mean),)
    assert gain.seeds_low is gain.seeds_high is None


def test_each_interval_knows_its_own_source(rng):
    rows, seeds = rng.normal(0, 1, (1, 20, 1)), rng.normal(0, 1, (4, 1, 1))
    only_images = gain_over_seeds([[one] for one in np.broadcast_to(rows, (4, 20, 2))])
    assert only_images.seeds_high - only_images.seeds_low == pytest.approx(0)
    assert only_images.high - only_images.low > 0.3
    only_seeds = gain_over_seeds([[one] for one in np.broadcast_to(seeds, (4, 20, 2))])
    assert only_seeds.high - only_seeds.low == pytest.approx(0)
    wanted = stats.t.interval(0.95, 3, seeds.mean(), stats.sem(seeds.ravel()))
    assert (only_seeds.seeds_low, only_seeds.seeds_high) == pytest.approx(wanted)


def test_cells_count_alike_and_means_agree(rng):
    differences = [[rng.normal(size=(5, 2)), rng.normal(size=(100, 2))] for _ in range(3)]
    gain = gain_over_seeds(differences)
    wanted = np.mean([[rows.mean() for rows in sets] for sets in differences])
    assert gain.mean == pytest.approx(wanted)
    assert np.mean(gain.by_seed) == pytest.approx(wanted)


def test_an_image_without_a_value_is_left_out_for_all_seeds():
    differences = [[np.array([[1.0], [5.0]])], [np.array([[3.0], [np.nan]])]]
    gain = gain_over_seeds(differences)
    assert (gain.mean, gain.by_seed, gain.images) == (2, (1, 3), 1)
    assert gain_over_seeds([[np.full((2, 1), np.nan)]]) is None
