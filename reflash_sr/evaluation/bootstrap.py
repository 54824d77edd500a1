"""Is a difference real? Paired differences over images, with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
DRAWS_AT_A_TIME = 2_000_000  # 32 MB


@dataclass(frozen=True)
class Gain:
    """How much one method is ahead of another.

    Attributes:
        mean: Mean over cells (set × degradation), each the mean over its images; in the metric's unit.
        low: Lower end of the 95 % interval; None where no set has two images.
        high: Upper end.
        images: How many different images it rests on.
        cells: How many cells it is the mean of.
        improved: How many of them are ahead.
    """

    mean: float
    low: float | None
    high: float | None
    images: int
    cells: int
    improved: int


def paired_gain(differences: Sequence[np.ndarray], seed: int = 0, resamples: int = RESAMPLES) -> Gain | None:
    """Mean of paired differences, with a percentile bootstrap interval over images.

    What is drawn anew is images, within each set: an image stays together under all its degradations, whose results
    resemble each other. The sets and degradations are taken as they are. With few images (Set5 has five) such an
    interval is rather too narrow.

    Args:
        differences: For each set (images, degradations), method minus reference. Rows that are not finite (an image
            equal to its ground truth has an infinite PSNR) are left out.
        seed: Of the resampling.
        resamples: How many.

    Returns:
        The gain, or None where no image is left.
    """
    sets = [rows[np.isfinite(rows).all(axis=1)] for rows in differences]
    sets = [rows for rows in sets if rows.size]
    if not sets:
        return None
    cell_means = np.concatenate([rows.mean(axis=0) for rows in sets])
    low = high = None
    if max(len(rows) for rows in sets) > 1:
        rng = np.random.default_rng(seed)
        drawn = sum(rows.shape[1] * _resampled(rows.mean(axis=1), rng, resamples) for rows in sets) / len(cell_means)
        tail = (1 - LEVEL) / 2
        low, high = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))
    return Gain(float(cell_means.mean()), low, high, sum(len(rows) for rows in sets), len(cell_means),
                int((cell_means > 0).sum()))


def _resampled(values: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Means of ``values`` drawn with replacement: (resamples,)."""
    at_a_time = max(DRAWS_AT_A_TIME // len(values), 1)
    return np.concatenate([
        values[rng.integers(0, len(values), (min(at_a_time, resamples - done), len(values)))].mean(axis=1)
        for done in range(0, resamples, at_a_time)])
