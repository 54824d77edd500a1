"""A replay is the network from a layer on: the same numbers as a full run in which a hook changes the features."""

from __future__ import annotations

import pytest
import torch

from reflash_sr.analysis.features import find_layer, list_layers
from reflash_sr.analysis.replay_from_layer import Replay
from reflash_sr.errors import RunError, UserError
from tests.analysis.networks import NAMES, small


@pytest.fixture
def lq():
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def run_with(net, lq, layer, features):
    """The plain way: the whole network, with the features of the layer's first call exchanged by a hook."""
    site = find_layer(net, layer)
    module = net.get_submodule(site.module)
    calls = []

    def exchange(module, args, output=None):
        calls.append(1)
        if len(calls) > 1:
            return None
        return features.clone() if site.side == 'output' else (features.clone(), *args[1:])

    register = module.register_forward_hook if site.side == 'output' else module.register_forward_pre_hook
    handle = register(exchange)
    try:
        with torch.no_grad():
            return net(lq)
    finally:
        handle.remove()


def layers_of(net, lq):
    """Everything that can be tapped: the paper's layers, and input and output of every module."""
    layers = [layer for layer, _ in list_layers(net, lq)]
    for name, _ in net.named_modules():
        layers += [name, f'input of {name}'] if name else []
    return list(dict.fromkeys(layers))


@pytest.mark.parametrize('name', NAMES)
def test_every_layer_of_every_network(name, lq):
    net = small(name)
    plain = net(lq).detach()
    layers = layers_of(net, lq)
    layers = layers[:12] + layers[12::max(1, len(layers) // 12)]  # hundreds in SwinIR
    replayed = 0
    for layer in layers:
        try:
            replay = Replay(net, lq, layer)
        except UserError:  # no feature map, a list of modules, windows
            continue
        assert torch.equal(replay.output, plain)
        torch.testing.assert_close(replay(replay.features), plain, rtol=1e-5, atol=1e-5)
        changed = replay.features * torch.tensor([0.5, -1]).view(-1, *[1] * (replay.features.dim() - 1))
        before = changed.clone()
        got = replay(changed)
        assert torch.equal(changed, before), layer
        assert torch.equal(replay(changed, overwrite=True), got), layer  # what is kept did not change
        for one, features in zip(got, before):
            expected = run_with(net, lq, layer, features[None])[0]
            difference = (one - expected).abs().max() / expected.abs().max()
            assert difference < 1e-5, (name, layer)
        replayed += 1
    assert replayed > 10
    assert not any('forward' in vars(module) for module in net.modules())
    assert torch.equal(net(lq), plain)


def test_only_what_is_needed_is_kept(lq):
    replay = Replay(small('SRResNet'), lq, 'last')
    assert not any(kept.needed for _, kept in replay._tape)
    replay = Replay(small('RRDB'), lq, 'B2')
    assert [kept.needed for _, kept in replay._tape] == [True, False]  # conv_first, for the long skip; B1


def test_the_network_is_left_alone_after_an_exception(lq):
    net = small('SRResNet')
    plain = net(lq)
    with pytest.raises(RuntimeError, match='channels'):
        Replay(net, lq[:, :2], 'B1')
    with Replay(net, lq, 'B1') as replay, pytest.raises(ValueError, match='changed must be'):
        replay(replay.features[:, :3])
    with pytest.raises(RunError, match='another order'):
        replay(replay.features)  # nothing is kept any more
    assert not any('forward' in vars(module) for module in net.modules())
    assert torch.equal(net(lq), plain)


def test_layers_that_cannot_be_replayed(lq):
    with pytest.raises(UserError, match="no layer 'B9'"):
        Replay(small('SRResNet'), lq, 'B9')
    with pytest.raises(UserError, match='gives a tuple'):
        Replay(small('Tangled'), lq, 'split')
    with pytest.raises(UserError, match='windows'):
        Replay(small('SwinIR'), lq, 'layers.0.residual_group.blocks.0.attn')


def test_mixed_precision(lq):
    net = small('SRResNet')
    with torch.autocast('cpu', torch.bfloat16):
        replay = Replay(net, lq, 'B1')
        torch.testing.assert_close(replay(replay.features), replay.output)
