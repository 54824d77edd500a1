"""Gaussian and Poisson noise of the degradation, drawn from tables.

A distribution is divided into parts of equal probability; a table holds the mean of each part. A sample is then one
random index and one look-up: several times faster than normal, and tens of times faster than Poisson samples of NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.special import gammaln, ndtri

from reflash_sr.data.training_degradation.windowed_ops import Operation, to_bytes

_NORMAL_BITS = 16
_POISSON_BITS = 10


@dataclass(frozen=True)
class GaussianNoise(Operation):
    """Additive Gaussian noise, clipped to [0, 1]."""

    sigma: float  # standard deviation in 8-bit steps
    gray: bool  # whether the three channels get the same noise

    def apply(self, pixels, have, want, size, rng):
        shape = pixels.shape[:2] if self.gray else pixels.shape
        table = _normal_table() * np.float32(self.sigma / 255)
        return _add(pixels, table.take(_random_bits(rng, shape)))


@dataclass(frozen=True)
class PoissonNoise(Operation):
    """Signal-dependent noise, clipped to [0, 1].

    The expected count of a pixel at full scale is the number of 8-bit levels, rounded up to a power of 2. Real-ESRGAN
    counts them in the whole crop, this class in the window that is needed; it cannot be told from the LQ patches
    (``benchmarks/poisson_levels.py``).
    """

    scale: float  # factor of the noise; 1 is true Poisson noise
    gray: bool  # whether the three channels get the same noise, drawn for the luma

    def apply(self, pixels, have, want, size, rng):
        levels = to_bytes(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if self.gray else pixels)
        peak = count_levels(levels)
        index = levels.astype(np.intp)
        index <<= _POISSON_BITS
        index |= _random_bits(rng, levels.shape) >> (16 - _POISSON_BITS)
        noise = _poisson_table(peak).take(index)
        noise *= np.float32(self.scale)
        return _add(pixels, noise)


def count_levels(levels: np.ndarray) -> int:
    """Number of different values of a uint8 array, rounded up to a power of 2."""
    histogram = cv2.calcHist([levels.reshape(len(levels), -1)], [0], None, [256], [0, 256])
    return 2**int(np.ceil(np.log2(np.count_nonzero(histogram))))


def _add(pixels: np.ndarray, noise: np.ndarray) -> np.ndarray:
    if noise.ndim == 2:
        noise = cv2.cvtColor(noise, cv2.COLOR_GRAY2RGB)
    noise += pixels
    return np.clip(noise, 0, 1, out=noise)


def _random_bits(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform uint16 of the given shape."""
    count = int(np.prod(shape))
    return rng.integers(0, 2**64, -(-count // 4), dtype=np.uint64).view(np.uint16)[:count].reshape(shape)


@lru_cache(maxsize=1)
def _normal_table() -> np.ndarray:
    """(2**16,) float32: means of the parts of N(0, 1)."""
    edges = ndtri(np.linspace(0, 1, 2**_NORMAL_BITS + 1))
    density = np.exp(-0.5 * edges**2) / np.sqrt(2 * np.pi)
    return (-np.diff(density) * 2**_NORMAL_BITS).astype(np.float32)  # the integral of x times the density is -density


@lru_cache(maxsize=9)
def _poisson_table(peak: int) -> np.ndarray:
    """(256 · 2**10,) float32: for each 8-bit level v, the means of the parts of the noise of a pixel.

    The noise is Poisson(m) / peak - v / 255 with the mean m = peak · v / 255.
    """
    edges = np.linspace(0, 1, 2**_POISSON_BITS + 1)
    counts = np.arange(peak + 12 * int(np.sqrt(peak)) + 20)
    table = np.empty((256, 2**_POISSON_BITS), np.float32)
    table[0] = 0
    for level in range(1, 256):
        mean = peak * level / 255
        probability = np.exp(counts * np.log(mean) - mean - gammaln(counts + 1))
        probability /= probability.sum()
        # the integral of the quantile function is linear between the steps of the distribution function
        below = np.concatenate([[0], np.cumsum(probability)])
        integral = np.concatenate([[0], np.cumsum(probability * counts)])
        parts = np.diff(np.interp(edges, below, integral)) * 2**_POISSON_BITS
        table[level] = parts / peak - level / 255
    return table.ravel()
