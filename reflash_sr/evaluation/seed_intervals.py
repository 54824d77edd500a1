"""A gain over several seeds: what part of its uncertainty comes from the images, and what part from the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reflash_sr.evaluation.bootstrap import LEVEL, RESAMPLES, paired_gain


@dataclass(frozen=True)
class SeedGain:
    """How much networks with dropout are ahead of those without, seed by seed.

    The two intervals answer two questions and are not added up: would other images give the same mean for these
    networks, and would other seeds give the same mean for these images.

    Attributes:
        mean: Over seeds and cells (set × degradation); in the metric's unit.
        by_seed: The mean gain of each seed.
        images: How many different images it rests on.
        images_low: Lower end of the 95 % bootstrap interval over images; None where no set has two.
        images_high: Upper end.
        seeds_low: Lower end of the 95 % interval over seeds (Student's t); None for one seed.
        seeds_high: Upper end.
    """

    mean: float
    by_seed: tuple[float, ...]
    images: int
    images_low: float | None
    images_high: float | None
    seeds_low: float | None
    seeds_high: float | None


def gain_over_seeds(differences: Sequence[Sequence[np.ndarray]], seed: int = 0,
                    resamples: int = RESAMPLES) -> SeedGain | None:
    """Average paired differences over seeds, with an interval for each of the two sources of chance.

    Args:
        differences: For each seed, for each set, (images, degradations): with dropout minus without, of that seed.
            An image that is not finite for one seed is left out for all.
        seed: Of the resampling.
        resamples: How many.

    Returns:
        The gain, or None where a set has no image left.
    """
    stacked = [np.stack(of_set) for of_set in zip(*differences)]  # for each set (seeds, images, degradations)
    kept = [rows[:, np.isfinite(rows).all(axis=(0, 2))] for rows in stacked]
    over_images = paired_gain([rows.mean(axis=0) for rows in kept], seed, resamples)
    if over_images is None or not all(rows.shape[1] for rows in kept):
        return None
    by_seed = np.concatenate([rows.mean(axis=1) for rows in kept], axis=1).mean(axis=1)
    low = high = None
    if len(by_seed) > 1:
        half = stats.t.ppf((1 + LEVEL) / 2, len(by_seed) - 1) * by_seed.std(ddof=1) / np.sqrt(len(by_seed))
        low, high = float(by_seed.mean() - half), float(by_seed.mean() + half)
    return SeedGain(over_images.mean, tuple(float(one) for one in by_seed), over_images.images, over_images.low,
                    over_images.high, low, high)
