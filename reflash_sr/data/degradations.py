"""The test degradations (paper Sec. 5.3, Table 1): blur, downscaling, noise, JPEG, in that order.

Pure functions on arrays. What Table 1 calls ``b+n`` is a composition of the steps ``b``, downscaling and ``n``.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from reflash_sr.errors import UserError, suggest

EIGHT = ('clean', 'blur', 'noise', 'jpeg', 'b+n', 'b+j', 'n+j', 'b+n+j')
BLUR_RADIUS = 10  # px: the kernel is 21×21


def gaussian_blur(image: np.ndarray, sigma: float = 2) -> np.ndarray:
    """Blur with a 21×21 Gaussian, rounded to 8 bits.

    Args:
        image: (H, W, 3) uint8.
        sigma: Standard deviation, px.

    Returns:
        (H, W, 3) uint8.
    """
    size = 2 * BLUR_RADIUS + 1
    return cv2.GaussianBlur(image, (size, size), sigma)


def downscale(image: np.ndarray, scale: int, method: str = 'bicubic') -> np.ndarray:
    """Downscale with Pillow, antialiased (but for ``'nearest'``), to (⌊H / scale⌋, ⌊W / scale⌋).

    Args:
        image: (H, W, 3) uint8.
        scale: Factor.
        method: ``'bicubic'`` or ``'nearest'``.

    Returns:
        (⌊H / scale⌋, ⌊W / scale⌋, 3) uint8.
    """
    size = (image.shape[1] // scale, image.shape[0] // scale)
    return np.asarray(Image.fromarray(image).resize(size, _RESAMPLING[method]))


def gaussian_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add N(0, sigma) to every value, clip to [0, 255] and truncate to 8 bits, as the published recipe does.

    Args:
        image: (H, W, 3) uint8.
        sigma: Standard deviation in grey levels of 255.
        rng: Source of the noise.

    Returns:
        (H, W, 3) uint8.
    """
    noisy = image + rng.normal(0, sigma, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int = 50) -> np.ndarray:
    """Compress as JPEG with Pillow (4:2:0) and decompress.

    Args:
        image: (H, W, 3) uint8.
        quality: Pillow's quality, 1 to 95.

    Returns:
        (H, W, 3) uint8.
    """
    with io.BytesIO() as file:
        Image.fromarray(image).save(file, format='JPEG', quality=quality)
        return np.asarray(Image.open(file).convert('RGB'))


_RESAMPLING = {'bicubic': Image.Resampling.BICUBIC, 'nearest': Image.Resampling.NEAREST}

Step = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
_BLUR: Step = lambda image, scale, rng: gaussian_blur(image)  # noqa: E731  (rows of a table read best aligned)
_DOWN: Step = lambda image, scale, rng: downscale(image, scale)  # noqa: E731
_NEAREST: Step = lambda image, scale, rng: downscale(image, scale, 'nearest')  # noqa: E731
_NOISE: Step = lambda image, scale, rng: gaussian_noise(image, 20, rng)  # noqa: E731
_JPEG: Step = lambda image, scale, rng: jpeg(image)  # noqa: E731

DEGRADATIONS: dict[str, tuple[Step, ...]] = {
    'clean': (_DOWN,),
    'blur': (_BLUR, _DOWN),
    'noise': (_DOWN, _NOISE),
    'jpeg': (_DOWN, _JPEG),
    'b+n': (_BLUR, _DOWN, _NOISE),
    'b+j': (_BLUR, _DOWN, _JPEG),
    'n+j': (_DOWN, _NOISE, _JPEG),
    'b+n+j': (_BLUR, _DOWN, _NOISE, _JPEG),
    'nearest': (_NEAREST,),  # unseen in training (Fig. 2d)
}


def mod_crop(image: np.ndarray, scale: int) -> np.ndarray:
    """Crop at the right and bottom to a multiple of the scale.

    Args:
        image: (H, W, C).
        scale: Factor.

    Returns:
        A view, (H − H mod scale, W − W mod scale, C).
    """
    height, width = image.shape[:2]
    return image[:height - height % scale, :width - width % scale]


def degrade(gt: np.ndarray, degradation: str, scale: int, rng: np.random.Generator) -> np.ndarray:
    """Make the LQ picture of a test degradation.

    Args:
        gt: (H, W, 3) uint8 RGB; H and W multiples of ``scale``.
        degradation: A key of :data:`DEGRADATIONS`.
        scale: Factor.
        rng: Source of the noise; untouched by degradations without noise.

    Returns:
        (H / scale, W / scale, 3) uint8 RGB.

    Raises:
        UserError: The degradation is not known.
    """
    for step in DEGRADATIONS[check_name(degradation)]:
        gt = step(gt, scale, rng)
    return gt


def check_name(degradation: str) -> str:
    """Return the name of a degradation, or refuse an unknown one with a ``UserError``."""
    if degradation not in DEGRADATIONS:
        raise UserError(f"degradation: '{degradation}' is not known{suggest(degradation, DEGRADATIONS)}")
    return degradation


def noise_rng(seed: int, image_name: str, degradation: str) -> np.random.Generator:
    """The noise of one picture under one degradation: the same on every machine and in every order of work.

    Args:
        seed: The user's seed.
        image_name: File name, without folder.
        degradation: Name of the degradation.
    """
    return np.random.default_rng([seed, zlib.crc32(image_name.encode()), zlib.crc32(degradation.encode())])
