"""Colour images of 16 bits, which Pillow would cut to 8 bits, and the EXIF orientation of arrays."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from PIL import ImageFile

ORIENTATION = 0x0112  # EXIF tag
IMAGE_WIDTH, _BITS_PER_SAMPLE = 256, 258  # TIFF tags
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1), 7: lambda x: np.rot90(x, 2).swapaxes(0, 1), 8: np.rot90}  # yapf: disable


def has_deep_colour(image: ImageFile.ImageFile) -> bool:
    """Whether an opened image, not yet decoded, has 16 bits per channel in several channels, in PNG, TIFF or PPM."""
    if image.mode not in ('RGB', 'RGBA', 'LA') or not image.tile:
        return False
    if image.format == 'TIFF':
        return max(image.tag_v2.get(_BITS_PER_SAMPLE, (8,))) == 16  # type: ignore[attr-defined]  # TiffImageFile
    args = image.tile[0][3]
    raw_mode, *rest = args if isinstance(args, tuple) else (args,)
    return '16' in str(raw_mode) if image.format == 'PNG' else image.format == 'PPM' and rest[:1] == [65535]


def read_deep_colour(data: bytes) -> np.ndarray | None:
    """Decode a 16-bit image from the bytes of its file: (H, W, 3 or 4) uint16, RGB or RGBA.

    The EXIF orientation is applied in TIFF files only. Returns None if OpenCV finds no 16-bit colours.
    """
    levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None or levels.dtype != np.uint16 or levels.ndim != 3:
        return None
    return levels[..., [2, 1, 0, 3][:levels.shape[2]]]


def to_eight_bits(levels: np.ndarray) -> np.ndarray:
    """Round levels of 16 bits to 8 bits."""
    return np.rint(levels.astype(np.float32) / 257).astype(np.uint8)
