"""Paired gains: the mean of cells, and an interval that covers."""

import numpy as np
import pytest

from reflash_sr.evaluation import bootstrap as intervals
from reflash_sr.evaluation.bootstrap import paired_gain


def test_mean_is_the_mean_over_cells_and_cells_are_counted():
    first, second = np.array([[1.0, -1.0], [3.0, -1.0]]), np.array([[0.5], [0.5], [0.5]])
    gain = paired_gain([first, second])
    assert gain.mean == pytest.approx((2 - 1 + 0.5) / 3)
    assert (gain.images, gain.cells, gain.improved) == (5, 3, 2)
    assert gain.low <= gain.mean <= gain.high


def test_the_interval_covers_the_truth_nearly_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = [paired_gain([rng.normal(0.1, 1, (40, 1))], resamples=400) for _ in range(300)]
    assert 0.9 < np.mean([gain.low <= 0.1 <= gain.high for gain in hits]) < 0.98


def test_an_image_stays_together():
    """Degradations that repeat one another add nothing: the interval does not shrink with their number."""
    rows = np.random.default_rng(1).normal(size=(20, 1))
    one, eight = paired_gain([rows]), paired_gain([np.repeat(rows, 8, axis=1)])
    assert (one.low, one.high) == pytest.approx((eight.low, eight.high))


def test_seeded_and_defined_at_the_edges():
    rows = np.random.default_rng(2).normal(size=(9, 3))
    assert paired_gain([rows], seed=1) == paired_gain([rows], seed=1) != paired_gain([rows], seed=2)
    lone = paired_gain([np.array([[0.25, 0.75]])])
    assert (lone.mean, lone.low, lone.high) == (0.5, None, None)
    assert paired_gain([np.array([[np.inf], [1.0]])]).mean == 1
    assert paired_gain([np.array([[np.nan]])]) is None
    assert paired_gain([np.full((5, 2), 0.3)]).low == pytest.approx(0.3)


def test_drawing_in_parts_changes_nothing(monkeypatch):
    rows = np.random.default_rng(3).normal(size=(9, 2))
    whole = paired_gain([rows, rows[:4]])
    monkeypatch.setattr(intervals, 'DRAWS_AT_A_TIME', 50)
    assert paired_gain([rows, rows[:4]]) == whole
