"""Files of other kinds: read if they hold weights, else named, in one line, with what to do instead."""

import argparse
import gzip
import pathlib
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from basicsr.archs.srresnet_arch import MSRResNet

from reflash_sr.errors import UserError
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.network_from_file import open_network
from tests.fuzz.strategies import is_one_line

STATE = MSRResNet(num_feat=4, num_block=1).state_dict()


def torch_bytes(content, path):
    torch.save(content, path)
    return path.read_bytes()


def zip_bytes(path, **entries):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name.replace('_', '.'), data)
    return path.read_bytes()


def onnx_bytes(path):
    onnx = pytest.importorskip('onnx')
    from onnx import helper
    value = helper.make_tensor_value_info('x', onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node('Relu', ['x'], ['y'])], 'net', [value], [value])
    onnx.save(helper.make_model(graph, producer_name='pytorch'), path)
    return path.read_bytes()


def script_bytes(path):
    torch.jit.trace(torch.nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4)).save(path)
    return path.read_bytes()


def numpy_bytes(path, save):
    with open(path, 'wb') as file:
        save(file, **{name: value.numpy() for name, value in STATE.items()})
    return path.read_bytes()


OTHERS = {
    'empty': (lambda path: b'', 'is empty; copy or download it again'),
    'Git LFS': (lambda path: b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n', "'git lfs pull'"),
    'web page': (lambda path: b'\n<!DOCTYPE html><html><head>404</head></html>', 'is a web page, not weights'),
    'gzip': (lambda path: gzip.compress(torch_bytes(STATE, path)), 'is a packed archive; unpack it'),
    'picture': (lambda path: b'\x89PNG\r\n\x1a\n' + bytes(50), 'is a picture, not weights'),
    'ONNX': (onnx_bytes, r'is an ONNX graph, not weights; give the \.pth or \.safetensors file'),
    'TorchScript': (script_bytes, r'is a TorchScript program, not weights; save its weights: '
                    r"torch\.save\(torch\.jit\.load\('FILE'\)\.state_dict\(\), 'weights\.pth'\)"),
    'npz': (lambda path: numpy_bytes(path, np.savez), 'is an archive of NumPy arrays; save them as tensors'),
    'packed npz': (lambda path: numpy_bytes(path, np.savez_compressed), 'is an archive of NumPy arrays'),
    'npy': (lambda path: b'\x93NUMPY\x01\x00' + bytes(60), 'is a NumPy array'),
    'pickle': (lambda path: pickle.dumps({'params': 3}), r'is a Python pickle, .*torch\.save\(net\.state_dict\('),
    'zip of weights': (lambda path: zip_bytes(path, net_pth=torch_bytes(STATE, path)), r'a zip archive of net\.pth;'),
    'zip': (lambda path: zip_bytes(path, readme_txt=b'x'), 'is a zip archive, not weights; unpack it'),
    'JSON': (lambda path: b'{"metadata": {}, "weight_map": {}}', 'is JSON, not weights'),
    'network': (lambda path: torch_bytes(MSRResNet(num_feat=4, num_block=1), path),
                r'it holds Python objects \(.*, basicsr\.archs\.srresnet_arch\.MSRResNet, .* may run code; where '
                r"it was made, save the weights alone: torch\.save\(net\.state_dict\(\), 'weights\.pth'\)"),
    'network in a dict': (lambda path: torch_bytes({'model': torch.nn.Conv2d(3, 3, 1), 'epoch': 2}, path),
                          r'it holds Python objects \(.*torch\.nn\.modules\.conv\.Conv2d.*save the weights alone'),
    'network, before torch 1.6': (lambda path: (torch.save(torch.nn.Conv2d(3, 3, 1), path,
                                                           _use_new_zipfile_serialization=False), path.read_bytes())[1],
                                  'or damaged; where it was made, save the weights alone'),
    'arrays': (lambda path: torch_bytes({'params': {'a': np.zeros(3)}}, path),
               r'it holds Python objects \(numpy\._?core\.multiarray\._reconstruct, numpy\.ndarray\)'),
    'text': (lambda path: b'conv_first.weight 1 2 3\n', 'or damaged'),
}  # yapf: disable


@pytest.mark.parametrize('ending', ['.pth', '.safetensors', '.ckpt'])
@pytest.mark.parametrize('kind', OTHERS)
def test_what_is_no_weights_file_is_named_with_what_to_do(kind, ending, tmp_path):
    make, message = OTHERS[kind]
    path = tmp_path / f'x{ending}'
    path.write_bytes(make(tmp_path / 'made'))
    with pytest.raises(UserError, match=message) as caught:
        weights.load_weights(path)
    assert is_one_line(caught.value, f'{path}: ')
    assert '\\x1b' not in str(caught.value)


@pytest.mark.parametrize('ending', ['.pth', '.pt', '.ckpt', '.bin', '.pkl', '.tar', '.safetensors', ''])
@pytest.mark.parametrize('save', [torch.save, safetensors.torch.save_file, weights.save], ids=['torch', 'st', 'ours'])
def test_weights_are_read_by_what_they_are_whatever_the_ending(save, ending, tmp_path):
    if save is weights.save:
        save({'params': STATE}, tmp_path / 'made.pth')
    else:
        save(STATE, tmp_path / 'made.pth')
    path = (tmp_path / 'made.pth').rename(tmp_path / f'some net{ending}')
    assert open_network(path).network_g['type'] == 'MSRResNet'


def test_settings_and_paths_beside_the_weights_do_no_harm(tmp_path, monkeypatch):
    name = 'pytorch_lightning.utilities.parsing'
    parsing = types.ModuleType(name)
    parsing.AttributeDict = type('AttributeDict', (dict,), {'__module__': name})
    for module in (name, 'pytorch_lightning.utilities', 'pytorch_lightning'):
        monkeypatch.setitem(sys.modules, module, parsing)
    settings = parsing.AttributeDict(lr=1e-4, size=(3, np.int64(4)))
    content = {'state_dict': STATE, 'hyper_parameters': settings, 'args': argparse.Namespace(name='x', out=None),
               'best': pathlib.PurePosixPath('a') / 'b.ckpt'}
    torch.save(content, tmp_path / 'x.ckpt')
    loaded = weights.load_file(tmp_path / 'x.ckpt')
    assert loaded['hyper_parameters'] == {'lr': 1e-4, 'size': (3, 4)}
    assert loaded['args'] == {'name': 'x', 'out': None}
    assert loaded['best'] == 'a/b.ckpt'
    assert weights.load_weights(tmp_path / 'x.ckpt').key == 'state_dict'
