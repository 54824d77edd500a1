"""Upscaling one image: colours with the network, transparency with it (RGBA) or with Pillow's bicubic filter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt

from reflash_sr.data.images.image_with_metadata import FullImage, Strip
from reflash_sr.errors import UserError
from reflash_sr.evaluation.mc_dropout import mc_dropout
from reflash_sr.evaluation.tiled_inference import Restorer
from reflash_sr.system.memory import free_on_machine

HIDDEN = 0.035  # alpha up to here, 8 of 255 levels, is not seen: formats with losses, such as AVIF, write it for 0
FILLING = 40  # bytes of memory per pixel while colours are filled in, beside the image
PART = 64  # rows that are checked at a time, because a check takes twice their memory


def upscale_image(image: FullImage, restorer: Restorer, passes: int = 0, seed: int = 0,
                  name: str = '') -> tuple[FullImage, np.ndarray | None]:
    """Upscale an image with its transparency; bit depth, colour profile, EXIF and other metadata are kept.

    A network of four channels upscales the transparency itself.

    Args:
        image: (H, W) px.
        passes: Number of MC dropout passes, at least 2; 0: dropout is off.
        seed: Seed of MC dropout, together with ``name``.
        name: Name of the image.

    Returns:
        The upscaled image, and with MC dropout the standard deviations, (H · scale, W · scale) float32, in 8-bit grey
        levels.

    Raises:
        UserError: The network gave values that are not finite.
    """
    strips, deviation = upscale_strips(image, restorer), None
    if passes:
        sr, std = mc_dropout(restorer, _seen(image, restorer), passes, seed, name)
        deviation = std.cpu().numpy() * np.float32(255)
        strips = _finished(image, [sr], restorer.scale)
    colours, alphas = zip(*strips)
    alpha = None if alphas[0] is None else np.concatenate(alphas)
    return replace(image, colour=np.concatenate(colours).clip(0, 1), alpha=alpha), deviation


def upscale_strips(image: FullImage, restorer: Restorer) -> Iterator[Strip]:
    """Upscale an image strip by strip, from top to bottom, so that the whole result need not be in memory.

    Yields:
        Colours, not clipped, and transparency of (h · scale, W · scale) px, where the strip has h rows.

    Raises:
        UserError: The network gave values that are not finite.
    """
    return _finished(image, restorer.strips(_seen(image, restorer)), restorer.scale)


def fill_transparent(image: FullImage) -> FullImage:
    """Give transparent pixels, of alpha up to :data:`HIDDEN`, the colour of the nearest visible pixel.

    Their own colour is often black. It would be mixed with that of visible pixels, as a dark fringe. A note for the
    user is added if colours under full transparency differ, and so are perhaps of use.

    Raises:
        UserError: It needs more memory than is free.
    """
    if image.alpha is None:
        return image
    hidden = image.alpha <= HIDDEN
    if not hidden.any() or hidden.all():
        return image
    needed, free = FILLING * hidden.size, free_on_machine()
    if free is not None and needed > free:
        height, width = hidden.shape
        raise UserError(f'{width}×{height} px with transparency need {needed / 1e9:.1f} GB of memory more, '
                        f'{free / 1e9:.1f} GB are free; end other programs, or cut it into parts')
    places = distance_transform_edt(hidden, return_distances=False, return_indices=True)[:, hidden]
    colour, before = image.colour.copy(), image.colour[image.alpha == 0]
    colour[hidden] = image.colour[tuple(places)]
    note = ('colours under full transparency became those of the nearest visible pixel',)
    return replace(image, colour=colour, notes=image.notes + (note if (before != before[:1]).any() else ()))


def _seen(image: FullImage, restorer: Restorer) -> torch.Tensor:
    """What the network sees, (1, C, H, W)."""
    seen = image.colour
    if image.alpha is not None and restorer.channels == 4:
        seen = np.dstack((seen, image.alpha))
    return torch.from_numpy(seen).permute(2, 0, 1)[None]


def _finished(image: FullImage, results: Iterable[torch.Tensor], scale: int) -> Iterator[Strip]:
    """Colours and transparency of strips of the network's result."""
    top = 0
    for sr in results:
        if not all(part.isfinite().all() for part in sr.split(PART, dim=-2)):
            raise UserError('the network gave values that are not finite; do not use --amp, or check the weights')
        pixels = sr[0].permute(1, 2, 0).cpu().numpy()
        height, width, channels = pixels.shape
        alpha = None
        if channels == 4:
            alpha = pixels[..., 3].clip(0, 1)
        elif image.alpha is not None:
            box = (0, top // scale, width // scale, (top + height) // scale)
            alpha = np.asarray(Image.fromarray(image.alpha).resize((width, height), Image.Resampling.BICUBIC, box))
            alpha = alpha.clip(0, 1)
        top += height
        yield pixels[..., :3], alpha
        del sr, pixels, alpha  # before the next strip is made
