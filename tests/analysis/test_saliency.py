"""Saliency is the gradient of detail: analytic where the network is linear, zero where nothing changes, never NaN."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from reflash_sr.analysis.features import study_layers
from reflash_sr.analysis.saliency import channel_saliency, detail, rank_correlation
from reflash_sr.errors import UserError
from tests.analysis.networks import PAPER, small


@pytest.fixture
def lq():
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_detail():
    image = torch.zeros(1, 1, 3, 3)
    image[..., 1, 1] = 3.0  # (0, 1) looks down at it, (1, 0) right, (1, 1) away from it
    assert detail(image) == pytest.approx(3 + 3 + np.sqrt(18))


def test_a_linear_network_has_its_analytic_gradient(lq):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.Conv2d(5, 3, 3, padding=1)).double().eval()
    lq = lq.double()
    with torch.no_grad():
        sr = net(lq)
        down, right = sr[..., 1:, :-1] - sr[..., :-1, :-1], sr[..., :-1, 1:] - sr[..., :-1, :-1]
        length = torch.sqrt(down**2 + right**2)
        slope = torch.zeros_like(sr)  # of detail with respect to the output, by hand
        slope[..., 1:, :-1] += down / length
        slope[..., :-1, 1:] += right / length
        slope[..., :-1, :-1] -= (down + right) / length
        expected = torch.nn.functional.conv_transpose2d(slope, net[1].weight, padding=1).abs()[0].numpy()
    found = channel_saliency(net, lq, ['input of 1', '0'])
    for layer in found:
        np.testing.assert_allclose(found[layer].maps, expected / expected.max(), rtol=1e-4, atol=1e-5)
        assert found[layer].peak == pytest.approx(expected.max(), rel=1e-5)
        np.testing.assert_allclose(found[layer].scores, (expected / expected.max()).sum((1, 2)), rtol=1e-4)


@pytest.mark.parametrize('name', PAPER)
def test_all_layers_at_once_are_each_alone(name, lq):
    net = small(name).requires_grad_(False)
    plain = net(lq)
    layers = list(study_layers(net))
    together = channel_saliency(net, lq, layers)
    assert list(together) == layers
    for layer in layers:
        alone = channel_saliency(net, lq, [layer])[layer]
        np.testing.assert_allclose(together[layer].maps, alone.maps, rtol=1e-3, atol=1e-5)
        assert together[layer].maps.shape == together[layer].features.shape
        assert together[layer].maps.max() == 1 and together[layer].maps.min() >= 0
    if 'SwinIR' in name:
        assert together['B1'].maps.shape == (12, 8, 8)
    assert torch.equal(net(lq), plain)
    assert lq.grad is None and not lq.requires_grad


def test_a_constant_output_is_zeros(lq):
    net = small('SRResNet')
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    for one in channel_saliency(net, torch.full_like(lq, 0.5), ['first', 'B2', 'last']).values():
        assert not one.maps.any() and one.peak == 0 and not one.scores.any()
    assert torch.isfinite(torch.autograd.grad(detail(x := torch.zeros(1, 3, 4, 4, requires_grad=True)), x)[0]).all()


def test_a_layer_that_leads_nowhere_is_zeros(lq):
    net = small('Tangled')
    net.tail.register_forward_hook(lambda module, args, output: output.detach())
    assert not channel_saliency(net, lq, ['head'])['head'].maps.any()


def test_gradients_may_be_switched_off_around_it(lq):
    with torch.no_grad():
        assert channel_saliency(small('RRDB'), lq, ['B1'])['B1'].maps.any()


def test_unknown_layer(lq):
    with pytest.raises(UserError, match='no layer'):
        channel_saliency(small('SRResNet'), lq, ['B1', 'B3'])


def test_rank_correlation():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert rank_correlation(np.arange(5), np.exp(np.arange(5))) == pytest.approx(1)
        assert rank_correlation(np.arange(5), -np.arange(5)) == pytest.approx(-1)
        assert rank_correlation(np.arange(5), np.ones(5)) is None
        assert rank_correlation(np.zeros(5), np.arange(5)) is None
        assert rank_correlation([1], [1]) is None
        assert rank_correlation([1, 2], [1, np.inf]) is None
