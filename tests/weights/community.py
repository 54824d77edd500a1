"""Small networks of other projects, built by spandrel's own classes with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.HAT import HAT
from spandrel.architectures.OmniSR import OmniSR
from spandrel.architectures.PLKSR import RealPLKSR
from spandrel.architectures.RCAN import RCAN
from spandrel.architectures.SAFMN import SAFMN
from spandrel.architectures.SeemoRe import SeemoRe
from spandrel.architectures.SPAN import SPAN

# One that takes multiples of 8 px only (SAFMN), one that changes its input in place (RCAN), one in an old layout that
# BasicSR's class cannot hold (ESRGAN ×8), one that takes one image at a time (SeemoRe), one whose last convolution is
# not its last layer (SPAN, ×4 pixel shuffle).
NETWORKS = {
    'ESRGAN': lambda: ESRGAN(num_filters=8, num_blocks=1, scale=8),
    'HAT': lambda: HAT(embed_dim=8, depths=[1], num_heads=[2], window_size=8, upscale=2, compress_ratio=4,
                       squeeze_factor=4),
    'OmniSR': lambda: OmniSR(num_feat=16, block_num=1, res_num=1, up_scale=2, window_size=8),
    'PLKSR': lambda: RealPLKSR(dim=16, n_blocks=1, upscaling_factor=4),
    'RCAN': lambda: RCAN(scale=4, n_resgroups=1, n_resblocks=1, n_feats=16, reduction=4),
    'SAFMN': lambda: SAFMN(dim=12, n_blocks=1, upscaling_factor=4),
    'SeemoRe': lambda: SeemoRe(scale=4, num_experts=2, num_layers=1, embedding_dim=12),
    'SPAN': lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=12, upscale=4),
}


def save_community(folder: Path, name: str) -> Path:
    """Write the weights of a network as other projects do, without a word about what they are."""
    torch.manual_seed(0)
    path = folder / f'{name}.pth'
    torch.save({'params_ema': NETWORKS[name]().state_dict()}, path)
    return path
