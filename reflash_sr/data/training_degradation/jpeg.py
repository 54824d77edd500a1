"""JPEG compression as in Real-ESRGAN's training: quantisation and chroma subsampling in floating point.

The results are those of BasicSR's ``DiffJPEG``, with which the paper's networks were trained. A real codec differs: it
rounds intermediate values to 8 bits, and decoders smooth the chroma.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from reflash_sr.data.training_degradation.windowed_ops import Operation, Size, Window

_UNIT = 16  # px: side of a coding unit with 2×2 luma blocks of 8×8, and one block of each chroma plane

# Annex K of the JPEG standard. BasicSR's luma table is transposed, so this one is, too.
_LUMA = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
], np.float32).T
_CHROMA = np.full((8, 8), 99, np.float32)
_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

# JFIF's colour transform: [0, 1] to levels around 0, and back. The last column is added.
_TO_LUMA = np.array([[0.299, 0.587, 0.114, 0]], np.float32) * 255
_TO_LUMA[0, 3] = -128
_TO_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32) * 255
_FROM_CHROMA = np.array([[0, 1.402, 128], [-0.344136, -0.714136, 128], [1.772, 0, 128]], np.float32) / 255

# The orthonormal DCT of 8 values.
_DCT = (np.cos((2 * np.arange(8) + 1) * np.arange(8)[:, None] * np.pi / 16) / 2).astype(np.float32)
_DCT[0] /= np.sqrt(2)


@dataclass(frozen=True)
class Jpeg(Operation):
    """JPEG compression with 4:2:0 chroma, clipped to [0, 1]; the image is padded with black to whole units."""

    quality: float  # JPEG quality in (0, 100]

    def needed(self, window: Window, size: Size) -> Window:
        return Window(window.top // _UNIT * _UNIT, min(_whole_units(window.bottom), size[0]),
                      window.left // _UNIT * _UNIT, min(_whole_units(window.right), size[1]))

    def apply(self, pixels, have, want, size, rng):
        # the lower limit, because at quality 100 the quantisation steps would be 0
        factor = 50 / self.quality if self.quality < 50 else max(2 - self.quality / 50, 1e-3)
        height, width = pixels.shape[:2]
        full = _whole_units(height), _whole_units(width)
        pixels = cv2.copyMakeBorder(np.clip(pixels, 0, 1), 0, full[0] - height, 0, full[1] - width, cv2.BORDER_CONSTANT)

        luma = _code(cv2.transform(pixels, _TO_LUMA), _LUMA * factor)
        half = cv2.resize(pixels, (full[1] // 2, full[0] // 2), interpolation=cv2.INTER_AREA)
        chroma = [_code(plane, _CHROMA * factor) for plane in cv2.split(cv2.transform(half, _TO_CHROMA))]

        # chroma is transformed to RGB before it is enlarged: a quarter of the pixels
        colour = cv2.transform(cv2.merge(chroma), _FROM_CHROMA)
        result = cv2.resize(colour, full[::-1], interpolation=cv2.INTER_NEAREST)
        luma *= np.float32(1 / 255)
        result = cv2.add(result, cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB), dst=result)
        return np.clip(result[want.within(have)], 0, 1)


def _code(plane: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Quantise the DCT of a plane, (h, w) float32 with sides that are multiples of 8, by an (8, 8) table."""
    steps = np.tile(table.astype(np.float32), (plane.shape[0] // 8, plane.shape[1] // 8))
    levels = _transform_blocks(plane, _DCT)
    levels /= steps
    np.rint(levels, out=levels)
    levels *= steps
    return _transform_blocks(levels, _DCT.T)


def _transform_blocks(plane: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Multiply each 8×8 block by a matrix on the left and by its transpose on the right.

    A stack of small products, because BLAS starts threads for large ones, and DataLoader workers use all cores already.
    """
    height, width = plane.shape
    plane = matrix @ plane.reshape(-1, 8, width)
    return (plane.reshape(-1, width, 8) @ matrix.T).reshape(height, width)


def _whole_units(length: int) -> int:
    return -(-length // _UNIT) * _UNIT
