"""Small networks for the tests of the analysis: BasicSR's three, and one with everything that makes tapping hard."""

from __future__ import annotations

import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.swinir_arch import SwinIR
from torch import nn
from torch.nn import functional as F


class Tangled(nn.Module):
    """Shared modules that are called twice, work in place, long skips, a module that gives a tuple."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 6, 3, 1, 1)
        self.act = nn.LeakyReLU(0.1, inplace=True)
        self.shared = nn.Conv2d(6, 6, 3, 1, 1)
        self.split = _Split()
        self.same = nn.Identity()
        self.body = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1), self.act, nn.Conv2d(6, 6, 3, 1, 1))
        self.tail = nn.Conv2d(6, 12, 3, 1, 1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.act(self.head(x))
        out = self.same(self.shared(skip))
        out += skip
        left, right = self.split(self.act(out))
        out = torch.cat((right, left), 1)
        out = self.shared(self.body(out)) + skip
        out.mul_(0.5)
        skip += left.mean((1, 2, 3), keepdim=True)
        out = self.shuffle(self.tail(self.act(out + skip)))
        out += F.interpolate(x, scale_factor=2, mode='bilinear')
        return out


class _Split(nn.Module):

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x.chunk(2, 1)


def small(name: str) -> nn.Module:
    """One of the networks, in eval mode, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = _BUILD[name]().eval()
        for parameter in net.parameters():  # BasicSR's first weights are so small that no layer would matter
            if parameter.dim() == 4:
                nn.init.kaiming_normal_(parameter)
        return net


def _swinir(upsampler: str, upscale: int) -> SwinIR:
    return SwinIR(img_size=8, embed_dim=12, depths=(2, 2), num_heads=(2, 2), window_size=4, upscale=upscale,
                  upsampler=upsampler, mlp_ratio=2)


_BUILD = {
    'SRResNet': lambda: MSRResNet(num_feat=8, num_block=2),
    'RRDB': lambda: RRDBNet(3, 3, num_feat=8, num_block=2, num_grow_ch=4),
    'RRDB x2': lambda: RRDBNet(3, 3, scale=2, num_feat=8, num_block=1, num_grow_ch=4),
    'SwinIR': lambda: _swinir('nearest+conv', 4),
    'SwinIR light': lambda: _swinir('pixelshuffledirect', 2),
    'SwinIR denoiser': lambda: _swinir('', 1),
    'Tangled': Tangled,
}
NAMES = tuple(_BUILD)
PAPER = NAMES[:-1]  # those with the paper's layers
