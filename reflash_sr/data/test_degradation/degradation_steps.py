"""The steps of the test degradations: blur, downscaling, noise, JPEG; all images are (H, W, 3) uint8 RGB."""

from __future__ import annotations

import io
import math
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image

_RESAMPLING = {name: Image.Resampling[name.upper()] for name in ('bicubic', 'bilinear', 'lanczos', 'box', 'nearest')}
DOWNSCALING = (*_RESAMPLING, 'matlab')
_CUBIC_REACH = 2  # px of the small image: half the width of the cubic kernel
_WIDEST_REACH = 3  # px of the small image: half the width of the widest kernel, Lanczos


def blur_radius(sigma: float = 2) -> int:
    """Radius of the blur's kernel, px: 10 as published, more if sigma needs it."""
    return max(10, math.ceil(3 * sigma))


def downscale_reach(scale: int) -> int:
    """Largest distance at which a downscaled pixel depends on the large image, px of it, for every method."""
    return _WIDEST_REACH * scale


def gaussian_blur(image: np.ndarray, sigma: float = 2) -> np.ndarray:
    """Blur with a Gaussian of standard deviation ``sigma``, px; the kernel is 21×21 up to a sigma of 3.3."""
    size = 2 * blur_radius(sigma) + 1
    return cv2.GaussianBlur(image, (size, size), sigma)


def downscale(image: np.ndarray, scale: int, method: str = 'bicubic') -> np.ndarray:
    """Downscale to (⌊H / scale⌋, ⌊W / scale⌋), with antialiasing except for ``'nearest'``.

    ``method`` is one of :data:`DOWNSCALING`: Pillow's filters, or ``'matlab'``, MATLAB's bicubic ``imresize``, which
    differs from Pillow's bicubic only at the borders and in rounding.
    """
    if method == 'matlab':
        return _matlab_bicubic(image, scale)
    size = (image.shape[1] // scale, image.shape[0] // scale)
    return np.asarray(Image.fromarray(image).resize(size, _RESAMPLING[method]))


def gaussian_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add N(0, sigma²), sigma in 8-bit levels; clip and truncate to 8 bits, as in the paper."""
    noisy = image + rng.normal(0, sigma, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int = 50) -> np.ndarray:
    """Compress as JPEG with Pillow (4:2:0, quality 1 to 100) and decompress."""
    with io.BytesIO() as file:
        Image.fromarray(image).save(file, format='JPEG', quality=quality)
        return np.asarray(Image.open(file).convert('RGB'))


def _matlab_bicubic(image: np.ndarray, scale: int) -> np.ndarray:
    """MATLAB's ``imresize(image, 1 / scale)``: rows, then columns, in float64; rounded half up only at the end."""
    height, width = image.shape[:2]
    rows, columns = _matlab_matrix(height, height // scale, scale), _matlab_matrix(width, width // scale, scale)
    small = np.einsum('ah,hwc->awc', rows, image.astype(np.float64), optimize=True)
    small = np.einsum('bw,awc->abc', columns, small, optimize=True)
    return np.floor(small.clip(0, 255) + 0.5).astype(np.uint8)


@lru_cache(maxsize=8)
def _matlab_matrix(n_in: int, n_out: int, scale: int) -> np.ndarray:
    """(n_out, n_in) float64: a cubic kernel (a = −0.5) stretched by the scale; the image is mirrored at its borders."""
    centre = (np.arange(n_out) + 0.5) * scale - 0.5
    left = np.floor(centre - _CUBIC_REACH * scale).astype(int)
    taps = left[:, None] + np.arange(2 * _CUBIC_REACH * scale + 2)
    distance = np.abs(centre[:, None] - taps) / scale
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance <= 2, far, 0))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.abs(taps + 0.5) - 0.5  # −1 becomes 0, −2 becomes 1, …
    period = mirrored % (2 * n_in)
    mirrored = np.where(period < n_in, period, 2 * n_in - 1 - period).astype(int)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], mirrored), weights)
    return matrix
