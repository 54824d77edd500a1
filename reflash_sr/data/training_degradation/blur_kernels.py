"""Blur kernels of the second-order degradation (Real-ESRGAN, Sec. 3.1, 3.3): Gaussian, generalized, plateau, sinc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import j1

from reflash_sr.errors import UserError

SMALLEST = 7

# Value of the kernel at q, the squared distance in units of sigma; and the option with the range of beta.
_FALLS = {
    '': (lambda q, beta: np.exp(-0.5 * q), None),
    'generalized_': (lambda q, beta: np.exp(-0.5 * q**beta), 'betag_range'),
    'plateau_': (lambda q, beta: 1 / (1 + q**beta), 'betap_range'),
}
BELLS = {f'{kind}{shape}': fall for kind, fall in _FALLS.items() for shape in ('iso', 'aniso')}


def bell_kernel(name: str, size: int, sigma_x: float, sigma_y: float | None = None, angle: float = 0.0,
                beta: float = 1.0) -> np.ndarray:
    """A bell-shaped kernel, (size, size) float64, that sums to 1 and is symmetric about its centre.

    Args:
        name: A key of ``BELLS``: ``iso``, ``aniso``, ``generalized_iso``, ``generalized_aniso``, ``plateau_iso`` or
            ``plateau_aniso``.
        size: Side in pixels; odd.
        sigma_x: Width along the first axis of the ellipse in pixels, above 0.
        sigma_y: Width along the second axis; default: ``sigma_x``. The iso kernels ignore it.
        angle: Angle between the first axis of the ellipse and the rows of the image, in radians.
        beta: Shape, above 0. The generalized kernel with 1 is the Gaussian; the Gaussians ignore it.
    """
    if sigma_y is None or not name.endswith('aniso'):
        sigma_y = sigma_x
    y, x = _offsets(size)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = BELLS[name][0]((along / sigma_x)**2 + (across / sigma_y)**2, beta)
    return kernel / kernel.sum()


def sinc_kernel(size: int, cutoff: float) -> np.ndarray:
    """The circular low-pass filter, which makes ringing and overshoot artefacts (Real-ESRGAN, Sec. 3.3).

    ``size`` is odd; ``cutoff`` is in radians per pixel, in (0, pi]. Returns (size, size) float64 that sums to 1, with
    negative weights.
    """
    y, x = _offsets(size)
    radius = np.hypot(x, y)
    centre = radius == 0
    radius[centre] = 1
    # j1(r) / r is 1/2 at r = 0
    kernel = np.where(centre, cutoff**2 / (4 * np.pi), cutoff * j1(cutoff * radius) / (2 * np.pi * radius))
    return kernel / kernel.sum()


def sample_kernel(rng: np.random.Generator, settings: Mapping[str, Any], suffix: str = '') -> np.ndarray:
    """Draw the blur kernel of one of the two degradations: (k, k) that sums to 1, k odd in 7 … blur_kernel_size.

    Args:
        rng: Source of all randomness.
        settings: ``blur_kernel_size``, ``kernel_list``, ``kernel_prob``, ``sinc_prob``, ``blur_sigma``, ``betag_range``
            and ``betap_range`` as in ``second_order.DEFAULTS``.
        suffix: End of the keys: ``''`` for the first degradation, ``'2'`` for the second.

    Raises:
        UserError: ``kernel_prob`` does not have one weight for each kernel.
    """
    size = _sample_size(rng, settings['blur_kernel_size' + suffix])
    if rng.random() < settings['sinc_prob' + suffix]:
        return sinc_kernel(size, rng.uniform(np.pi / (3 if size < 13 else 5), np.pi))
    names, weights = settings['kernel_list' + suffix], np.asarray(settings['kernel_prob' + suffix], float)
    if len(names) != len(weights):
        raise UserError(f'kernel_prob{suffix}: {len(weights)} weights for the {len(names)} kernels of '
                        f'kernel_list{suffix}; write one weight for each kernel')
    name = names[rng.choice(len(names), p=weights / weights.sum())]
    low, high = settings['blur_sigma' + suffix]
    sigma_x, sigma_y = rng.uniform(low, high, 2)
    angle, beta = rng.uniform(-np.pi, np.pi), 1.0
    beta_key = BELLS[name][1]
    if beta_key:
        # values below and above 1 are equally likely
        low, high = settings[beta_key + suffix]
        beta = rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)
    return bell_kernel(name, size, sigma_x, sigma_y, angle, beta)


def sample_final_kernel(rng: np.random.Generator, settings: Mapping[str, Any]) -> np.ndarray | None:
    """Draw the final sinc filter of the degradation; None (no filter) with probability 1 - ``final_sinc_prob``."""
    if rng.random() >= settings['final_sinc_prob']:
        return None
    return sinc_kernel(_sample_size(rng, settings['blur_kernel_size2']), rng.uniform(np.pi / 3, np.pi))


def _offsets(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns relative to the centre."""
    if size % 2 == 0:
        raise ValueError(f'a kernel needs an odd size, not {size}')
    steps = np.arange(size) - size // 2.0
    return steps[:, None], steps[None, :]


def _sample_size(rng: np.random.Generator, largest: int) -> int:
    return SMALLEST + 2 * int(rng.integers((largest - SMALLEST) // 2 + 1))
