"""Blur kernels of the second-order degradation (Real-ESRGAN, Sec. 3.1, 3.3): Gaussian, generalized, plateau, sinc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import j1

from reflash_sr.errors import UserError

SMALLEST = 7



def _gaussian(q: np.ndarray, beta: float) -> np.ndarray:
    return np.exp(-0.5 * q)


def _generalized(q: np.ndarray, beta: float) -> np.ndarray:
    return np.exp(-0.5 * q**beta)


def _plateau(q: np.ndarray, beta: float) -> np.ndarray:
    return 1 / (1 + q**beta)


# name: how the bell falls with q, the squared distance in units of sigma; the option that beta is drawn from
BELLS = {
    'iso': (_gaussian, None),
    'aniso': (_gaussian, None),
    'generalized_iso': (_generalized, 'betag_range'),
    'generalized_aniso': (_generalized, 'betag_range'),
    'plateau_iso': (_plateau, 'betap_range'),
    'plateau_aniso': (_plateau, 'betap_range'),
}


def bell_kernel(name: str, size: int, sigma_x: float, sigma_y: float | None = None, angle: float = 0.0,
                beta: float = 1.0) -> np.ndarray:
    """A bell-shaped kernel that sums to 1.

    Args:
        name: A key of ``BELLS``: ``iso``, ``aniso``, ``generalized_iso``, ``generalized_aniso``, ``plateau_iso`` or
            ``plateau_aniso``.
        size: Side in pixels; odd.
        sigma_x: Width along the first axis of the ellipse in pixels, above 0.
        sigma_y: Width along its second axis; None takes ``sigma_x``. The iso kernels ignore it.
        angle: Of the ellipse's first axis against the image's rows, in radians.
        beta: Shape, above 0. 1 makes a generalized bell the Gaussian; the Gaussians ignore it.

    Returns:
        (size, size) float64, symmetric about its centre.
    """
    fall, _ = BELLS[name]
    if sigma_y is None or not name.endswith('aniso'):
        sigma_y = sigma_x
    y, x = _offsets(size)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = fall((along / sigma_x)**2 + (across / sigma_y)**2, beta)
    return kernel / kernel.sum()


def sinc_kernel(size: int, cutoff: float) -> np.ndarray:
    """The circular low-pass filter: rings and overshoots as strong sharpening does (Real-ESRGAN, Sec. 3.3).

    Args:
        size: Side in pixels; odd.
        cutoff: Cutoff frequency in radians per pixel, in (0, pi].

    Returns:
        (size, size) float64, sums to 1; has negative weights.
    """
    y, x = _offsets(size)
    radius = np.hypot(x, y)
    centre = radius == 0
    radius[centre] = 1
    # j1(r) / r is 1/2 at r = 0
    kernel = np.where(centre, cutoff**2 / (4 * np.pi), cutoff * j1(cutoff * radius) / (2 * np.pi * radius))
    return kernel / kernel.sum()


def sample_kernel(rng: np.random.Generator, settings: Mapping[str, Any], suffix: str = '') -> np.ndarray:
    """Draw the blur kernel of one of the two degradations.

    Args:
        rng: Source of all randomness.
        settings: ``blur_kernel_size``, ``kernel_list``, ``kernel_prob``, ``sinc_prob``, ``blur_sigma``, ``betag_range``
            and ``betap_range`` as in ``real_degradation.DEFAULTS``.
        suffix: What the names end in: ``''`` for the first degradation, ``'2'`` for the second.

    Returns:
        (k, k) float64 that sums to 1, k odd in 7 … blur_kernel_size.

    Raises:
        UserError: There is not one weight for each kernel.
    """
    def setting(key: str) -> Any:
        return settings[key + suffix]

    size = _sample_size(rng, setting('blur_kernel_size'))
    if rng.random() < setting('sinc_prob'):
        return sinc_kernel(size, rng.uniform(np.pi / (3 if size < 13 else 5), np.pi))
    names, weights = setting('kernel_list'), np.asarray(setting('kernel_prob'), float)
    if len(names) != len(weights):
        raise UserError(f'kernel_prob{suffix}: {len(weights)} weights for the {len(names)} kernels of '
                        f'kernel_list{suffix}; write one weight for each kernel')
    name = names[rng.choice(len(names), p=weights / weights.sum())]
    beta_key = BELLS[name][1]
    sigma_x, sigma_y = rng.uniform(*setting('blur_sigma'), size=2)
    angle = rng.uniform(-np.pi, np.pi)
    beta = _sample_beta(rng, *setting(beta_key)) if beta_key else 1.0
    return bell_kernel(name, size, sigma_x, sigma_y, angle, beta)


def sample_final_kernel(rng: np.random.Generator, settings: Mapping[str, Any]) -> np.ndarray | None:
    """Draw the sinc filter that ends the degradation; None (no filter) with probability 1 - ``final_sinc_prob``."""
    if rng.random() >= settings['final_sinc_prob']:
        return None
    return sinc_kernel(_sample_size(rng, settings['blur_kernel_size2']), rng.uniform(np.pi / 3, np.pi))


def _offsets(size: int) -> tuple[np.ndarray, np.ndarray]:
    if size % 2 == 0:
        raise ValueError(f'a kernel needs an odd size, not {size}')
    steps = np.arange(size) - size // 2.0
    return steps[:, None], steps[None, :]


def _sample_size(rng: np.random.Generator, largest: int) -> int:
    return SMALLEST + 2 * int(rng.integers((largest - SMALLEST) // 2 + 1))


def _sample_beta(rng: np.random.Generator, low: float, high: float) -> float:
    # Flat bells and pointed ones are equally likely, however unequal the two halves of the range are.
    return rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)
