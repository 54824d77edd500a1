"""The interpolated image that a network adds its output to, found by silencing its last convolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from reflash_sr.data.images.channels import from_channels, to_channels
from reflash_sr.errors import UserError
from reflash_sr.evaluation.metrics import bicubic_upscale
from reflash_sr.evaluation.tiled_inference import to_tensor
from reflash_sr.positions import PROBES, find_sites
from reflash_sr.system.devices import keep_rng
from reflash_sr.weights.network_from_file import TrainedNetwork

KINDS = ('nearest', 'bilinear', 'bicubic')
SAME = 1e-3  # largest difference from the interpolated image, of values in [0, 1]


@dataclass(frozen=True)
class Base:
    """How the image is interpolated that a network's result is drawn towards.

    Attributes:
        kind: One of :data:`KINDS`.
        own: Whether the network itself adds its output to this image; if not, it is Pillow's bicubic interpolation.
        scale: Upscaling factor.
        channels: Channels of the network.
    """

    kind: str
    own: bool
    scale: int
    channels: int = 3

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """Interpolate (H, W, 3) uint8: (H · scale, W · scale, 3) float32, grey levels, not clipped."""
        if not self.own:
            return bicubic_upscale(lq, self.scale).astype(np.float32)
        image = to_tensor(lq)
        large = from_channels(_enlarge(to_channels(image, self.channels), self.scale, self.kind), image)
        return 255 * large[0].permute(1, 2, 0).numpy()


def find_base(network: TrainedNetwork) -> Base:
    """The network's own interpolation if it has one, else Pillow's bicubic."""
    own = own_interpolation(network)
    return Base(own or 'bicubic', own is not None, network.scale, network.channels)


def own_interpolation(network: TrainedNetwork) -> str | None:
    """Find the interpolation that a network adds its output to.

    The network is run on a small image with its last convolution (:mod:`reflash_sr.positions`) silent. Its weights,
    modes and hooks, and the random state, stay as they are.

    Returns:
        One of :data:`KINDS`; None if the result is anything else, or if the network has no last convolution.
    """
    try:
        [last] = find_sites(network.net, 'last-conv')
    except UserError:
        return None
    device = next(network.net.parameters()).device
    for side in PROBES:
        side = -(-side // network.multiple) * network.multiple
        image = torch.rand(1, network.channels, side, side, generator=torch.Generator().manual_seed(0)).to(device)
        image = 0.3 + 0.4 * image  # interpolation stays inside of [0, 1], where nothing is clipped
        try:
            silent = _without(network.net, last.module, image)
        except Exception:  # of any class: the image is too small for a network of another project
            continue
        return next((kind for kind in KINDS if torch.allclose(
            silent, _enlarge(image, network.scale, kind), rtol=0, atol=SAME)), None)
    return None


@torch.no_grad()
def _without(net: nn.Module, module: str, image: torch.Tensor) -> torch.Tensor:
    """Run a network in eval mode with the output of a module set to zero."""
    modes = {one: one.training for one in net.modules()}
    handle = net.get_submodule(module).register_forward_hook(lambda _module, _given, out: torch.zeros_like(out))
    try:
        net.eval()
        with keep_rng(image.device):
            return net(image).float()
    finally:
        handle.remove()
        for one, training in modes.items():
            one.training = training


def _enlarge(image: torch.Tensor, scale: int, kind: str) -> torch.Tensor:
    """Enlarge (B, C, H, W), as networks do."""
    return F.interpolate(image, scale_factor=scale, mode=kind, align_corners=None if kind == 'nearest' else False)
