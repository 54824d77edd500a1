"""Weights files: what they hold, whether they fit, and writing them whole."""

import collections
import errno
import os
import zipfile

import pytest
import safetensors.torch
import torch
from basicsr.archs.swinir_arch import SwinIR

from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.errors import UserError
from reflash_sr.system import files
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.network_from_file import open_network


def network(**kwargs):
    torch.manual_seed(0)
    return DropoutMSRResNet(num_feat=4, num_block=1, **kwargs)


def file_with(content, path):
    torch.save(content, path)
    return path


@pytest.mark.parametrize(('keys', 'asked', 'taken'), [
    (('params', 'params_ema'), None, 'params_ema'),
    (('params', 'params_ema'), 'params', 'params'),
    (('params',), 'params_ema', 'params'),
    (('params_ema',), 'params', 'params_ema'),
    ((), 'params', 'bare'),
])
def test_every_usual_layout_is_read_and_says_what_was_taken(tmp_path, keys, asked, taken):
    state = network().state_dict()
    content = dict.fromkeys(keys, state) or state
    loaded = weights.load_weights(file_with(content, tmp_path / 'x.pth'), asked)
    assert loaded.key == taken
    weights.check_fit(network(), loaded)


def test_module_prefix_of_ddp_is_dropped_and_network_options_are_read(tmp_path):
    state = {f'module.{name}': value for name, value in network().state_dict().items()}
    loaded = weights.load_weights(file_with({'params': state, 'network_g': {'type': 'X'}}, tmp_path / 'x.pth'))
    assert loaded.network_g == {'type': 'X'}
    weights.check_fit(network(), loaded)


def test_weights_that_do_not_fit_are_listed(tmp_path):
    state = network().state_dict()
    state['extra'] = state.pop('conv_last.bias')
    state['conv_hr.bias'] = torch.zeros(9)
    loaded = weights.load_weights(file_with({'params': state}, tmp_path / 'x.pth'))
    with pytest.raises(UserError, match=r'x\.pth \[params\]: does not fit DropoutMSRResNet: missing conv_last\.bias, '
                       r'unexpected extra, conv_hr\.bias is \(9,\), not \(4,\)'):
        weights.check_fit(network(), loaded)


def test_weights_without_values_or_of_whole_numbers_are_refused(tmp_path):
    state = network().state_dict()
    path = file_with({'params': {**state, 'conv_hr.bias': state['conv_hr.bias'].to('meta')}}, tmp_path / 'x.pth')
    with pytest.raises(UserError, match=r'conv_hr\.bias has a shape, but no values'):
        weights.load_weights(path)
    for kind in (torch.bool, torch.int8):
        state['conv_hr.bias'] = torch.ones(4, dtype=kind)
        loaded = weights.load_weights(file_with({'params': state}, tmp_path / 'x.pth'))
        with pytest.raises(UserError, match=rf'does not fit .*: conv_hr\.bias is {kind}, not torch\.float32'):
            weights.check_fit(network(), loaded)


class Evil:

    def __reduce__(self):
        return os.mkdir, ('pwned',)


@pytest.mark.parametrize('content', [Evil(), {'params': {'a': Evil()}}, collections.UserDict()])
def test_files_that_would_run_code_are_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r'x\.pth: not a weights file that can be read safely'):
        weights.load_weights(file_with(content, tmp_path / 'x.pth'))
    assert not (tmp_path / 'pwned').exists()


@pytest.mark.parametrize('content', [{}, {'params': {}}, {'a': 3}, [torch.zeros(2)], torch.zeros(2), {'params': 3}])
def test_files_without_weights_are_refused(tmp_path, content):
    with pytest.raises(UserError, match=r'x\.pth: (no weights found|holds a)'):
        weights.load_weights(file_with(content, tmp_path / 'x.pth'))


