"""Shrinkage: a restored image drawn towards an interpolated one, ``base + α (sr − base)``, and its PSNR for every α.

The squared error of a shrunk image is a parabola of α, so three numbers of an image tell its PSNR for every α, but for
the rounding to 8 bits and the clipping.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reflash_sr.evaluation.metrics import to_y

LARGEST = 2.0  # α; 0: the interpolated image, 1: the restored image, above 1: drawn away from the interpolated image
ALPHAS = np.arange(201) / 100  # the α that are tried
_ROUNDING = 1 / 12  # mean squared error of rounding to 8 bits: the smallest error that PSNR is taken of


def shrink(sr: np.ndarray, base: np.ndarray, alpha: float) -> np.ndarray:
    """Draw a restored image towards an interpolated one.

    Args:
        sr: (H, W, 3) uint8.
        base: (H, W, 3) float, grey levels in about [0, 255].
        alpha: 1: ``sr``, bit for bit; 0: ``base``.

    Returns:
        (H, W, 3) uint8, clipped and rounded.
    """
    base = base.astype(np.float32)
    return (base + np.float32(alpha) * (sr - base)).round().clip(0, 255).astype(np.uint8)


def moments(sr: np.ndarray, base: np.ndarray, gt: np.ndarray, crop_border: int = 0,
            y_channel: bool = False) -> tuple[float, float, float]:
    """The mean squared error of a shrunk image as a function of α: ``a + b α + c α²``, in squared grey levels.

    Args:
        sr: (H, W, 3) uint8.
        base: (H, W, 3) float, grey levels.
        gt: (H, W, 3) uint8.
        crop_border: px excluded on every side.
        y_channel: Whether to measure on Y of YCbCr instead of RGB.

    Returns:
        a, b, c.
    """
    inside = slice(crop_border, -crop_border or None)
    images = (image[inside, inside].astype(np.float32) for image in (sr, base, gt))
    sr, base, gt = (to_y(image) if y_channel else image for image in images)
    error, added = (base - gt).astype(np.float64), (sr - base).astype(np.float64)
    return float((error * error).mean()), float(2 * (error * added).mean()), float((added * added).mean())


def psnr(parabolas: np.ndarray, alphas: Sequence[float] | np.ndarray = ALPHAS) -> np.ndarray:
    """PSNR of shrunk images, dB.

    Args:
        parabolas: (images, 3): :func:`moments` of each image.
        alphas: (A,).

    Returns:
        (images, A); at most 58.9 dB, the PSNR of rounding.
    """
    powers = np.power(np.asarray(alphas, np.float64), [[0], [1], [2]])
    return 10 * np.log10(255**2 / np.maximum(np.asarray(parabolas, np.float64) @ powers, _ROUNDING))


def best_alpha(parabolas: np.ndarray) -> float:
    """The α of :data:`ALPHAS` with the largest mean PSNR over images; ``parabolas`` as for :func:`psnr`."""
    return float(ALPHAS[psnr(parabolas).mean(axis=0).argmax()])
