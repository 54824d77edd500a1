"""Unsharp masking of the GT, as in Real-ESRGAN's training: sharpens edges, does not change flat regions."""

from __future__ import annotations

import cv2
import numpy as np

from reflash_sr.data.training_degradation.windowed_ops import Operation, Size, Window

RADIUS = 25  # radius of the Gaussian, px: 51 taps
WEIGHT = 0.5  # factor of the added detail
THRESHOLD = 10  # a pixel with more detail, in 8-bit steps, counts as an edge

_TAPS = cv2.getGaussianKernel(2 * RADIUS + 1, 0).astype(np.float32)


def usm_sharpen(img: np.ndarray) -> np.ndarray:
    """Sharpen (H, W, 3) uint8 by unsharp masking with a soft mask; returns float32 in [0, 1], not rounded."""
    whole = Window(0, img.shape[0], 0, img.shape[1])
    return Sharpen().apply(img, whole, whole, img.shape[:2], None)


class Sharpen(Operation):
    """:func:`usm_sharpen` as an operation: uint8 input, float32 output in [0, 1]."""

    def needed(self, window: Window, size: Size) -> Window:
        return window.grown(2 * RADIUS, size)

    def apply(self, pixels, have, want, size, rng):
        # 8-bit steps throughout: OpenCV filters 8-bit pixels faster than float ones
        around = want.grown(RADIUS, size)
        detail = _blur(pixels)[around.within(have)]
        detail = cv2.subtract(pixels[around.within(have)], detail, dtype=cv2.CV_32F)
        mask = (np.abs(detail) > THRESHOLD).view(np.uint8)
        soft_mask = _blur(mask)[want.within(around)]

        image = pixels[want.within(have)].astype(np.float32)
        sharp = detail[want.within(around)]
        sharp *= WEIGHT
        sharp += image
        np.clip(sharp, 0, 255, out=sharp)
        sharp -= image
        sharp *= soft_mask
        image += sharp
        image *= np.float32(1 / 255)
        return image


def _blur(pixels: np.ndarray) -> np.ndarray:
    return cv2.sepFilter2D(pixels, cv2.CV_32F, _TAPS, _TAPS, borderType=cv2.BORDER_REFLECT_101)
