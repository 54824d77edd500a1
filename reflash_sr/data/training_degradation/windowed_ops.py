"""Operations of a degradation; each computes a window of its result from only the pixels that the window depends on.

Pixels are (H, W, 3) float32 RGB, about in [0, 1]. ``size`` is always (height, width) of the whole image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from reflash_sr.data.training_degradation import resampling

Size = tuple[int, int]


class Window(NamedTuple):
    """A box of pixels: rows [top, bottom), columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The index that cuts the window out of the whole image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, outer: Window) -> tuple[slice, slice]:
        """The index that cuts this window out of the pixels of ``outer``."""
        return (slice(self.top - outer.top, self.bottom - outer.top),
                slice(self.left - outer.left, self.right - outer.left))

    def grown(self, margin: int, size: Size) -> Window:
        """The window with ``margin`` more pixels on each side, cut at the image's borders."""
        return Window(max(self.top - margin, 0), min(self.bottom + margin, size[0]),
                      max(self.left - margin, 0), min(self.right + margin, size[1]))

    def joined(self, other: Window) -> Window:
        """The smallest window that holds both."""
        return Window(min(self.top, other.top), max(self.bottom, other.bottom),
                      min(self.left, other.left), max(self.right, other.right))


class Operation(ABC):
    """One step of a degradation. The default methods suit a step that treats each pixel alone."""

    def out_size(self, size: Size) -> Size:
        """The size of the result for an image of ``size``."""
        return size

    def needed(self, window: Window, size: Size) -> Window:
        """The window of the input (of ``size``) that ``window`` of the result depends on."""
        return window

    @abstractmethod
    def apply(self, pixels: np.ndarray, have: Window, want: Window, size: Size, rng: np.random.Generator) -> np.ndarray:
        """Compute the window ``want`` of the result; the input is not changed.

        Args:
            pixels: The window ``have`` of the input.
            have: ``needed(want, size)``, or a larger window.
            want: The window of the result.
            size: Size of the whole input.
            rng: Source of the noise.
        """


class Filter(Operation):
    """Convolution with a small kernel; the image is mirrored at its borders (without repeating the border pixel).

    Args:
        kernel: (k, k) with weights that sum to 1, k odd. Outer rings that change results by less than ``TOLERANCE`` are
            removed.
    """

    TOLERANCE = 1e-5  # of full scale: 1/400 of an 8-bit step

    def __init__(self, kernel: np.ndarray):
        kernel = np.asarray(kernel, float)
        weights, rim = np.abs(kernel), 0
        while weights.sum() - weights[rim + 1:-rim - 1, rim + 1:-rim - 1].sum() < self.TOLERANCE:
            rim += 1
        kernel = kernel[rim:len(kernel) - rim, rim:len(kernel) - rim]
        self.margin = len(kernel) // 2
        self.kernel = kernel.astype(np.float32)
        column, row = kernel.sum(axis=1), kernel.sum(axis=0) / kernel.sum()
        self.separable = np.abs(kernel - np.outer(column, row)).sum() < self.TOLERANCE
        self.column, self.row = column.astype(np.float32), row.astype(np.float32)

    def __repr__(self) -> str:
        return f'Filter({len(self.kernel)}×{len(self.kernel)}{", separable" if self.separable else ""})'

    def needed(self, window: Window, size: Size) -> Window:
        return window.grown(self.margin, size)

    def apply(self, pixels, have, want, size, rng):
        if self.separable:
            result = cv2.sepFilter2D(pixels, -1, self.row, self.column, borderType=cv2.BORDER_REFLECT_101)
        else:
            result = cv2.filter2D(pixels, -1, self.kernel, borderType=cv2.BORDER_REFLECT_101)
        return result[want.within(have)]


@dataclass(frozen=True)
class Resize(Operation):
    """Resizing without antialiasing."""

    size: Size  # of the whole result
    mode: str  # a key of resampling.MODES
    factor: float | None = None  # see resampling.resize_matrix

    def out_size(self, size: Size) -> Size:
        return self.size

    def needed(self, window: Window, size: Size) -> Window:
        rows, columns = (resampling.source_window(n_in, n_out, self.mode, span, self.factor)
                         for n_in, n_out, span in zip(size, self.size, (window[:2], window[2:])))
        return Window(*rows, *columns)

    def apply(self, pixels, have, want, size, rng):
        if size == self.size and self.factor in (None, 1):
            return pixels[want.within(have)]
        rows, columns = (resampling.resize_matrix(*axis, self.factor) for axis in zip(
            size, self.size, (self.mode, self.mode), (want[:2], want[2:]), (have[:2], have[2:])))
        return resampling.resize(pixels, rows, columns)


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Round float pixels to 8 bits, clipped to [0, 1]."""
    return cv2.convertScaleAbs(np.clip(pixels, 0, 1), alpha=255)


def to_float(pixels: np.ndarray) -> np.ndarray:
    """8-bit pixels as float32 in [0, 1]."""
    return np.divide(pixels, np.float32(255), dtype=np.float32)
