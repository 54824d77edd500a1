"""Exact principal components of few samples with very many features, without all features in memory.

Features come as blocks of columns. Each block holds all samples, so it can be centred on its own; its product is added
to the Gram matrix (n, n) of the samples, in float64. The eigenvectors of this matrix, times the square roots of its
eigenvalues, are the coordinates that a singular value decomposition of the whole centred matrix gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from reflash_sr.errors import UserError

BLOCK_VALUES = 2**21  # values of one block, all samples together: 16 MB in float64
# An eigenvalue below this share of the largest is rounding error of float32 features.
NEGLIGIBLE = 1e-14


@dataclass(frozen=True)
class Components:
    """Result of a PCA.

    Attributes:
        coordinates: (n, k) float64, in units of the features; columns by descending variance, each with zero mean. The
            value of largest magnitude in each column is positive.
        share: (k,) share of the variance of each component, 0 to 1; zeros if the features are constant.
    """

    coordinates: np.ndarray
    share: np.ndarray


def pca(blocks: Iterable[np.ndarray], components: int = 50) -> Components:
    """Find the principal components of samples.

    Args:
        blocks: The (n, d) matrix of features as blocks of columns, each (n, any): from :func:`column_blocks` or
            :meth:`reflash_sr.analysis.feature_file.FeatureFile.blocks`.
        components: Number of components; at most n − 1 exist.

    Returns:
        min(components, n − 1) components. Directions without variance have coordinates 0.

    Raises:
        UserError: Fewer than two samples, fewer than one component, or a feature that is not finite.
    """
    if components < 1:
        raise UserError(f'components: {components}; give 1 or more')
    return components_of(gram_of(blocks), components)


def components_of(gram: np.ndarray, components: int) -> Components:
    """The principal components of samples whose inner products are known: :func:`gram_of`, :func:`gram_of_some`."""
    values, vectors = np.linalg.eigh(gram)
    kept = min(components, len(gram) - 1)
    values, vectors = values[::-1][:kept], vectors[:, ::-1][:, :kept]
    values = np.where(values > NEGLIGIBLE * values.max(initial=0.0), values, 0.0)
    coordinates = vectors * np.sqrt(values)
    peaks = coordinates[np.abs(coordinates).argmax(0), np.arange(kept)]
    total = float(np.trace(gram))
    return Components(coordinates * np.where(peaks < 0, -1.0, 1.0), values / total if total > 0 else values)


def gram_of_some(gram: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Inner products of some of the samples, centred on their own mean.

    Args:
        gram: From :func:`gram_of`.
        chosen: Indices of samples.

    Returns:
        (m, m); zeros if the chosen samples are equal up to rounding.
    """
    some = gram[np.ix_(chosen, chosen)]
    some = some - some.mean(0) - some.mean(1, keepdims=True) + some.mean()
    return some if np.trace(some) > NEGLIGIBLE * np.trace(gram) else np.zeros_like(some)


def column_blocks(features: np.ndarray) -> Iterator[np.ndarray]:
    """Split an (n, d) matrix into blocks of columns."""
    width = block_width(len(features))
    for begin in range(0, features.shape[1], width):
        yield features[:, begin:begin + width]


def block_width(samples: int) -> int:
    """Columns of one block."""
    return max(1, BLOCK_VALUES // max(samples, 1))


def gram_of(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Inner products of the centred samples, (n, n) float64; raises as :func:`pca`."""
    gram = None
    for block in blocks:
        block = block.astype(np.float64)
        # The mean of a constant column has a rounding error, which would look like variance: subtract a sample first.
        block -= block[0].copy()
        block -= block.mean(0)
        gram = block @ block.T if gram is None else np.add(gram, block @ block.T, out=gram)
    if gram is None or len(gram) < 2:
        raise UserError('PCA: needs at least two samples with features; give more images or degradations')
    if not np.isfinite(gram).all():
        raise UserError('PCA: a feature is not finite; check the weights for NaN, and compute in float32')
    return gram
