"""Upscaling one image: colours with the network, transparency with it (RGBA) or with Pillow's bicubic filter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from reflash_sr.data.images.image_with_metadata import FullImage
from reflash_sr.errors import UserError
from reflash_sr.evaluation.mc_dropout import mc_dropout
from reflash_sr.evaluation.tiled_inference import Restorer


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
    alpha = image.alpha
    seen = image.colour if alpha is None or restorer.channels < 4 else np.dstack((image.colour, alpha))
    lq = torch.from_numpy(np.ascontiguousarray(seen.transpose(2, 0, 1)))[None]
    deviation = None
    if passes:
        sr, std = mc_dropout(restorer, lq, passes, seed, name)
        deviation = std.cpu().numpy() * np.float32(255)
    else:
        sr = restorer(lq)
        if not sr.isfinite().all():
            raise UserError('the network gave values that are not finite; do not use --amp, or check the weights')
    pixels = sr[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    colour = pixels[..., :3]
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3]
    elif alpha is not None:
        size = colour.shape[1], colour.shape[0]
        alpha = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    return replace(image, colour=colour, alpha=alpha), deviation
