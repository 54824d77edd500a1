"""Weights files: what they hold, whether they fit, and writing them whole."""

import collections
import errno
import os

import pytest
import torch

from reflash_sr import files, weights
from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.errors import UserError


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
    with pytest.raises(UserError, match=r'x\.pth: not a weights file'):
        weights.load_weights(path)
    with pytest.raises(UserError, match=r'gone\.pth: no such weights file'):
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
