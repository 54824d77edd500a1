"""How much memory a network takes for an image."""

from __future__ import annotations

import torch
from torch import nn

SIDE = 32  # px: side of the image that is measured
HELD = 2.0  # a long skip and the allocator's slack, beside what one layer reads and writes


@torch.no_grad()
def bytes_per_pixel(net: nn.Module, multiple: int, device: torch.device) -> float:
    """Estimate the memory that a forward pass takes at its peak.

    Measured on a small image: the layer that reads and writes most, times two.

    Args:
        net: Takes (B, 3, H, W).
        multiple: Both sides of its input must be multiples of this, px.
        device: Where it is.

    Returns:
        Bytes for each pixel of the LQ image, in float32.
    """
    side = -(-SIDE // multiple) * multiple
    most = 0

    def note(module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal most
        tensors = [one for one in (*inputs, output) if isinstance(one, torch.Tensor)]
        most = max(most, sum(one.numel() * 4 for one in tensors))

    handles = [module.register_forward_hook(note) for module in net.modules()]
    try:
        net(torch.zeros(1, 3, side, side, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return HELD * most / side**2
