"""Networks from weights files: recognised, described, named, refused."""

import argparse
import json
import re

import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from reflash_sr.analysis.features import list_layers
from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.commands.arguments import open_network_of
from reflash_sr.errors import UserError
from reflash_sr.positions import last_convolution
from reflash_sr.weights.network_from_file import label_of, network_settings, open_network, size_multiple


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


@pytest.mark.parametrize('network', [
    lambda: MSRResNet(num_feat=12, num_block=3, upscale=4),
    lambda: MSRResNet(num_feat=8, num_block=1, upscale=3),
    lambda: MSRResNet(num_feat=8, num_block=2, upscale=2),
    lambda: RRDBNet(3, 3, scale=4, num_feat=8, num_block=2, num_grow_ch=4),
    lambda: RRDBNet(3, 3, scale=2, num_feat=8, num_block=1, num_grow_ch=4),
    lambda: RRDBNet(3, 3, scale=1, num_feat=8, num_block=1, num_grow_ch=4),
    lambda: SRVGGNetCompact(num_feat=8, num_conv=3, upscale=4),
    lambda: SRVGGNetCompact(num_feat=4, num_conv=0, upscale=2),
    lambda: SRVGGNetCompact(num_feat=6, num_conv=1, upscale=1),
], ids=['x4', 'x3', 'x2', 'rrdb x4', 'rrdb x2', 'rrdb x1', 'compact x4', 'compact x2', 'compact x1'])
@pytest.mark.parametrize('bare', [True, False])
def test_plain_networks_are_recognised_by_their_shapes(network, bare, tmp_path):
    net = network().eval()
    state = net.state_dict()
    opened = open_network(save(tmp_path / 'some net.pth', state if bare else {'params_ema': state}))
    lq = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(opened.net(lq), net(lq))
        assert opened.net(lq).shape[-1] == 16 * opened.scale
    assert opened.label == 'some net'
    assert opened.parameters == sum(p.numel() for p in net.parameters())
    assert not opened.net.training


def test_a_file_says_what_it_is_and_how_long_it_was_trained(tmp_path):
    section = {'type': 'DropoutMSRResNet', 'num_feat': 8, 'num_block': 1, 'upscale': 4, 'dropout_p': 0.3}
    state = DropoutMSRResNet(num_feat=8, num_block=1, upscale=4).state_dict()
    path = save(tmp_path / 'x.pth', {'params': state, 'network_g': section,
                                     'trained': {'experiment': 'mine', 'iter': 7}})
    opened = open_network(path, network_g={'type': 'EDSR'})
    assert (opened.label, opened.dropout_p, opened.trained['iter']) == ('mine', 0.3, 7)
    assert open_network(path, label='yours').label == 'yours'


def test_a_file_may_say_anything_of_its_training_and_a_summary_holds_it(tmp_path):
    net = {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1}
    path = save(tmp_path / 'x.pth', {'params': MSRResNet(num_feat=8, num_block=1).state_dict(), 'network_g': net,
                                     'trained': {'iter': 7, 'options': {'a': torch.zeros(1), ('b', 2): 1}}})
    [described] = network_settings([open_network(path)])
    assert json.loads(json.dumps(described))['trained'] == {'iter': 7, 'options': {'a': 'tensor([0.])'}}


@pytest.mark.parametrize('size', [{'num_feat': 8000, 'num_block': 1}, {'num_feat': 1, 'num_block': 1000}], ids=str)
def test_a_network_of_any_size_that_a_file_claims_is_not_built(size, tmp_path):
    path = save(tmp_path / 'x.pth', {'params': {'conv_first.weight': torch.ones(1)}, 'network_g': {
        'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_grow_ch': 1, **size}})
    with pytest.raises(UserError, match=r'network_g: is larger than any network for super-resolution') as caught:
        open_network(path)
    assert '\n' not in str(caught.value)


