"""Tapping leaves the network as it was, and records what the layer held."""

from __future__ import annotations

import pytest
import torch

from reflash_sr.analysis import features
from reflash_sr.errors import UserError
from tests.analysis.networks import NAMES, PAPER, small


@pytest.fixture
def lq():
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def hooks(net):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules())


@pytest.mark.parametrize('name', NAMES)
def test_output_is_the_same_bit_by_bit(name, lq):
    net = small(name)
    plain = net(lq)
    layers = [layer for layer, _ in features.list_layers(net, lq)]
    with features.tap(net, layers) as seen:
        assert torch.equal(net(lq), plain)
    assert set(seen) == set(layers)
    assert hooks(net) == 0
    assert torch.equal(net(lq), plain)


@pytest.mark.parametrize('name', NAMES)
def test_stopping_early_gives_the_same_features(name, lq):
    net = small(name)
    layers = [layer for layer, _ in features.list_layers(net, lq)]
    with features.tap(net, layers) as seen, torch.no_grad():
        net(lq)
    for layer in layers:
        assert torch.equal(features.features_until(net, lq, layer), seen[layer])
    assert hooks(net) == 0


def test_what_works_in_place_later_is_not_recorded(lq):
    net = small('SRResNet')
    with features.tap(net, ['conv_first', 'input of lrelu', 'first', 'input of conv_hr', 'last']) as seen:
        net(lq)
    assert torch.equal(seen['conv_first'], net.conv_first(lq))
    assert torch.equal(seen['input of lrelu'], seen['conv_first'])
    assert torch.equal(seen['first'], torch.nn.functional.leaky_relu(seen['conv_first'], 0.1))
    assert torch.equal(seen['last'], net.lrelu(net.conv_hr(seen['input of conv_hr'])))


def test_the_last_layer_is_the_last_also_where_a_module_has_its_name(lq):
    net = torch.nn.Sequential()
    net.add_module('first_conv', torch.nn.Conv2d(3, 8, 3, padding=1))
    net.add_module('last', torch.nn.Conv2d(8, 3, 3, padding=1))
    assert features.find_layer(net, 'last') == features.study_layers(net)['last'] == features.Site('last', 'input')
    assert features.find_layer(net, 'output of last').side == 'output'
    assert dict(features.list_layers(net, lq))['last'] == 'input of last: 8 channels of 8×8'


def test_the_names_of_the_paper():
    assert list(features.study_layers(small('SRResNet'))) == ['first', 'B1', 'B2', 'hr', 'last']
    assert list(features.study_layers(small('RRDB'))) == ['first', 'B1', 'B2', 'hr', 'last']
    assert list(features.study_layers(small('SwinIR light'))) == ['first', 'B1', 'B2', 'last']
    assert list(features.study_layers(small('Tangled'))) == ['last']
    assert features.find_layer(small('Tangled'), 'last').module == 'tail'


@pytest.mark.parametrize('name', PAPER)
def test_the_list_says_how_large_layers_are(name, lq):
    described = dict(features.list_layers(small(name), lq))
    assert ('tokens of 12 channels' if 'SwinIR' in name else '8 channels of') in described['B1']


def test_the_network_is_left_alone_after_an_exception(lq):
    net = small('SRResNet')
    with pytest.raises(RuntimeError, match=r'size|shape|channels'), features.tap(net, ['first', 'last']):
        net(lq[:, :2])
    with pytest.raises(RuntimeError):
        features.features_until(net, lq[:, :2], 'last')
    assert hooks(net) == 0


@pytest.mark.parametrize(('layer', 'message'), [
    ('lsat', "did you mean 'last'"),
    ('B3', 'B1 to B2'),
    ('body.7', 'MSRResNet has no layer'),
    ('outside of body', 'the paths of its modules'),
])
def test_unknown_layers(layer, message, lq):
    with pytest.raises(UserError, match=message):
        features.features_until(small('SRResNet'), lq, layer)


def test_what_is_no_feature_map(lq):
    net = small('Tangled')
    with pytest.raises(UserError, match=r"layer 'split': _Split gives a tuple"), features.tap(net, 'split'):
        net(lq)
    with pytest.raises(UserError, match='gives a tuple'):
        features.features_until(net, lq, 'split')
    assert hooks(net) == 0


def test_a_module_that_is_not_reached(lq):
    net = small('Tangled')
    net.idle = torch.nn.Conv2d(3, 3, 1)
    with pytest.raises(UserError, match='not reached'):
        features.features_until(net, lq, 'idle')
    with features.tap(net, 'idle') as seen:
        net(lq)
    with pytest.raises(UserError, match='not reached'):
        seen['idle']


def test_gradients_are_those_of_the_features_as_they_were(lq):
    net = small('SRResNet').requires_grad_(False)
    with features.tap(net, ['conv_first', 'last']) as seen:
        total = net(lq.requires_grad_()).sum()
    gradient = torch.autograd.grad(total, seen['last'])[0]
    ones = torch.ones(1, 3, 32, 32)
    expected = torch.nn.functional.conv_transpose2d(ones, net.conv_last.weight, padding=1)
    torch.testing.assert_close(gradient, expected)