def test_damaged_and_missing_files_are_named(tmp_path):
    path = file_with({'params': network().state_dict()}, tmp_path / 'x.pth')
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r'x\.pth: is damaged: its end is cut off'):
        weights.load_weights(path)
    for braces in ('{seed}', '{Seed}', '{}'):
        with pytest.raises(UserError, match=r"look at the path; only a study's file fills in \{seed\}, "):
            weights.load_weights(tmp_path / f'seed{braces}.pth')
    with pytest.raises(UserError, match=r'gone\.pth: no such weights file .*; look at the path$'):
        weights.load_weights(tmp_path / 'gone.pth')


def test_a_failed_write_leaves_the_earlier_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / 'x.pth'
    weights.save({'params': {'a': torch.ones(2)}}, path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(files.os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        weights.save({'params': {'a': torch.zeros(2)}}, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['x.pth']


@pytest.mark.parametrize('name', ['x.pth', 'x.state', 'x.safetensors'])
def test_what_is_saved_is_read_and_any_changed_byte_is_found(tmp_path, name):
    path = tmp_path / name
    content = {'params': {'a': torch.arange(3.0)}, 'network_g': {'type': 'X'}, 'trained': {'iter': 3}}
    weights.save(content, path)
    assert torch.equal(weights.load_file(path)['params']['a'], content['params']['a'])
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1:])
        with pytest.raises(UserError):
            weights.load_file(path)
    for cut in (whole[:-1], whole[:-64], whole[:-82], whole[:-104], whole[1:], whole + b'x', whole[:100], b''):
        path.write_bytes(cut)
        with pytest.raises(UserError):
            weights.load_file(path)


def test_plain_torch_reads_files_with_a_checksum(tmp_path):
    path = tmp_path / 'x.pth'
    weights.save({'params': network().state_dict()}, path)
    for kwargs in ({}, {'mmap': True}):
        state = torch.load(path, weights_only=True, **kwargs)['params']
        assert all(torch.equal(state[name], value) for name, value in network().state_dict().items())
    assert zipfile.ZipFile(path).testzip() is None


@pytest.mark.parametrize('keys', [('params',), ('params_ema',), ('params', 'params_ema')])
def test_safetensors_hold_what_pth_files_hold(tmp_path, keys):
    state = network().state_dict()
    content = {'network_g': {'type': 'X', 'n': [1, 2]}, 'trained': {'iter': 5}}
    content |= {key: {name: value + place for name, value in state.items()} for place, key in enumerate(keys)}
    for name in ('x.pth', 'x.safetensors'):
        weights.save(content, tmp_path / name)
    for key in keys:
        pth, st = (weights.load_weights(tmp_path / name, key) for name in ('x.pth', 'x.safetensors'))
        assert (st.key, st.network_g, st.trained) == (pth.key, pth.network_g, pth.trained)
        assert sorted(st.state_dict) == sorted(pth.state_dict)
        assert all(torch.equal(st.state_dict[name], value) for name, value in pth.state_dict.items())
    names = safetensors.torch.load_file(tmp_path / 'x.safetensors')
    assert ('conv_first.weight' in names) == (len(keys) == 1)


def test_safetensors_of_others_are_read(tmp_path):
    safetensors.torch.save_file(network().state_dict(), tmp_path / 'x.safetensors')
    assert weights.load_weights(tmp_path / 'x.safetensors').key == 'bare'


def test_claims_that_the_size_of_a_file_cannot_hold_are_refused(tmp_path):
    expanded = file_with({'params': {'a': torch.zeros(1).expand(10**12)}}, tmp_path / 'x.pth')
    with pytest.raises(UserError, match=r'x\.pth: claims a tensor of shape \(1000000000000,\)'):
        weights.load_weights(expanded)
    nested = []
    for _ in range(40):
        nested = [nested, nested]
    with pytest.raises(UserError, match=r'x\.pth: holds more than'):
        weights.load_weights(file_with({'params': {'a': torch.zeros(1)}, 'network_g': nested}, tmp_path / 'x.pth'))
    plain = zipfile.ZipFile(file_with({'params': {'a': torch.zeros(10**6)}}, tmp_path / 'plain.pth'))
    with zipfile.ZipFile(tmp_path / 'bomb.pth', 'w', zipfile.ZIP_DEFLATED) as bomb:
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    with pytest.raises(UserError, match=r'bomb\.pth: is compressed inside'):
        weights.load_weights(tmp_path / 'bomb.pth')


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, ending):
    pipe, folder, link = (tmp_path / f'{name}{ending}' for name in ('pipe', 'folder', 'link'))
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to(tmp_path / 'nowhere')
    for path, message in ((pipe, 'is a pipe'), (folder, 'is a folder'), (link, 'a link to nothing'),
                          ('/dev/zero', 'is a pipe, a socket or a device')):
        with pytest.raises(UserError, match=message):
            weights.load_weights(path)


