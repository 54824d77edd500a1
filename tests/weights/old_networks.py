"""Networks of before 2020, written for the tests, whose released weights people still have: their names differ."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def _lrelu(x):
    return F.leaky_relu(x, 0.2)


class _DenseBlock(nn.Module):
    """A dense block of five convolutions; ``wrapped``: each is the first layer of a sequence, ``conv1.0``."""

    def __init__(self, feat, growth, wrapped):
        super().__init__()
        for place in range(1, 6):
            conv = nn.Conv2d(feat + (place - 1) * growth, growth if place < 5 else feat, 3, 1, 1)
            setattr(self, f'conv{place}', nn.Sequential(conv) if wrapped else conv)

    def forward(self, x):
        known = x
        for place in range(1, 5):
            known = torch.cat([known, _lrelu(getattr(self, f'conv{place}')(known))], 1)
        return x + 0.2 * self.conv5(known)


class _Block(nn.Module):

    def __init__(self, feat, growth, wrapped):
        super().__init__()
        self.RDB1, self.RDB2, self.RDB3 = (_DenseBlock(feat, growth, wrapped) for _ in range(3))

    def forward(self, x):
        return x + 0.2 * self.RDB3(self.RDB2(self.RDB1(x)))


class OldRRDBNet(nn.Module):
    """ESRGAN as in its repository and BSRGAN's: ``RRDB_trunk``, ``trunk_conv``, ``upconv1``, …, ``HRconv``."""

    def __init__(self, steps=2, feat=8, blocks=2, growth=4):
        super().__init__()
        self.steps = steps
        self.conv_first = nn.Conv2d(3, feat, 3, 1, 1)
        self.RRDB_trunk = nn.Sequential(*(_Block(feat, growth, False) for _ in range(blocks)))
        self.trunk_conv = nn.Conv2d(feat, feat, 3, 1, 1)
        for step in range(1, steps + 1):
            setattr(self, f'upconv{step}', nn.Conv2d(feat, feat, 3, 1, 1))
        self.HRconv = nn.Conv2d(feat, feat, 3, 1, 1)
        self.conv_last = nn.Conv2d(feat, 3, 3, 1, 1)

    def forward(self, x):
        x = self.conv_first(x)
        x = x + self.trunk_conv(self.RRDB_trunk(x))
        for step in range(1, self.steps + 1):
            x = _lrelu(getattr(self, f'upconv{step}')(F.interpolate(x, scale_factor=2, mode='nearest')))
        return self.conv_last(_lrelu(self.HRconv(x)))


class _Shortcut(nn.Module):

    def __init__(self, *layers):
        super().__init__()
        self.sub = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.sub(x)


class OldestRRDBNet(nn.Module):
    """ESRGAN as one sequence of layers: ``model.0``, ``model.1.sub.0.RDB1.conv1.0``, …, ``model.10``."""

    def __init__(self, steps=2, feat=8, blocks=2, growth=4, wrapped=True):
        super().__init__()
        conv = nn.Conv2d(feat, feat, 3, 1, 1)
        ups = [layer for _ in range(steps) for layer in (
            nn.Upsample(scale_factor=2, mode='nearest'), nn.Conv2d(feat, feat, 3, 1, 1), nn.LeakyReLU(0.2))]
        self.model = nn.Sequential(
            nn.Conv2d(3, feat, 3, 1, 1), _Shortcut(*(_Block(feat, growth, wrapped) for _ in range(blocks)), conv), *ups,
            nn.Conv2d(feat, feat, 3, 1, 1), nn.LeakyReLU(0.2), nn.Conv2d(feat, 3, 3, 1, 1))

    def forward(self, x):
        return self.model(x)


class _Residual(nn.Module):

    def __init__(self, feat):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(feat, feat, 3, 1, 1) for _ in range(2))

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(x)))


class OldMSRResNet(nn.Module):
    """SRResNet of BasicSR's first releases: ``recon_trunk``, ``HRconv``; ×4."""

    def __init__(self, feat=8, blocks=2):
        super().__init__()
        self.conv_first = nn.Conv2d(3, feat, 3, 1, 1)
        self.recon_trunk = nn.Sequential(*(_Residual(feat) for _ in range(blocks)))
        self.upconv1, self.upconv2 = (nn.Conv2d(feat, 4 * feat, 3, 1, 1) for _ in range(2))
        self.HRconv = nn.Conv2d(feat, feat, 3, 1, 1)
        self.conv_last = nn.Conv2d(feat, 3, 3, 1, 1)

    def forward(self, x):
        up = F.interpolate(x, scale_factor=4, mode='bilinear', align_corners=False)
        x = self.recon_trunk(F.leaky_relu(self.conv_first(x), 0.1))
        for conv in (self.upconv1, self.upconv2):
            x = F.leaky_relu(F.pixel_shuffle(conv(x), 2), 0.1)
        return up + self.conv_last(F.leaky_relu(self.HRconv(x), 0.1))
