"""Which interpolation a network adds its output to, for networks of all kinds."""

import numpy as np
import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from torch import nn
from torch.nn import functional as F

from reflash_sr.archs import DropoutMSRResNet, DropoutRRDBNet, DropoutSwinIR, WithDropout
from reflash_sr.evaluation.metrics import bicubic_upscale
from reflash_sr.evaluation.own_interpolation import Base, find_base, own_interpolation
from reflash_sr.evaluation.tiled_inference import Restorer
from reflash_sr.weights.network_from_file import TrainedNetwork, open_network
from tests.conftest import smooth_image
from tests.weights.community import save_community

SMALL = {'num_feat': 8, 'num_block': 1}
SWIN = {'upscale': 4, 'img_size': 16, 'window_size': 8, 'depths': [1], 'embed_dim': 8, 'num_heads': [2],
        'mlp_ratio': 1}


class Adds(nn.Module):
    """One convolution and pixel shuffle, added to an interpolated image; ``last`` comes after it."""

    def __init__(self, scale=4, last=None, **how):
        super().__init__()
        self.scale, self.how, self.last = scale, how, last
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.final = nn.Conv2d(12, 3 * scale**2, 3, padding=1)

    def forward(self, x):
        large = F.interpolate(x, scale_factor=self.scale, **self.how)
        sr = F.pixel_shuffle(self.final(self.conv(x).relu()), self.scale) + large
        return self.last(sr) if self.last else sr


NETWORKS = {
    'MSRResNet': (lambda: DropoutMSRResNet(**SMALL, upscale=4, dropout_p=0.5), 'bilinear', {}),
    'MSRResNet of Y': (lambda: DropoutMSRResNet(1, 1, **SMALL, upscale=3), 'bilinear', {'scale': 3, 'channels': 1}),
    'SRVGGNetCompact': (lambda: SRVGGNetCompact(num_feat=8, num_conv=2), 'nearest', {}),
    'SRVGGNetCompact in WithDropout': (lambda: WithDropout(
        {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2}, dropout_p=0.5), 'nearest', {}),
    'bicubic': (lambda: Adds(mode='bicubic', align_corners=False), 'bicubic', {}),
    'bilinear, clipped': (lambda: Adds(2, lambda sr: sr.clamp(0, 1), mode='bilinear'), 'bilinear', {'scale': 2}),
    'aligned to corners': (lambda: Adds(mode='bilinear', align_corners=True), None, {}),
    'antialiased with something added': (lambda: Adds(mode='bicubic', last=lambda sr: sr + 0.1), None, {}),
    'RRDBNet': (lambda: DropoutRRDBNet(3, 3, **SMALL, num_grow_ch=4), None, {}),
    'RRDBNet ×2': (lambda: DropoutRRDBNet(3, 3, scale=2, **SMALL, num_grow_ch=4), None, {'scale': 2, 'multiple': 2}),
    'SwinIR': (lambda: DropoutSwinIR(upsampler='pixelshuffle', **SWIN), None, {'multiple': 8}),
    'SwinIR, direct': (lambda: DropoutSwinIR(upsampler='pixelshuffledirect', **SWIN), None, {'multiple': 8}),
    'no convolution': (lambda: nn.Upsample(scale_factor=4), None, {}),
}


def network(name):
    torch.manual_seed(0)
    make, kind, about = NETWORKS[name]
    return TrainedNetwork('x', 'x.pth', 'params', make(), {'type': 'x'}, **{
        'channels': 3, 'scale': 4, 'multiple': 1, **about}, parameters=1, sha256=''), kind


@pytest.mark.parametrize('name', NETWORKS)
def test_the_interpolation_is_found_and_the_network_left_as_it_was(name):
    one, kind = network(name)
    one.net.train()
    before = {key: value.clone() for key, value in one.net.state_dict().items()}
    hooks = [len(part._forward_hooks) for part in one.net.modules()]
    random = torch.get_rng_state()
    assert own_interpolation(one) == kind
    assert find_base(one) == Base(kind or 'bicubic', kind is not None, one.scale, one.channels)
    assert all(part.training for part in one.net.modules()), 'modes'
    assert [len(part._forward_hooks) for part in one.net.modules()] == hooks
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[key], value) for key, value in one.net.state_dict().items())


@pytest.mark.parametrize('name', ['HAT', 'SPAN', 'RCAN', 'SAFMN', 'PLKSR'])
def test_networks_of_other_projects(name, tmp_path):
    """PLKSR adds its output to the image of repeated pixels; SAFMN, HAT, SPAN and RCAN add it to none."""
    assert own_interpolation(open_network(save_community(tmp_path, name))) == {'PLKSR': 'nearest'}.get(name)


def test_a_network_without_its_last_convolution_is_its_base(monkeypatch):
    lq = smooth_image(4, 20, 24)
    for name in ('MSRResNet', 'MSRResNet of Y', 'SRVGGNetCompact', 'bicubic'):
        one, _ = network(name)
        base = find_base(one)(lq)
        assert base.shape == (20 * one.scale, 24 * one.scale, 3) and base.dtype == np.float32
        restorer = restorer_of(one)
        with torch.no_grad():
            last = {'bicubic': 'final', 'SRVGGNetCompact': f'body.{len(getattr(one.net, "body", ())) - 1}'}.get(
                name, 'conv_last')
            for value in one.net.get_submodule(last).parameters():
                value.zero_()
        assert np.abs(base.clip(0, 255) - restorer.restore(lq)).max() <= 0.51, 'but for rounding'


def test_a_network_that_adds_to_nothing_has_pillows_bicubic():
    lq = smooth_image(4, 20, 24)
    one, _ = network('RRDBNet')
    assert np.array_equal(find_base(one)(lq), bicubic_upscale(lq, 4))


def restorer_of(one):
    return Restorer(one.net.eval(), one.scale, one.multiple, channels=one.channels)
