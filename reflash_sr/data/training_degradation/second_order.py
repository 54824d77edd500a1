"""The second-order degradation of Real-ESRGAN (Wang et al., ICCVW 2021, Sec. 3) for one training pair.

Blur, resize, noise and JPEG, twice; before or after the second JPEG also a resize to the LQ size and a sinc filter.
First all random parameters are drawn as a list of operations. Then only the pixels that the patch depends on are
computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reflash_sr.data.training_degradation.blur_kernels import BELLS, SMALLEST, sample_final_kernel, sample_kernel
from reflash_sr.data.training_degradation.jpeg import Jpeg
from reflash_sr.data.training_degradation.noise import GaussianNoise, PoissonNoise
from reflash_sr.data.training_degradation.resampling import MODES
from reflash_sr.data.training_degradation.sharpening import Sharpen, usm_sharpen
from reflash_sr.data.training_degradation.windowed_ops import Filter, Operation, Resize, Window, to_bytes, to_float
from reflash_sr.options.value_rules import PROBABILITY, RANGE, WEIGHTS, Rule, is_int, list_of, one_of

__all__ = ['DEFAULTS', 'OPTIONS', 'degrade', 'draw_degradation', 'gt_patch', 'usm_sharpen']

_KERNEL_SIZE = Rule(f'an odd whole number, {SMALLEST} or above', lambda v: is_int(v) and v >= SMALLEST and v % 2 == 1)
_KERNEL_LIST = list_of(one_of(*BELLS), ', '.join(BELLS))
_AROUND_ONE = Rule('two numbers [low, high] with 0 < low <= 1 <= high',
                   lambda v: RANGE.holds(v) and 0 < v[0] <= 1 <= v[1])
_WIDTHS = Rule('two numbers [low, high] with 0 < low <= high', lambda v: RANGE.holds(v) and v[0] > 0)
_QUALITIES = Rule('two numbers [low, high] with 1 <= low <= high <= 100',
                  lambda v: RANGE.holds(v) and v[0] >= 1 and v[1] <= 100)
_UP_DOWN_KEEP = Rule('three weights, for up, down and keep', lambda v: WEIGHTS.holds(v) and len(v) == 3)

# Key: rule, published value for the first degradation, and for the second (its key ends in 2).
_TWICE: dict[str, tuple[Rule, Any, Any]] = {
    'blur_kernel_size': (_KERNEL_SIZE, 21, 21),
    'kernel_list': (_KERNEL_LIST, list(BELLS), list(BELLS)),
    'kernel_prob': (WEIGHTS, [0.45, 0.25, 0.12, 0.03, 0.12, 0.03], [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]),
    'sinc_prob': (PROBABILITY, 0.1, 0.1),
    'blur_sigma': (_WIDTHS, [0.2, 3], [0.2, 1.5]),
    'betag_range': (_AROUND_ONE, [0.5, 4], [0.5, 4]),
    'betap_range': (_AROUND_ONE, [1, 2], [1, 2]),
    'resize_prob': (_UP_DOWN_KEEP, [0.2, 0.7, 0.1], [0.3, 0.4, 0.3]),
    'resize_range': (_AROUND_ONE, [0.15, 1.5], [0.3, 1.2]),
    'gaussian_noise_prob': (PROBABILITY, 0.5, 0.5),
    'noise_range': (RANGE, [1, 30], [1, 25]),
    'poisson_scale_range': (RANGE, [0.05, 3], [0.05, 2.5]),
    'gray_noise_prob': (PROBABILITY, 0.4, 0.4),
    'jpeg_range': (_QUALITIES, [30, 95], [30, 95]),
}
_ONCE: dict[str, tuple[Rule, Any]] = {'second_blur_prob': (PROBABILITY, 0.8), 'final_sinc_prob': (PROBABILITY, 0.8)}
_ROWS = {key: row[:2] for key, row in _TWICE.items()} | {f'{key}2': row[::2] for key, row in _TWICE.items()} | _ONCE
OPTIONS: dict[str, Rule] = {key: rule for key, (rule, _) in _ROWS.items()}
DEFAULTS: dict[str, Any] = {key: value for key, (_, value) in _ROWS.items()}


def draw_degradation(rng: np.random.Generator, settings: Mapping[str, Any], size: tuple[int, int],
                     scale: int) -> list[Operation]:
    """Draw all random parameters of the operations that make the LQ from the GT; the noise itself is drawn later.

    Args:
        rng: Source of all randomness.
        settings: A value for each key of ``DEFAULTS``.
        size: (height, width) of the GT; multiples of ``scale``.
        scale: Factor from the LQ size to the GT size, 1 or above.
    """
    lq_size = (size[0] // scale, size[1] // scale)
    # Real-ESRGAN gives PyTorch this factor and no size, so the grid keeps the factor although the size is rounded down
    factor = _draw_factor(rng, settings, '')
    first: list[Operation] = [
        Filter(sample_kernel(rng, settings)), Resize(_scaled(size, factor), _draw_mode(rng), factor),
        _draw_noise(rng, settings, ''), _draw_jpeg(rng, settings, '')]
    if rng.random() < settings['second_blur_prob']:
        first.append(Filter(sample_kernel(rng, settings, '2')))
    # relative to the LQ size, not to the result of the first resize
    second = [Resize(_scaled(lq_size, _draw_factor(rng, settings, '2')), _draw_mode(rng)),
              _draw_noise(rng, settings, '2')]
    last: list[Operation] = [Resize(lq_size, _draw_mode(rng))]
    if (kernel := sample_final_kernel(rng, settings)) is not None:
        last.append(Filter(kernel))
    jpeg_is_last = rng.random() < 0.5
    jpeg = _draw_jpeg(rng, settings, '2')
    return [*first, *second, *([*last, jpeg] if jpeg_is_last else [jpeg, *last])]


def degrade(gt: np.ndarray, recipe: Sequence[Operation], window: Sequence[int], rng: np.random.Generator, *, scale: int,
            gt_usm: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Make one patch of a training pair.

    Args:
        gt: (H, W, 3) uint8 RGB; sides are multiples of ``scale``.
        recipe: From :func:`draw_degradation`, for this size and scale.
        window: The patch, (top, bottom, left, right) in pixels of the GT; multiples of ``scale``.
        rng: Source of the noise.
        scale: As for :func:`draw_degradation`.
        gt_usm: Whether the GT is sharpened first; then the LQ is made from the sharpened GT (as in Real-ESRGAN).

    Returns:
        GT patch (h, w, 3) float32 in [0, 1], and LQ patch (h / scale, w / scale, 3) float32, multiples of 1/255.

    Raises:
        ValueError: ``gt`` or ``window`` is not as above.
    """
    gt_window = Window(*(int(v) for v in window))
    _check(gt, gt_window, scale)
    sizes = [gt.shape[:2]]
    for operation in recipe:
        sizes.append(operation.out_size(sizes[-1]))
    windows = [Window(*(v // scale for v in gt_window))]
    for operation, before in zip(reversed(recipe), reversed(sizes[:-1])):
        windows.insert(0, operation.needed(windows[0], before))

    computed = windows[0].joined(gt_window)
    image = gt_patch(gt, computed, gt_usm)
    pixels = image[windows[0].within(computed)]
    for operation, have, want, before in zip(recipe, windows, windows[1:], sizes):
        pixels = operation.apply(pixels, have, want, before, rng)
    return image[gt_window.within(computed)], to_float(to_bytes(pixels))


def gt_patch(gt: np.ndarray, window: Sequence[int], gt_usm: bool = True) -> np.ndarray:
    """Make only the GT patch of a training pair, the same as in :func:`degrade` up to float rounding."""
    wanted = Window(*(int(v) for v in window))
    if not gt_usm:
        return to_float(gt[wanted.slices])
    sharpen = Sharpen()
    source = sharpen.needed(wanted, gt.shape[:2])
    return sharpen.apply(gt[source.slices], source, wanted, gt.shape[:2], None)


def _check(gt: np.ndarray, window: Window, scale: int) -> None:
    if gt.dtype != np.uint8 or gt.ndim != 3 or gt.shape[2] != 3:
        raise ValueError(f'the GT must be (H, W, 3) uint8, not {gt.shape} {gt.dtype}')
    height, width = gt.shape[:2]
    if not (0 <= window.top < window.bottom <= height and 0 <= window.left < window.right <= width):
        raise ValueError(f'{window} is not inside the GT, {height}×{width}')
    if any(v % scale for v in (height, width, *window)):
        raise ValueError(f'the sides of the GT, {height}×{width}, and {window} must be multiples of the scale, {scale}')


def _draw_factor(rng: np.random.Generator, settings: Mapping[str, Any], suffix: str) -> float:
    low, high = settings['resize_range' + suffix]
    weights = np.asarray(settings['resize_prob' + suffix], float)
    up_down_keep = ((1.0, high), (low, 1.0), (1.0, 1.0))
    return rng.uniform(*up_down_keep[rng.choice(3, p=weights / weights.sum())])


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(1, int(size[0] * factor)), max(1, int(size[1] * factor))


def _draw_mode(rng: np.random.Generator) -> str:
    return list(MODES)[rng.integers(len(MODES))]


def _draw_noise(rng: np.random.Generator, settings: Mapping[str, Any], suffix: str) -> Operation:
    gaussian = rng.random() < settings['gaussian_noise_prob' + suffix]
    noise, key = (GaussianNoise, 'noise_range') if gaussian else (PoissonNoise, 'poisson_scale_range')
    return noise(rng.uniform(*settings[key + suffix]), bool(rng.random() < settings['gray_noise_prob' + suffix]))


def _draw_jpeg(rng: np.random.Generator, settings: Mapping[str, Any], suffix: str) -> Jpeg:
    return Jpeg(rng.uniform(*settings['jpeg_range' + suffix]))
