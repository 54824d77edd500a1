"""SRGA: how far the features of a degradation are from those of a reference (Liu et al. 2022).

"Evaluating the Generalization Ability of Super-Resolution Networks", TPAMI 2023, arXiv 2205.07019. Features of many
patches of one degradation → their own PCA → all projected values as one sample of numbers → a generalised Gaussian →
Kullback–Leibler divergence from the reference's, on a logarithmic scale. The lower SRGA is, the less the network's
features depend on the degradation.

The steps and constants are those of the authors' code (github.com/lyh-18/SRGA, ``calculate_SRGA_ref.py``); of the
paper only the abstract and the README's summary of the method were available, so differences between its text and the
code are not known. Where this file differs: the shape is solved for, not searched on a grid; samples without variance
have a value, see :func:`divergence`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln

from reflash_sr.analysis.pca import components_of, gram_of_some

COMPONENTS = 300  # that PCA keeps of 800 patches in the authors' code; of fewer patches all are kept
OUTLIER = 5  # standard deviations at which the code leaves out a projected value
SHAPES = 0.2, 10.0  # range of the shape in the code; a sample outside gets the nearer end
SMALLEST, DECADES = 1e-5, 5  # SRGA = log10(divergence + 1e-5) + 5: 0 for equal distributions, 5 for a divergence of 1


@dataclass(frozen=True)
class GeneralisedGaussian:
    """A density proportional to exp(−(|x| / α)^shape) with zero mean; α follows from the standard deviation.

    Attributes:
        std: Standard deviation, in units of the features; 0: all values are equal.
        shape: 2: Gaussian, 1: Laplacian.
    """

    std: float
    shape: float

    @property
    def log_scale(self) -> float:
        """Logarithm of α."""
        return math.log(self.std) + (gammaln(1 / self.shape) - gammaln(3 / self.shape)) / 2


def fit(values: np.ndarray) -> GeneralisedGaussian:
    """Fit by moments: E[x²] gives the width, E[x²] / E[|x|]² the shape; values far from the mean are left out first.

    Args:
        values: Numbers of any shape, with a mean of about zero, as PCA gives them.
    """
    values = values.ravel()
    values = values[np.abs(values - values.mean()) < OUTLIER * values.std()] if values.size else values
    if not values.size:
        return GeneralisedGaussian(0.0, 2.0)
    square = float(np.mean(values**2))
    ratio = math.log(square / float(np.mean(np.abs(values - values.mean())))**2)
    low, high = SHAPES  # the ratio falls as the shape rises
    if ratio >= _log_ratio(low) or ratio <= _log_ratio(high):
        return GeneralisedGaussian(math.sqrt(square), low if ratio >= _log_ratio(low) else high)
    return GeneralisedGaussian(math.sqrt(square), brentq(lambda shape: _log_ratio(shape) - ratio, low, high))


def fit_samples(gram: np.ndarray, chosen: np.ndarray, components: int = COMPONENTS) -> GeneralisedGaussian:
    """Fit the features of some samples, projected on their own principal components.

    Args:
        gram: Inner products of all samples' features, from :func:`reflash_sr.analysis.pca.gram_of`.
        chosen: Indices of the samples of one degradation.
        components: Dimensions that PCA keeps; at most one less than there are samples. Compare only sets of equal size.
    """
    return fit(components_of(gram_of_some(gram, chosen), components).coordinates)


def divergence(reference: GeneralisedGaussian, other: GeneralisedGaussian) -> float:
    """Kullback–Leibler divergence of ``other`` from ``reference``, nats; it is not symmetric.

    Returns:
        0 to ∞. If neither has variance 0, if only one has ∞.
    """
    if reference == other:
        return 0.0
    if not reference.std or not other.std:
        return math.inf
    a, b = reference.shape, other.shape
    apart = reference.log_scale - other.log_scale
    return max(0.0, math.log(a / b) - apart + gammaln(1 / b) - gammaln(1 / a) - 1 / a
               + math.exp(b * apart + gammaln((b + 1) / a) - gammaln(1 / a)))


def srga(reference: GeneralisedGaussian, other: GeneralisedGaussian) -> float:
    """The index of a degradation: log10(divergence + 10⁻⁵) + 5; 0 if its features are distributed as the reference's.

    Features of the same degradation, but of other patches, are not at 0: compare with that.
    """
    return math.log10(divergence(reference, other) + SMALLEST) + DECADES


def _log_ratio(shape: float) -> float:
    """Logarithm of E[x²] / E[|x|]²."""
    return float(gammaln(1 / shape) + gammaln(3 / shape) - 2 * gammaln(2 / shape))
