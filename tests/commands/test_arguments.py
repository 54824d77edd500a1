"""Arguments that the tools share: one network, with other dropout than it was trained with."""

import argparse

import pytest
import torch

from reflash_sr.commands.arguments import add_device_arguments, add_network_arguments, open_device, open_network_of
from reflash_sr.errors import UserError
from reflash_sr.evaluation.mc_dropout import has_dropout
from reflash_sr.system.devices import allow_tf32, exact_float32
from reflash_sr.weights.network_from_file import build_network
from tests.conftest import TINY_NETWORK

PLAIN = {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1, 'upscale': 4}


def opened(path, *more):
    parser = argparse.ArgumentParser()
    add_network_arguments(parser, several=False)
    return open_network_of(parser.parse_args(['--weights', str(path), *more]))


@pytest.fixture(params=['says what it is', 'bare', 'trained with dropout'])
def weights_file(request, tmp_path):
    section = dict(TINY_NETWORK) if request.param == 'trained with dropout' else PLAIN
    content = {'params': build_network(section).state_dict(), 'network_g': section}
    torch.save(content['params'] if request.param == 'bare' else content, tmp_path / 'w.pth')
    return tmp_path / 'w.pth'


@pytest.mark.parametrize('arch', ['WithDropout:dropout_p=0.3', 'DropoutMSRResNet:dropout_p=0.3'])
def test_dropout_is_given_to_any_file_and_changes_no_result(weights_file, arch):
    before, after = opened(weights_file), opened(weights_file, '--arch', arch)
    assert has_dropout(after.net)
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(before.net(x), after.net(x))
    assert not after.net.training
    assert after.dropout_p == 0.3


def test_dropout_is_taken_away(weights_file):
    assert not has_dropout(opened(weights_file, '--arch', 'DropoutMSRResNet:dropout_p=0').net)


def test_another_network_is_refused_in_one_line(weights_file):
    for arch in ('SwinIR', 'RRDBNet:num_in_ch=3,num_out_ch=3,num_feat=8,num_block=1', 'Unknown'):
        with pytest.raises(UserError):
            opened(weights_file, '--arch', arch)


def test_dropout_for_a_network_that_is_not_known_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr('reflash_sr.weights.spandrel_networks.available', lambda: False)
    torch.save({'conv.weight': torch.zeros(3, 3, 3, 3)}, tmp_path / 'w.pth')
    with pytest.raises(UserError, match=r'w\.pth: does not say what network it holds.*pip install'):
        opened(tmp_path / 'w.pth', '--arch', 'WithDropout:dropout_p=0.5')


@pytest.mark.parametrize('arch', ['MSRResNet', 'MSRResNet:num_feat=8,num_block=1'])
def test_weights_go_into_the_plain_class(weights_file, arch):
    network = opened(weights_file, '--arch', arch)
    assert type(network.net).__name__ == 'MSRResNet'
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(network.net(x), opened(weights_file).net(x))


def test_arguments_may_be_lists(tmp_path):
    section = {'type': 'SwinIR', 'upscale': 4, 'img_size': 8, 'window_size': 4, 'depths': [1, 1], 'num_heads': [1, 1],
               'embed_dim': 8, 'mlp_ratio': 1, 'upsampler': 'pixelshuffledirect'}
    torch.save(build_network(section).state_dict(), tmp_path / 'w.pth')
    told = ','.join(f'{key}={value}'.replace(' ', '') for key, value in section.items() if key != 'type')
    assert opened(tmp_path / 'w.pth', '--arch', f'SwinIR:{told}').network_g == section


def test_any_key_of_a_file_may_be_named(tmp_path):
    states = {key: {f'net_g.{name}': value + place for name, value in build_network(PLAIN).state_dict().items()}
              for place, key in enumerate(('state_dict', 'of mine', 'params'))}
    torch.save(states, tmp_path / 'w.pth')
    for key, state in states.items():
        network = opened(tmp_path / 'w.pth', '--param_key', key)
        assert network.key == key
        assert torch.equal(network.net.conv_hr.bias, state['net_g.conv_hr.bias'])
    assert opened(tmp_path / 'w.pth', '--param_key', 'auto').key == opened(tmp_path / 'w.pth').key == 'params'
    with pytest.raises(UserError, match="has no 'prams' weights, only 'state_dict', 'of mine', 'params'"):
        opened(tmp_path / 'w.pth', '--param_key', 'prams')
    with pytest.raises(UserError, match='--param_key: both is for tools that compare networks; name one key'):
        opened(tmp_path / 'w.pth', '--param_key', 'both')


@pytest.mark.parametrize(('given', 'allowed'), [([], False), (['--allow_tf32'], True)])
def test_float32_is_exact_unless_asked(given, allowed):
    parser = argparse.ArgumentParser()
    add_device_arguments(parser)
    with exact_float32():
        allow_tf32(not allowed)
        open_device(parser.parse_args(['--device', 'cpu', *given]))
        assert torch.backends.cudnn.allow_tf32 is allowed
