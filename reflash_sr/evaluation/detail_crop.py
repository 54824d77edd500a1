"""Choosing the part of an image to show."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 128  # px of the GT image


def crop_box(gt: np.ndarray, scale: int, side: int = SIDE) -> tuple[slice, slice]:
    """Rows and columns of the square with the most structure, where networks differ most visibly.

    Args:
        gt: (H, W, 3) uint8.
        scale: Corners are multiples of it, so that the square also covers whole pixels of the LQ image.
        side: Side of the square, px; smaller for small images.
    """
    height, width = gt.shape[:2]
    side = min(side, height, width) // scale * scale
    grey = cv2.cvtColor(np.ascontiguousarray(gt), cv2.COLOR_RGB2GRAY).astype(np.float32)
    seen = cv2.GaussianBlur(grey, (0, 0), scale / 2)
    detail = np.hypot(cv2.Sobel(seen, cv2.CV_32F, 1, 0), cv2.Sobel(seen, cv2.CV_32F, 0, 1))
    sums = cv2.boxFilter(detail, -1, (side, side), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
    tops, lefts = (range(0, length - side + 1, scale) for length in (height, width))
    inside = sums[np.ix_(tops, lefts)]
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    top, left = tops[row], lefts[column]
    return slice(top, top + side), slice(left, left + side)
