"""RGB images in the channels of a network (Y, RGB or RGBA), and back.

A network of one channel restores Y of YCbCr (ITU-R BT.601), in the range and with the rounding of BasicSR's ``color:
y``; Cb and Cr are upscaled with the bicubic filter, as is usual for such networks. A network of four channels also sees
alpha: 1 where an image has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from reflash_sr.options.value_rules import COLOR

OPTIONS = {'color': COLOR}  # of a dataset
OF_RGB = (65.481, 128.553, 24.966)  # Y is 16 plus these parts of R, G and B in [0, 1]; they add up to 219
BLACK, WHITE = 16, 235  # Y of black and of white
COLOURS = {1: 'Y', 3: 'RGB', 4: 'RGB'}  # what metrics compare, by the number of channels of a network


def channels_of(opt: Mapping[str, Any]) -> int:
    """Channels of the images of a dataset with these options: 1 with ``color: y``, as in BasicSR's datasets, else 3."""
    return 1 if opt.get('color') == 'y' else 3


def to_channels(image: torch.Tensor, channels: int) -> torch.Tensor:
    """Convert an image to the channels of a network.

    Args:
        image: RGB, (…, 3, H, W) in [0, 1], or an image that has the channels already.
        channels: 1, 3 or 4.

    Returns:
        (…, channels, H, W) float32 in [0, 1]; Y is in [16, 235] / 255.
    """
    if image.shape[-3] == channels:
        return image
    if channels == 4:
        return torch.cat((image, torch.ones_like(image[..., :1, :, :])), dim=-3)
    weights = torch.tensor(OF_RGB, dtype=torch.float64)  # on the CPU: not every device has this type
    y = torch.tensordot(image.cpu().double().movedim(-3, -1), weights, 1).unsqueeze(-3)
    return ((y + BLACK) / 255).float().to(image.device)


def from_channels(sr: torch.Tensor, lq: torch.Tensor) -> torch.Tensor:
    """Convert the result of a network to the channels of the image that :func:`to_channels` converted.

    Args:
        sr: (1, channels, H · scale, W · scale).
        lq: The image before its conversion, (1, 3, H, W), or the network's own channels.

    Returns:
        (1, C, H · scale, W · scale) with the C channels of ``lq``, on the device of ``sr``, not clipped.
    """
    if sr.shape[1] >= lq.shape[1]:
        return sr[:, :lq.shape[1]]
    # Grey of the same Y, plus the colour's distance from it, which depends on Cb and Cr alone, and linearly.
    lq = lq.cpu()  # not every device has this filter, which is Pillow's bicubic
    distance = F.interpolate(lq - _grey(to_channels(lq, 1)), sr.shape[2:], mode='bicubic', antialias=True)
    return _grey(sr) + distance.to(sr.device)


def _grey(y: torch.Tensor) -> torch.Tensor:
    """The R = G = B, in [0, 1], of a Y."""
    return (y * 255 - BLACK) / (WHITE - BLACK)
