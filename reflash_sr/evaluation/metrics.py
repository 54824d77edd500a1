"""Measures of image quality on 8-bit pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image


def bicubic_upscale(lq: np.ndarray, scale: int) -> np.ndarray:
    """Upscale with Pillow's bicubic filter, the counterpart of the downscaling of the test sets.

    Args:
        lq: (H, W, 3) uint8.
        scale: Factor.

    Returns:
        (H · scale, W · scale, 3) uint8.
    """
    size = (lq.shape[1] * scale, lq.shape[0] * scale)
    return np.asarray(Image.fromarray(lq).resize(size, Image.Resampling.BICUBIC))