def test_what_cannot_be_opened_is_one_line(tmp_path):
    edsr = EDSR(3, 3, num_feat=8, num_block=1)
    path = save(tmp_path / 'edsr.pth', {'params': edsr.state_dict()})
    with pytest.raises(UserError, match=r'none of RRDBNet, MSRResNet, SRVGGNetCompact; .*; give its option '
                                         'file with --opt'):
        open_network(path)
    section = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1}
    assert open_network(path, network_g=section).scale == 4
    with pytest.raises(UserError, match="has no 'params_ema' weights, only 'params'"):
        open_network(path, 'params_ema', section)
    with pytest.raises(UserError, match='does not fit EDSR'):
        open_network(path, None, {**section, 'num_block': 2})
    with pytest.raises(UserError, match='EDSR does not accept these options'):
        open_network(path, None, {**section, 'blocks': 2})
    six = MSRResNet(6, 6, num_feat=8, num_block=1)
    with pytest.raises(UserError, match='does not take an image of 3, 1 or 4 channels: '):
        open_network(save(tmp_path / 'six.pth', six.state_dict()))


@pytest.mark.parametrize('act_type', ['relu', 'leakyrelu'])
def test_what_the_weights_do_not_tell_is_asked_for(act_type, tmp_path):
    net = SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2, act_type=act_type).eval()
    path = save(tmp_path / 'x.pth', net.state_dict())
    with pytest.raises(UserError, match='whose activation, relu or leakyrelu, its weights do not tell') as caught:
        open_network(path)
    words = re.search(r'give --arch (\S+),act_type=relu$', str(caught.value))[1]
    args = argparse.Namespace(opt=None, arch=[f'{words},act_type={act_type}'], weights=[str(path)], param_key='auto')
    lq = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(open_network_of(args).net(lq), net(lq))


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('scale', [2, 4])
@pytest.mark.parametrize('cls', [MSRResNet, RRDBNet])
def test_y_rgb_and_rgba_networks_are_recognised(tmp_path, cls, scale, channels):
    options = {'upscale' if cls is MSRResNet else 'scale': scale, 'num_feat': 8, 'num_block': 1}
    found = open_network(save(tmp_path / 'x.pth', cls(channels, channels, **options).state_dict()))
    assert (found.channels, found.scale) == (channels, scale)


def test_a_network_with_other_channels_out_than_in_is_refused(tmp_path):
    path = save(tmp_path / 'x.pth', RRDBNet(3, 1, num_feat=8, num_block=1).state_dict())
    with pytest.raises(UserError, match=r'returns shape \(1, 1, .*must return a larger image with 3 channels'):
        open_network(path)


def test_names():
    assert label_of('experiments/run 1/models/net_g_5.pth', {}) == 'run 1'
    assert label_of('net_g_5.pth', {}) == 'net_g_5'
    assert label_of('net_g_5.pth', {'experiment': 'x'}) == 'x'


def test_multiples():
    assert size_multiple({'type': 'WithDropout', 'base': {'type': 'SwinIR', 'window_size': 8}}) == 8
    assert size_multiple({'type': 'DropoutRRDBNet', 'scale': 2}) == 2
    assert size_multiple({'type': 'MSRResNet'}) == 1


@pytest.mark.parametrize('window', [torch.zeros(2), 'x', -3, [8], 0])
def test_a_window_that_is_no_number_is_none(window):
    assert size_multiple({'type': 'X', 'window_size': window}) == 1


def test_a_window_that_is_not_given_is_the_classes_own():
    assert size_multiple({'type': 'SwinIR'}) == size_multiple({'type': 'DropoutSwinIR'}) == 7
    assert size_multiple({'type': 'MSRResNet'}) == size_multiple({'type': 'of somebody else'}) == 1


def test_gpus_are_not_asked_when_a_network_is_opened_on_the_cpu(tmp_path, monkeypatch):
    def refuse(*args):
        raise AssertionError('a GPU was asked')

    monkeypatch.setattr(torch.cuda, 'device_count', refuse)
    monkeypatch.setattr(torch.cuda, 'get_rng_state', refuse)
    net = MSRResNet(num_feat=8, num_block=1)
    open_network(save(tmp_path / 'x.pth', net.state_dict()))
    list_layers(net)
    last_convolution(net)


@pytest.mark.parametrize('nested', [False, True])
@pytest.mark.parametrize('base', ['x.pth', '/etc/passwd', ['x.pth'], 3])
def test_a_file_does_not_open_others_nor_itself(base, nested, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    section = {'type': 'WithDropout', 'base': base}
    section = {'type': 'WithDropout', 'base': section} if nested else section
    save(tmp_path / 'x.pth', {'params': {'conv_first.weight': torch.ones(1)}, 'network_g': section})
    with pytest.raises(UserError, match=r'^x\.pth: network_g: base: must be a section in a weights file, not '):
        open_network('x.pth')
