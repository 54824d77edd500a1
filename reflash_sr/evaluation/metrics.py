"""Image quality metrics on 8-bit images, with the same values as BasicSR's."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Collection
from functools import lru_cache
from types import ModuleType

import cv2
import numpy as np
import torch
from PIL import Image

from reflash_sr.data.images.channels import BLACK, OF_RGB
from reflash_sr.errors import UserError

_C1, _C2 = (0.01 * 255)**2, (0.03 * 255)**2
_WINDOW = cv2.getGaussianKernel(11, 1.5)
_INSIDE = slice(5, -5)  # where the window lies within the image


def measure(metric: str, sr: np.ndarray, gt: np.ndarray, crop_border: int = 0, y_channel: bool = False) -> float:
    """Measure one image against its ground truth.

    Args:
        metric: A key of :data:`METRICS`: ``psnr`` (dB; infinite for equal images), ``ssim``, ``lpips``, ``gradient``.
        sr: RGB or Y, (H, W, 3 or 1) uint8.
        gt: The same.
        crop_border: px excluded on every side.
        y_channel: Whether to measure on Y of YCbCr instead of RGB; Y stays as it is.

    Raises:
        UserError: The images differ in size, or are too small.
    """
    if sr.shape != gt.shape:
        raise UserError(f'{sr.shape[1]}×{sr.shape[0]} px is measured against a GT of {gt.shape[1]}×{gt.shape[0]} px')
    smallest = 2 * crop_border + SMALLEST[metric]
    if min(gt.shape[:2]) < smallest:
        raise UserError(f'{gt.shape[1]}×{gt.shape[0]} px is too small for {metric} with crop_border {crop_border}: '
                        f'a side needs {smallest} px')
    inside = slice(crop_border, -crop_border or None)
    sr, gt = (image[inside, inside] for image in (sr, gt))
    if y_channel and gt.shape[2] == 3:
        sr, gt = to_y(sr), to_y(gt)
    return METRICS[metric](sr, gt)


def psnr(sr: np.ndarray, gt: np.ndarray) -> float:
    """Peak signal-to-noise ratio, dB, of arrays in [0, 255]; infinite where they are equal."""
    if sr.dtype == np.uint8:
        squares = cv2.norm(np.ascontiguousarray(sr), np.ascontiguousarray(gt), cv2.NORM_L2SQR)
    else:
        squares = float(np.square(sr.astype(np.float64) - gt).sum())
    return math.inf if squares == 0 else 10 * math.log10(255**2 * sr.size / squares)


def ssim(sr: np.ndarray, gt: np.ndarray) -> float:
    """Structural similarity, mean over channels: 11×11 Gaussian window of sigma 1.5, inside the image only."""
    x, y = (np.ascontiguousarray(image, dtype=np.float64) for image in (sr, gt))
    mean_x, mean_y = _blur(x), _blur(y)
    product = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    covariance = _blur(x * y) - product
    variances = _blur(x * x + y * y) - squares  # the formula needs only their sum: one blur less
    return float((((2 * product + _C1) * (2 * covariance + _C2)) / ((squares + _C1) * (variances + _C2))).mean())


def lpips(sr: np.ndarray, gt: np.ndarray) -> float:
    """Learned perceptual distance (AlexNet), on the CPU; lower is better."""
    module = _lpips_module()
    images = [torch.from_numpy(np.ascontiguousarray(np.atleast_3d(one))).permute(2, 0, 1)[None].float() / 127.5 - 1
                for one in (sr, gt)]
    with torch.no_grad():
        return float(module(*(one.expand(-1, 3, -1, -1) for one in images)))


def gradient(sr: np.ndarray, gt: np.ndarray) -> float:
    """Energy of the gradient divided by that of the GT: 1 is as sharp as the GT, less is blurrier; mean over channels.

    Infinite where the GT is flat.
    """
    of_sr, of_gt = (_gradient_energy(image) for image in (sr, gt))
    return float((of_sr / of_gt).mean()) if of_gt.all() else math.inf


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    'psnr': psnr, 'ssim': ssim, 'lpips': lpips, 'gradient': gradient}
# px: side that the window, AlexNet or a difference needs inside the border
SMALLEST = {'psnr': 1, 'ssim': 11, 'lpips': 31, 'gradient': 2}
DECIMALS = {'psnr': 2, 'ssim': 4, 'lpips': 4, 'gradient': 3}
UNITS = {'psnr': 'dB'}
LOWER_IS_BETTER = frozenset({'lpips'})
WITHOUT_GAIN = frozenset({'gradient'})  # neither higher nor lower is better


def metric_title(metric: str) -> str:
    """What a metric is called in tables and figures, such as ``'PSNR'``."""
    return 'gradient energy' if metric == 'gradient' else metric.upper()


def check_metrics(names: Collection[str]) -> None:
    """Raise a ``UserError`` for an unknown metric, or one whose package or weights are not available."""
    for name in names:
        if name not in METRICS:
            raise UserError(f"metrics: '{name}' is not known; known: {', '.join(METRICS)}")
    if 'lpips' in names:
        _lpips_module()


def of_control() -> tuple[str, ...]:
    """Metrics for the shrinkage control: PSNR, what it does not see, and LPIPS where it is installed."""
    try:
        check_metrics(['lpips'])
    except UserError:
        return 'psnr', 'ssim', 'gradient'
    return 'psnr', 'ssim', 'gradient', 'lpips'


def to_y(image: np.ndarray) -> np.ndarray:
    """Y of YCbCr, in [16, 235]: (H, W, 3) uint8 RGB to (H, W) float32, rounded as BasicSR rounds it."""
    y = (np.dot(image.astype(np.float32) / 255, OF_RGB) + BLACK) / 255
    return y.astype(np.float32) * np.float32(255)


def bicubic_upscale(lq: np.ndarray, scale: int) -> np.ndarray:
    """Upscale (H, W, 3 or 1) uint8 with Pillow's bicubic filter, as test sets are downscaled."""
    size = (lq.shape[1] * scale, lq.shape[0] * scale)
    image = Image.fromarray(lq[..., 0] if lq.shape[2] == 1 else lq)
    return np.atleast_3d(np.asarray(image.resize(size, Image.Resampling.BICUBIC)))


def _gradient_energy(image: np.ndarray) -> np.ndarray:
    """Sum of the squared differences between neighbours, down and right, of each channel."""
    image = np.atleast_3d(image).astype(np.float64)
    return sum((np.diff(image, axis=axis)**2).sum(axis=(0, 1)) for axis in (0, 1))


def _blur(values: np.ndarray) -> np.ndarray:
    return cv2.sepFilter2D(values, cv2.CV_64F, _WINDOW, _WINDOW)[_INSIDE, _INSIDE]


@lru_cache(maxsize=1)
def _lpips_module() -> torch.nn.Module:
    try:
        package: ModuleType = importlib.import_module('lpips')
    except ImportError as error:
        raise UserError('metrics: lpips: its package is not installed; pip install "reflash-sr[lpips]"') from error
    try:
        return package.LPIPS(net='alex', verbose=False).eval().requires_grad_(False)
    except Exception as error:  # a download can raise many types
        raise UserError(f"metrics: lpips: AlexNet's weights are not available ({error}); connect to the internet once, "
                        'or leave lpips out') from error