def test_files_of_torch_before_1_6_are_read(tmp_path):
    torch.save({'params': network().state_dict()}, tmp_path / 'x.pth', _use_new_zipfile_serialization=False)
    weights.check_fit(network(), weights.load_weights(tmp_path / 'x.pth'))


def test_the_ending_follows_the_option():
    assert weights.suffix_of({}) == weights.suffix_of({'logger': {}}) == '.pth'
    assert weights.suffix_of({'logger': {'save_format': 'safetensors'}}) == '.safetensors'


def swinir(size):
    torch.manual_seed(0)
    return SwinIR(img_size=size, window_size=8, depths=[2], num_heads=[2], embed_dim=8, upscale=2,
                  upsampler='pixelshuffledirect')


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize('size', [16, 48])
def test_buffers_that_a_network_computes_are_not_compared_and_stay(tmp_path, size, strict):
    given, net = swinir(size), swinir(24)
    mask = net.layers[0].residual_group.blocks[1].attn_mask.clone()
    parameters = dict(given.named_parameters())
    for kept in (given.state_dict(), {name: value.detach() for name, value in parameters.items()}):
        path = file_with({'params': kept, 'network_g': None}, tmp_path / 'x.pth')
        loaded = weights.load_weights(path)
        weights.check_fit(net, loaded)
        found, missing = weights.load_into(net, loaded, strict)
        assert len(found) == len([*net.parameters()])
        assert not missing
        assert torch.equal(net.layers[0].residual_group.blocks[1].attn_mask, mask)
        lq = torch.rand(1, 3, 16, 24)
        with torch.no_grad():
            torch.testing.assert_close(net.eval()(lq), given.eval()(lq))
        section = {'type': 'SwinIR', 'img_size': 24, 'window_size': 8, 'depths': [2], 'num_heads': [2], 'embed_dim': 8,
                   'upscale': 2, 'upsampler': 'pixelshuffledirect'}
        assert open_network(path, network_g=section).scale == 2


def test_other_buffers_and_parameters_of_such_a_name_are_compared():
    net = torch.nn.BatchNorm2d(3)
    net.attn_mask = torch.nn.Parameter(torch.zeros(3))
    state = {name: value for name, value in net.state_dict().items() if name != 'running_mean'}
    with pytest.raises(UserError, match=r'missing running_mean, attn_mask is \(2,\), not \(3,\)'):
        weights.check_fit(net, weights.Weights('x.pth', 'bare', {**state, 'attn_mask': torch.zeros(2)}, None))


def test_weights_of_which_none_fits_are_refused_though_not_all_must(tmp_path):
    net = network()
    for state in ({'x.weight': torch.zeros(2)}, {f'{name}.x': value for name, value in net.state_dict().items()},
                  {name: torch.zeros(1, 2, 3) for name in net.state_dict()}):
        loaded = weights.load_weights(file_with({'params': state}, tmp_path / 'x.pth'))
        with pytest.raises(UserError, match=rf'x\.pth \[params\]: not one of its {len(state)} tensors fits Dropout'):
            weights.load_into(net, loaded, strict=False)
    found, missing = weights.load_into(net, weights.Weights('x', 'bare', {'conv_hr.bias': torch.ones(4)}, None), False)
    assert found == ['conv_hr.bias']
    assert len(missing) == len(net.state_dict()) - 1
    assert torch.equal(net.conv_hr.bias, torch.ones(4))
