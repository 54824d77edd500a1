"""bundled:NAME: the networks that come with the package, wherever a weights file may stand."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import reflash_sr
from reflash_sr import cli
from reflash_sr.commands import upscale
from reflash_sr.errors import UserError
from reflash_sr.system import shipped_files
from reflash_sr.weights.bundled import SCHEME, bundled_weights, real_path
from reflash_sr.weights.network_from_file import open_network
from reflash_sr.weights.state_dict import load_weights
from tests.conftest import fill

NAME = 'srresnet32x8_p0_seed0'
BUNDLED = SCHEME + NAME
NETWORK = {'type': 'DropoutMSRResNet', 'num_feat': 32, 'num_block': 8, 'upscale': 4, 'dropout_p': 0.7}

pytestmark = pytest.mark.usefixtures('in_tmp_path')


@pytest.fixture
def options(training_options):
    """Training for one step of 0."""
    training_options['train'] |= {'total_iter': 1, 'optim_g': {'type': 'Adam', 'lr': 0.0}}
    training_options |= {'network_g': dict(NETWORK), 'val': None, 'path': {'pretrain_network_g': BUNDLED}}
    training_options['logger']['save_checkpoint_freq'] = 1
    del training_options['datasets']['val']
    return training_options


def train(options, *more):
    Path('x.yml').write_text(yaml.safe_dump(options), encoding='utf-8')
    return cli.main(['train', '-opt', 'x.yml', *more])


def trained():
    return torch.load('experiments/tiny/models/net_g_latest.pth', weights_only=True)


def test_a_name_is_a_file_and_every_other_path_stays():
    for name, path in bundled_weights().items():
        assert path.is_file()
        assert real_path(SCHEME + name) == str(path)
    for path in ('a.pth', Path('b.pth'), NAME, f'{SCHEME}unknown', ''):
        assert real_path(path) == path


def test_a_wheel_has_its_own_copies(tmp_path, monkeypatch):
    (tmp_path / 'shipped').mkdir()
    for path in shipped_files.shipped_files():
        shutil.copy(path, tmp_path / 'shipped')
    before = bundled_weights()
    monkeypatch.setattr(shipped_files, 'PACKAGE', tmp_path)
    assert bundled_weights() == {name: tmp_path / 'shipped' / path.name for name, path in before.items()}


@pytest.mark.parametrize(('name', 'near'), [('srresnet32x8_p0_seed1', "did you mean 'srresnet32x8_p0_seed0'?"),
                                            ('zzz', 'come with the package; write bundled:'), ('', 'write bundled:')])
def test_an_unknown_name_is_one_line_with_the_names_there_are(name, near, capsys):
    with pytest.raises(UserError) as caught:
        load_weights(SCHEME + name)
    assert str(caught.value).startswith(f'{SCHEME}{name}: ')
    assert near in str(caught.value)
    assert all(SCHEME + one in str(caught.value) for one in bundled_weights())
    fill(Path('photos'), 1, 16)
    assert upscale.main(['--weights', SCHEME + name, '--input', 'photos', '--output', 'out']) == 2
    assert near in capsys.readouterr().err
    assert not Path('out').exists()


def test_functions_and_tools_take_the_name_and_say_the_path():
    assert reflash_sr.upscale(BUNDLED, np.zeros((8, 8, 3), np.uint8)).shape == (32, 32, 3)
    network = reflash_sr.open_network(BUNDLED)
    assert network.path == str(bundled_weights()[NAME])
    fill(Path('photos'), 1, 16)
    assert upscale.main(['--weights', BUNDLED, '--input', 'photos', '--output', 'out']) == 0
    assert list(Path('out').iterdir())


def test_training_begins_with_the_weights_in_both_copies_and_says_where_they_are(options, capsys):
    options['path']['param_key_g'] = 'params_ema'
    assert train(options) == 0
    given = load_weights(BUNDLED).state_dict
    for key in ('params', 'params_ema'):
        assert all(torch.allclose(trained()[key][name], value) for name, value in given.items())
    said = ''.join(path.read_text(encoding='utf-8') for path in Path('experiments/tiny').glob('train*.log'))
    assert f'Training begins from {bundled_weights()[NAME]}.' in said
    assert f'from {bundled_weights()[NAME]}, key [params_ema]' in said


def test_force_yml_takes_the_name_and_random_weights_are_said(options):
    options['path'] = {}
    assert train(options) == 0
    log = next(Path('experiments/tiny').glob('train*.log')).read_text(encoding='utf-8')
    assert 'Training begins from random weights.' in log
    options['name'] = 'forced'
    assert train(options, '--force_yml', f'path:pretrain_network_g={BUNDLED}') == 0


def test_a_base_may_be_bundled_and_a_run_continues_without_the_file(options, monkeypatch):
    options |= {'network_g': {'type': 'WithDropout', 'base': BUNDLED, 'dropout_p': 0.5}, 'path': {}}
    assert train(options) == 0
    given = load_weights(BUNDLED).state_dict
    assert all(torch.allclose(trained()['params'][name], value) for name, value in given.items())
    assert open_network('experiments/tiny/models/net_g_latest.pth').network_g['base']['num_block'] == 8
    monkeypatch.setattr(shipped_files, 'PACKAGE', Path('nowhere').absolute())
    options['train']['total_iter'] = 2
    assert train(options, '--auto_resume') == 0
    assert trained()['trained']['iter'] == 2


@pytest.mark.parametrize(('path', 'network', 'message'), [
    (f'{BUNDLED}x', {}, f"{BUNDLED}x: no weights of this name come with the package; write {SCHEME}"),
    ('gone.pth', {}, 'gone.pth: no such weights file'),
    (BUNDLED, {'num_block': 4}, '.pth [params_ema]: does not fit DropoutMSRResNet: unexpected body.4.conv1.weight'),
    (BUNDLED, {'upscale': 2}, '.pth [params_ema]: does not fit DropoutMSRResNet: unexpected upconv2.weight'),
])
def test_weights_that_cannot_be_begun_with_are_one_line_before_anything_is_written(path, network, message, options,
                                                                                  capfd):
    options['path']['pretrain_network_g'] = path
    options['network_g'] |= network
    options['scale'] = network.get('upscale', 4)
    assert train(options) == 2
    error = capfd.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert message in error
    assert not Path('experiments').exists()
