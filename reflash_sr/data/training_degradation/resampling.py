"""Resizing with two sparse matrices, so that any window of the result can be computed from few pixels.

The results are those of ``torch.nn.functional.interpolate`` with ``align_corners=False`` and without antialiasing, as
in Real-ESRGAN's degradation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from scipy.sparse import csr_array

Taps = tuple[np.ndarray, np.ndarray, np.ndarray]
_A = -0.75  # the parameter a of the cubic kernel in PyTorch and OpenCV; in Pillow -0.5


def resize_matrix(n_in: int, n_out: int, mode: str, window_out: tuple[int, int] | None = None,
                  window_in: tuple[int, int] | None = None, factor: float | None = None) -> csr_array:
    """The matrix that resizes one axis, (outputs, inputs) float32; rows sum to 1.

    Args:
        n_in: Pixels of the whole input, at least 1.
        n_out: Pixels of the whole output, at least 1.
        mode: A key of ``MODES``: ``area``, ``bilinear`` or ``bicubic``.
        window_out: The outputs to compute, [start, stop); None for all.
        window_in: The inputs that are available, [start, stop); None for all. See :func:`source_window`.
        factor: Scale of the pixel grid if it is not ``n_out / n_in``: PyTorch keeps a given ``scale_factor`` although
            the size is rounded down. ``area`` ignores it.

    Raises:
        ValueError: ``window_in`` lacks inputs that ``window_out`` depends on.
    """
    starts, columns, weights = _taps(n_in, n_out, mode, factor)
    first, stop = window_out or (0, n_out)
    low, high = window_in or (0, n_in)
    starts = starts[first:stop + 1]
    columns, weights = columns[starts[0]:starts[-1]], weights[starts[0]:starts[-1]]
    if columns[0] < low or columns[-1] >= high:
        raise ValueError(f'outputs [{first}, {stop}) depend on inputs [{columns[0]}, {columns[-1] + 1}), '
                         f'but [{low}, {high}) is given')
    return csr_array((weights, columns - low, starts - starts[0]), shape=(stop - first, high - low))


def source_window(n_in: int, n_out: int, mode: str, window_out: tuple[int, int],
                  factor: float | None = None) -> tuple[int, int]:
    """The inputs [start, stop) that the outputs ``window_out`` depend on; arguments as for :func:`resize_matrix`."""
    starts, columns, _ = _taps(n_in, n_out, mode, factor)  # sorted within a row and from row to row
    return int(columns[starts[window_out[0]]]), int(columns[starts[window_out[1]] - 1]) + 1


def resize(image: np.ndarray, rows: csr_array, columns: csr_array) -> np.ndarray:
    """Resize (H, W, C) float32 to (h, w, C) with ``rows`` (h, H) and ``columns`` (w, W) of :func:`resize_matrix`."""
    for matrix in (rows, columns):
        resized = matrix @ image.reshape(image.shape[0], -1)
        # swap the axes after each product: both products are along the first axis, and the second swap restores them
        image = cv2.transpose(resized.reshape(-1, *image.shape[1:]))
    return image


@lru_cache(maxsize=32)
def _taps(n_in: int, n_out: int, mode: str, factor: float | None) -> Taps:
    """Row starts (n_out + 1), input pixels and weights of the whole matrix; cached because both axes often share it."""
    counts, columns, weights = MODES[mode](n_in, n_out, n_in / n_out if factor is None else 1 / factor)
    starts = np.zeros(n_out + 1, np.int32)
    np.cumsum(counts, out=starts[1:])
    return starts, columns.astype(np.int32).ravel(), weights.astype(np.float32).ravel()


def _area(n_in: int, n_out: int, ratio: float) -> Taps:
    """The mean of all input pixels that an output pixel touches: adaptive average pooling, which ignores ``ratio``."""
    bounds = np.arange(n_out + 1) * n_in
    first, stop = bounds[:-1] // n_out, -(-bounds[1:] // n_out)
    counts = stop - first
    ends = np.cumsum(counts)
    return counts, np.arange(ends[-1]) + np.repeat(stop - ends, counts), np.repeat(1 / counts, counts)


def _bilinear(n_in: int, n_out: int, ratio: float) -> Taps:
    centre = np.maximum((np.arange(n_out) + 0.5) * ratio - 0.5, 0)
    return _interpolate(n_in, centre, (0, 1), lambda t: (1 - t, t))


def _bicubic(n_in: int, n_out: int, ratio: float) -> Taps:
    def near(d: np.ndarray) -> np.ndarray:
        return ((_A + 2) * d - (_A + 3)) * d * d + 1

    def far(d: np.ndarray) -> np.ndarray:
        return ((_A * d - 5 * _A) * d + 8 * _A) * d - 4 * _A

    centre = (np.arange(n_out) + 0.5) * ratio - 0.5
    return _interpolate(n_in, centre, (-1, 0, 1, 2), lambda t: (far(1 + t), near(t), near(1 - t), far(2 - t)))


def _interpolate(n_in: int, centre: np.ndarray, offsets: tuple[int, ...],
                 weigh: Callable[[np.ndarray], tuple[np.ndarray, ...]]) -> Taps:
    base = np.floor(centre)
    columns = np.clip(base[:, None] + np.array(offsets), 0, n_in - 1)
    return np.full(len(centre), len(offsets)), columns, np.stack(weigh(centre - base), axis=1)


MODES = {'area': _area, 'bilinear': _bilinear, 'bicubic': _bicubic}
