"""How features cluster by degradation (paper Sec. 6.2, Fig. 9).

Features of one layer → PCA → t-SNE → Calinski–Harabasz index (CHI). The lower it is, the less the features depend on
the degradation. t-SNE depends on its initial points ("start"), so the index is given for several starts, and in PCA
space.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import calinski_harabasz_score
from threadpoolctl import threadpool_limits

from reflash_sr.analysis.pca import Components, components_of, gram_of
from reflash_sr.analysis.srga import GeneralisedGaussian, fit_samples, srga
from reflash_sr.errors import UserError

Labels = Sequence[int] | np.ndarray
START = 1e-4  # standard deviation of t-SNE's start along the first component, as in scikit-learn
JITTER = 0.1  # standard deviation of the noise on a start, relative to START


@dataclass(frozen=True)
class Clusters:
    """2-D coordinates of samples, and how strongly they cluster by degradation.

    Attributes:
        points: (S, n, 2) float64: t-SNE coordinates for each seed.
        chi: (S,) CHI of the points: 0 if the means of the degradations coincide, ∞ if each degradation is one point.
        chi_pca: CHI in PCA space.
        fits: Distribution of the features of each degradation, by its number in the labels, ascending. The first is the
            reference of SRGA.
    """

    components: Components
    points: np.ndarray
    chi: np.ndarray
    chi_pca: float
    fits: Mapping[int, GeneralisedGaussian]

    @property
    def mean(self) -> float:
        """Mean CHI over the seeds."""
        return float(self.chi.mean())

    @property
    def std(self) -> float:
        """Standard deviation of CHI over the seeds (ddof = 1); 0 with one seed, or if a CHI is infinite."""
        return float(self.chi.std(ddof=1)) if len(self.chi) > 1 and np.isfinite(self.chi).all() else 0.0

    @property
    def srga_of_each(self) -> list[float]:
        """SRGA of each degradation but the first, to the first (:func:`reflash_sr.analysis.srga.srga`)."""
        reference, *others = self.fits.values()
        return [srga(reference, one) for one in others]

    @property
    def srga(self) -> float:
        """Their mean."""
        return float(np.mean(self.srga_of_each))


def cluster(blocks: Iterable[np.ndarray], labels: Labels, components: int = 50, perplexity: float = 30,
            seeds: Sequence[int] = range(5)) -> Clusters:
    """Map samples into the plane by their features, and measure how they cluster.

    Args:
        blocks: The (n, d) features as blocks of columns (see :func:`reflash_sr.analysis.pca.pca`).
        labels: (n,) number of each sample's degradation.
        components: Dimensions that PCA keeps; at most n − 1.
        perplexity: Perplexity of t-SNE, 0 < perplexity < n; about the number of neighbours of a sample.
        seeds: Seeds of the starts of t-SNE.

    Raises:
        UserError: As for :func:`check` and :func:`reflash_sr.analysis.pca.pca`.
    """
    check(labels, perplexity, seeds)
    if components < 1:
        raise UserError(f'components: {components}; give 1 or more')
    gram, numbers = gram_of(blocks), np.asarray(labels)
    fits = {one: fit_samples(gram, np.flatnonzero(numbers == one)) for one in np.unique(numbers).tolist()}
    found = components_of(gram, components)
    points = np.stack([tsne(found.coordinates, perplexity, seed) for seed in seeds])
    chis = np.array([chi(one, labels) for one in points])
    return Clusters(found, points, chis, chi(found.coordinates, labels), fits)


def check(labels: Labels, perplexity: float, seeds: Sequence[int] = (0,)) -> None:
    """Reject samples that cannot be clustered, before any features are computed.

    Raises:
        UserError: Fewer than two degradations, no degradation with two samples, no seed, or a perplexity that is not
            below the number of samples.
    """
    kinds = len(set(labels))
    if kinds < 2:
        raise UserError(f'degradations: {kinds}; clusters need two or more')
    if len(labels) <= kinds:
        raise UserError('samples: one image of each degradation is no cluster; give 2 or more')
    if not 0 < perplexity < len(labels):
        raise UserError(f'perplexity: {perplexity:g} must be above 0 and below the number of samples, {len(labels)}; '
                        'give a smaller one or more samples')
    if len(seeds) < 1:
        raise UserError('t-SNE seeds: none; give 1 or more')


def tsne(coordinates: np.ndarray, perplexity: float = 30, seed: int = 0) -> np.ndarray:
    """Map samples into the plane with t-SNE (van der Maaten and Hinton 2008).

    The start is the first two components, as in scikit-learn with ``init='pca'``, plus noise of a tenth of their size,
    which depends on the seed. Runs in one thread, because the result depends on the number of threads.

    Args:
        coordinates: (n, k), PCA coordinates by descending variance.
        perplexity: 0 < perplexity < n.
        seed: Seed of the start.

    Returns:
        (n, 2) float64; zeros if all samples are equal.
    """
    spread = coordinates[:, 0].std()
    if not spread > 0:
        return np.zeros((len(coordinates), 2))
    start = np.random.default_rng(seed).normal(0, JITTER, (len(coordinates), 2))
    start[:, :coordinates.shape[1]] += coordinates[:, :2] / spread
    # t-SNE works in float32 and uses only ratios of distances, so features of any magnitude are scaled to 1.
    with threadpool_limits(1):
        method = TSNE(perplexity=perplexity, init=(START * start).astype(np.float32), random_state=seed)
        return method.fit_transform((coordinates / spread).astype(np.float32)).astype(np.float64)


def chi(points: np.ndarray, labels: Labels) -> float:
    """Calinski–Harabasz index: variance between clusters over variance within, each per degree of freedom.

    Args:
        points: (n, k).
        labels: (n,) cluster of each point; two clusters or more, and more points than clusters.

    Returns:
        0 to ∞. 0 if all points coincide; ∞ if each cluster is one point (scikit-learn returns 1 in both cases).
    """
    labels = np.asarray(labels)
    if not np.ptp(points, 0).any():
        return 0.0
    if not any(np.ptp(points[labels == one], 0).any() for one in np.unique(labels)):
        return math.inf
    return float(calinski_harabasz_score(points, labels))
