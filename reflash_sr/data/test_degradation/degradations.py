"""The test degradations (paper Sec. 5.3, Table 1): blur, downscaling, noise, JPEG, in that order.

A degradation is given by name: one of the eight of Table 1, or steps joined by ``+``. A step may have a strength
other than the published one: ``blur:3``, ``noise:30+jpeg:30``, ``down:bilinear``. ``drawn:7`` is draw number 7 of the
training degradation of Real-ESRGAN, in place of downscaling.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from reflash_sr.data.test_degradation import degradation_steps as steps
from reflash_sr.data.training_degradation import second_order
from reflash_sr.errors import UserError, suggest

EIGHT = ('clean', 'blur', 'noise', 'jpeg', 'b+n', 'b+j', 'n+j', 'b+n+j')
NAMED = (*EIGHT, 'nearest')
AS_GIVEN = 'as given'  # the degradation of a test set whose LQ images are files
_WRITTEN_OUT = {'clean': 'down', 'nearest': 'down:nearest'}  # nearest: unseen in training (Fig. 2d)

# In order. For each step: default strength, range in words, check of the range, and the function that applies it.
_STEPS: dict[str, tuple[float | str, str, Callable[[Any], bool], Callable[..., np.ndarray]]] = {
    'blur': (2, 'a sigma above 0 and up to 50 px', lambda v: 0 < v <= 50,
             lambda image, strength, scale, rng: steps.gaussian_blur(image, strength)),
    'drawn': (0, 'a whole number', lambda v: v == int(v),
              lambda image, strength, scale, rng: drawn(image, int(strength), scale, rng)),
    'down': ('bicubic', f"one of {' '.join(steps.DOWNSCALING)}", lambda v: v in steps.DOWNSCALING,
             lambda image, strength, scale, rng: steps.downscale(image, scale, strength)),
    'noise': (20, 'a sigma above 0 and up to 255 grey levels', lambda v: 0 < v <= 255,
              lambda image, strength, scale, rng: steps.gaussian_noise(image, strength, rng)),
    'jpeg': (50, 'a whole quality from 1 to 100', lambda v: 1 <= v <= 100 and v == int(v),
             lambda image, strength, scale, rng: steps.jpeg(image, int(strength))),
}  # yapf: disable
DRAWN_REACH = 64  # px of the LQ image: more than two blurs at the smallest sizes, and JPEG's units, reach
_SHORT = {'b': 'blur', 'n': 'noise', 'j': 'jpeg'}
_NUMBER = re.compile(r'\d+(\.\d+)?')


def degrade(gt: np.ndarray, degradation: str, scale: int, rng: np.random.Generator | None) -> np.ndarray:
    """Make the LQ image, (H / scale, W / scale, 3) uint8 RGB, of a test degradation.

    Args:
        gt: (H, W, 3) uint8 RGB; H and W multiples of ``scale``.
        degradation: Its name, see the module's docstring.
        scale: Scale factor.
        rng: Random generator of the noise; may be None for a degradation without noise.

    Raises:
        UserError: The degradation is not known.
    """
    for step, strength in parse(degradation).items():
        gt = _STEPS[step][3](gt, strength, scale, rng)
    return gt


@lru_cache(maxsize=256)
def parse(degradation: str) -> dict[str, Any]:
    """Parse the name of a degradation, such as ``'b+n'`` or ``'blur:3+jpeg:30'``.

    Returns:
        The strength of each step in the order of execution: a number, for ``down`` a text. Either ``down`` or ``drawn``
        is always included.

    Raises:
        UserError: An unknown step, a step that is given twice, or a strength out of its range.
    """
    found: dict[str, Any] = {}
    for part in _WRITTEN_OUT.get(degradation, str(degradation)).split('+'):
        word, colon, text = part.strip().partition(':')
        step = _SHORT.get(word, word)
        if step not in _STEPS:
            raise UserError(f"degradation: '{degradation}' is not known{suggest(degradation, NAMED)}. Or steps with "
                            "their strengths, as in blur:3, noise:30+jpeg:30, down:bilinear")
        if step in found:
            raise UserError(f"degradation: '{degradation}': {step} is given twice")
        default, wanted, fits, _ = _STEPS[step]
        strength = float(text) if _NUMBER.fullmatch(text) else text if colon else default
        if isinstance(strength, str) is not isinstance(default, str) or not fits(strength):
            raise UserError(f"degradation: '{degradation}': {step} needs {wanted}, not '{text}'")
        found[step] = strength
    if {'drawn', 'down'} <= found.keys():
        raise UserError(f"degradation: '{degradation}': drawn downscales already; leave down out")
    if 'drawn' not in found:
        found['down'] = found.get('down', _STEPS['down'][0])
    return {step: found[step] for step in _STEPS if step in found}


def check_name(degradation: str) -> str:
    """Return the name of a degradation; raises ``UserError`` for an unknown one."""
    parse(degradation)
    return degradation


def reach(degradation: str, scale: int) -> int:
    """Largest distance at which an LQ pixel, before JPEG, depends on the GT image, px of the GT."""
    found = parse(degradation)
    around = DRAWN_REACH * scale if 'drawn' in found else steps.downscale_reach(scale)
    return around + (steps.blur_radius(found['blur']) if 'blur' in found else 0)


def drawn(gt: np.ndarray, number: int, scale: int, rng: np.random.Generator | None) -> np.ndarray:
    """Degrade an image by a draw of the training degradation with its published settings, without sharpening.

    Args:
        gt: As for :func:`degrade`.
        number: Number of the draw, its seed: parameters are the same for all images and scales.
        scale: Scale factor.
        rng: Random generator of the noise.
    """
    size = gt.shape[:2]
    recipe = second_order.draw_degradation(np.random.default_rng(number), second_order.DEFAULTS, size, scale)
    lq = second_order.degrade(gt, recipe, (0, size[0], 0, size[1]), rng or np.random.default_rng(0), scale=scale,
                              gt_usm=False)[1]
    return np.rint(255 * lq).astype(np.uint8)


def mod_crop(image: np.ndarray, scale: int) -> np.ndarray:
    """Crop (H, W, C) at the bottom and right to multiples of the scale; returns a view."""
    height, width = image.shape[:2]
    return image[:height - height % scale, :width - width % scale]


def noise_rng(seed: int, image_name: str, degradation: str) -> np.random.Generator:
    """Random generator of the noise of one image (file name without folder) and degradation, same on all machines."""
    return np.random.default_rng([seed, zlib.crc32(image_name.encode()), zlib.crc32(degradation.encode())])
