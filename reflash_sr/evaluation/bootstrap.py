"""Paired differences between methods, over images and over seeds, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95
RESAMPLES = 10_000
DRAWS_AT_A_TIME = 2_000_000  # 32 MB


@dataclass(frozen=True)
class Gain:
    """Mean improvement of a method over a reference, in the metric's unit; a cell is a dataset under a degradation."""

    mean: float  # over cells, each the mean over its images
    low: float | None  # of the 95 % bootstrap interval over images; None if no dataset has two images
    high: float | None
    images: int
    cells: int
    improved: int  # cells with a positive gain


@dataclass(frozen=True)
class SeedGain(Gain):
    """A gain over several seeds, with separate intervals: over images for these seeds, over seeds for these images."""

    by_seed: tuple[float, ...]
    seeds_low: float | None  # of the 95 % interval over seeds (Student's t); None for one seed
    seeds_high: float | None


def paired_gain(differences: Sequence[np.ndarray], seed: int = 0, resamples: int = RESAMPLES) -> Gain | None:
    """Mean of paired differences, with a percentile bootstrap interval over images.

    Images are resampled within each dataset, each with all its degradations, because their results are correlated.
    Datasets and degradations are fixed. For few images (Set5 has five) the interval is a little too narrow.

    Args:
        differences: For each dataset (images, degradations), method minus reference. Rows that are not finite are
            excluded: an image equal to its ground truth has an infinite PSNR.
        seed: Seed of the resampling.
        resamples: Number of bootstrap samples.

    Returns:
        The gain, or None if no image is left.
    """
    kept = [rows[np.isfinite(rows).all(axis=1)] for rows in differences]
    kept = [rows for rows in kept if rows.size]
    if not kept:
        return None
    cell_means = np.concatenate([rows.mean(axis=0) for rows in kept])
    low = high = None
    if max(len(rows) for rows in kept) > 1:
        rng = np.random.default_rng(seed)
        drawn = sum(rows.shape[1] * _resampled(rows.mean(axis=1), rng, resamples) for rows in kept) / len(cell_means)
        tail = (1 - LEVEL) / 2
        low, high = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))
    return Gain(float(cell_means.mean()), low, high, sum(len(rows) for rows in kept), len(cell_means),
                int((cell_means > 0).sum()))


def gain_over_seeds(differences: Sequence[Sequence[np.ndarray]], seed: int = 0,
                    resamples: int = RESAMPLES) -> SeedGain | None:
    """Average paired differences over seeds, with one interval over images and one over seeds.

    Args:
        differences: For each seed, for each dataset, (images, degradations): with dropout minus without. An image
            that is not finite for one seed is excluded for all.
        seed: Seed of the resampling.
        resamples: Number of bootstrap samples.

    Returns:
        The gain, or None if a dataset has no image left.
    """
    stacked = [np.stack(of_dataset) for of_dataset in zip(*differences)]  # each (seeds, images, degradations)
    kept = [rows[:, np.isfinite(rows).all(axis=(0, 2))] for rows in stacked]
    over_images = paired_gain([rows.mean(axis=0) for rows in kept], seed, resamples)
    if over_images is None or not all(rows.shape[1] for rows in kept):
        return None
    by_seed = np.concatenate([rows.mean(axis=1) for rows in kept], axis=1).mean(axis=1)
    low = high = None
    if len(by_seed) > 1:
        half = stdtrit(len(by_seed) - 1, (1 + LEVEL) / 2) * by_seed.std(ddof=1) / np.sqrt(len(by_seed))
        low, high = float(by_seed.mean() - half), float(by_seed.mean() + half)
    return SeedGain(**vars(over_images), by_seed=tuple(map(float, by_seed)), seeds_low=low, seeds_high=high)


def _resampled(values: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Means of ``values`` drawn with replacement: (resamples,)."""
    at_a_time = max(DRAWS_AT_A_TIME // len(values), 1)
    return np.concatenate([
        values[rng.integers(0, len(values), (min(at_a_time, resamples - done), len(values)))].mean(axis=1)
        for done in range(0, resamples, at_a_time)])
