"""Pretrained weights under our model and BasicSR's own: which are loaded, how many, and what is refused beforehand."""

from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.swinir_arch import SwinIR
from basicsr.models.base_model import BaseModel

from reflash_sr import cli
from reflash_sr.weights import state_dict as weights
from tests.weights.old_networks import OldestRRDBNet, OldMSRResNet

pytestmark = pytest.mark.usefixtures('in_tmp_path')

MSRRESNET = {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 2, 'upscale': 4}
RRDBNET = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 2, 'num_grow_ch': 4}
SWINIR = {'type': 'SwinIR', 'img_size': 16, 'window_size': 8, 'depths': [2], 'num_heads': [2], 'embed_dim': 8,
          'upscale': 4, 'upsampler': 'pixelshuffle'}  # yapf: disable
MODELS = ('ReflashSRModel', 'SRModel')


def state_of(seed=0, build=lambda: MSRResNet(num_feat=8, num_block=2)):
    torch.manual_seed(seed)
    return build().state_dict()


@pytest.fixture
def train(training_options, capfd):
    """A function that trains for one iteration, with a learning rate of 0; returns status, output and weights."""

    def run(content, network_g=MSRRESNET, model='ReflashSRModel', **path):
        torch.save(content, 'given.pth')
        opt = {**training_options, 'model_type': model, 'network_g': network_g, 'val': None,
               'path': {'pretrain_network_g': 'given.pth', **path}}
        opt['train'] = {**opt['train'], 'total_iter': 1, 'optim_g': {'type': 'Adam', 'lr': 0.0}}
        del opt['datasets']['val']
        Path('x.yml').write_text(yaml.safe_dump(opt), encoding='utf-8')
        status = cli.main(['train', '-opt', 'x.yml'])
        end = Path('experiments/tiny/models/net_g_latest.pth')
        return status, capfd.readouterr().err, torch.load(end, weights_only=True) if end.exists() else None

    return run


def same(given, trained):
    return all(torch.allclose(value, trained[name]) for name, value in given.items() if 'attn_mask' not in name)


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize(('content', 'network', 'key'), [
    (state_of(build=OldestRRDBNet), RRDBNET, 'bare'),
    ({'state_dict': state_of(build=OldMSRResNet)}, MSRRESNET, 'state_dict'),
    ({'params': {f'module._orig_mod.{name}': value for name, value in state_of().items()}}, MSRRESNET, 'params'),
    ({'params': state_of(build=lambda: SwinIR(**{**SWINIR, 'img_size': 24}))}, SWINIR, 'params'),
])
def test_files_of_other_projects_are_what_training_begins_with(model, content, network, key, train):
    status, output, trained = train(content, network, model)
    assert status == 0, output
    assert f"Loading {network['type']} from" in output
    assert f'key [{key}]' in output
    plain = weights.load_weights('given.pth').state_dict
    assert same(plain, trained['params'])
    assert same(plain, trained['params_ema'])
    assert BaseModel.load_network.__module__.startswith('basicsr')  # restored


@pytest.mark.parametrize('model', MODELS)
def test_some_of_the_weights(model, train):
    given = state_of()
    given['conv_last.weight'] = torch.zeros(1, 8, 3, 3)
    status, output, trained = train({'params': given}, model=model, strict_load_g=False)
    assert status == 0, output
    assert 'strict_load_g: false: 17 of 18 tensors loaded' in output
    assert 'strict_load_g: false: conv_last.weight is (1, 8, 3, 3), not (3, 8, 3, 3)' in output
    given.pop('conv_last.weight')
    assert same(given, trained['params'])


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize(('content', 'path', 'message'), [
    ({'params': {'of.another.weight': torch.zeros(3)}}, {'strict_load_g': False},
     'given.pth [params]: not one of its 1 tensors fits MSRResNet: missing conv_first.weight'),
    ({'params': state_of(), 'params_ema': state_of()}, {'param_key_g': 'prams'},
     "given.pth: has no 'prams' weights, only 'params', 'params_ema'"),
    (state_of(), {'param_key_g': 'params'}, "given.pth: has no 'params' weights, only 'bare'"),
    ({'params_ema': state_of()}, {'param_key_g': 'params'}, "given.pth: has no 'params' weights, only 'params_ema'"),
    ({'params': state_of()}, {'param_key_g': 'params_ema'}, "given.pth: has no 'params_ema' weights, only 'params'"),
    ({'a': state_of(), 'b': state_of()}, {}, "given.pth: holds the weights of several networks: 'a', 'b'; say which"),
    (state_of(build=lambda: OldestRRDBNet(steps=3)), {}, 'it is an ESRGAN network with 3 upsampling steps'),
])
def test_what_cannot_be_loaded_is_refused_before_anything_is_written(model, content, path, message, train):
    status, output, _ = train(content, model=model, **path)
    assert (status, message in output) == (2, True), output
    assert len(output.strip().splitlines()) == 1
    assert not Path('experiments').exists()


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize(('content', 'path', 'of_trained', 'of_averaged'), [
    ({'params': state_of(1), 'params_ema': state_of(2)}, {}, 1, 2),
    ({'params': state_of(1), 'params_ema': state_of(2)}, {'param_key_g': 'params_ema'}, 2, 2),
    ({'params': state_of(1), 'state_dict': state_of(2)}, {'param_key_g': 'state_dict'}, 2, 2),
    ({'a': state_of(1), 'b': state_of(2)}, {'param_key_g': 'b'}, 2, 2),
    (state_of(1), {'param_key_g': None}, 1, 1),
])
def test_a_named_key_is_taken_and_the_average_begins_with_its_own_or_the_same(model, content, path, of_trained,
                                                                              of_averaged, train):
    status, output, trained = train(content, model=model, **path)
    assert status == 0, output
    assert same(state_of(of_trained), trained['params'])
    averaged = {name: 0.9 * value + 0.1 * state_of(of_trained)[name] for name, value in state_of(of_averaged).items()}
    assert same(averaged, trained['params_ema'])  # after one step, with ema_decay: 0.9
