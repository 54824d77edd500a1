"""``base: FILE``: the network of a file, whatever it is, trained further with dropout; its checkpoints need no file."""

from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.models import build_model

from reflash_sr import cli
from reflash_sr.archs import DropoutMSRResNet, WithDropout
from reflash_sr.dropout import DropoutHook, drop_rate
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.network_from_file import open_network, size_multiple
from tests.weights.community import save_community

pytestmark = [pytest.mark.usefixtures('in_tmp_path'), pytest.mark.filterwarnings('ignore::UserWarning')]


def save_own(name):
    torch.manual_seed(0)
    net = {'MSRResNet': lambda: MSRResNet(num_feat=8, num_block=1), 'RRDBNet x2': lambda: RRDBNet(
        3, 3, scale=2, num_feat=8, num_block=1, num_grow_ch=4)}[name]()
    path = Path('base file.pth')
    torch.save({'params': MSRResNet(num_feat=8, num_block=1).state_dict(), 'params_ema': net.state_dict()}
               if name == 'MSRResNet' else net.state_dict(), path)
    return path


def train(options, *more, **changes):
    options = {**options, 'network_g': {'type': 'WithDropout', **changes}}
    Path('fine.yml').write_text(yaml.safe_dump(options), encoding='utf-8')
    return cli.main(['train', '-opt', 'fine.yml', *more])


@pytest.fixture
def short(training_options):
    training_options['train'] |= {'total_iter': 1, 'optim_g': {'type': 'Adam', 'lr': 0.0}}
    training_options['logger'] = {'print_freq': 1, 'save_checkpoint_freq': 1}
    training_options |= {'val': None}
    training_options['datasets'].pop('val')
    return training_options


@pytest.mark.parametrize('name', ['SAFMN', 'SPAN', 'MSRResNet'])
def test_training_begins_with_the_weights_of_the_file_and_its_checkpoint_stands_alone(name, short, tmp_path, capfd):
    path = save_own(name) if name == 'MSRResNet' else save_community(tmp_path, name)
    before = open_network(path)
    assert train(short, base=str(path), dropout_p=0.5) == 0
    assert f'from {path}, key [params_ema]' in capfd.readouterr().err
    path.unlink()
    after = open_network('experiments/tiny/models/net_g_1.pth', 'params')
    assert after.network_g == {'type': 'WithDropout', 'base': before.network_g, 'dropout_p': 0.5}
    assert (after.dropout_p, after.scale, after.channels, after.multiple) == (0.5, 4, 3, before.multiple)
    lq = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(after.net(lq), before.net(lq))  # lr: 0 leaves the weights as they were

    # The run goes on without the file, and not without its checkpoints.
    short['train']['total_iter'] = 2
    assert train(short, '--auto_resume', base=str(path), dropout_p=0.5) == 0
    assert open_network('experiments/tiny/models/net_g_2.pth').network_g == after.network_g


def test_a_checkpoint_is_tested_without_the_file_with_which_its_training_began(short, image_folder):
    path = save_own('MSRResNet')
    assert train(short, base=str(path), dropout_p=0.5) == 0
    path.unlink()
    Path('test.yml').write_text(yaml.safe_dump({
        'name': 'tested', 'model_type': 'ReflashSRModel', 'scale': 4, 'num_gpu': 0, 'dist_params': None,
        'network_g': {'type': 'WithDropout', 'base': str(path), 'dropout_p': 0.5},
        'path': {'pretrain_network_g': 'experiments/tiny/models/net_g_1.pth'},
        'datasets': {'test': {'type': 'DegradationTestDataset', 'dataroot_gt': str(image_folder)}},
        'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}}}), encoding='utf-8')
    assert cli.main(['test', '-opt', 'test.yml']) == 0


def test_a_file_that_is_gone_is_said_and_nothing_is_written(short, capsys):
    assert train(short, base='gone.pth') == 2
    assert 'fine.yml: network_g: base: gone.pth: no such weights file' in capsys.readouterr().err
    assert not Path('experiments').exists()


def test_pretrained_weights_of_ones_own_replace_those_of_the_file(short, tmp_path):
    path = save_community(tmp_path, 'SPAN')
    other = {name: 2 * value for name, value in torch.load(path)['params_ema'].items()}
    torch.save(other, 'other.pth')
    short['path'] = {'pretrain_network_g': 'other.pth'}
    assert train(short, base=str(path), dropout_p=0) == 0
    state = weights.load_weights('experiments/tiny/models/net_g_1.pth', 'params').state_dict
    assert all(torch.equal(state[name], value) for name, value in other.items() if 'eval_conv' not in name)


def test_the_scale_of_the_file_is_that_of_the_run(short, capsys):
    assert train(short, base=str(save_own('RRDBNet x2'))) == 2
    assert 'network_g: returns' in capsys.readouterr().err
    assert not Path('experiments').exists()


def test_home_and_relative_paths(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    path = save_own('RRDBNet x2')
    for name in (str(path), f'~/{path}', path):
        net = WithDropout(base=name, dropout_p=0.5)
        assert net.training and all(parameter.requires_grad for parameter in net.parameters())
    assert size_multiple({'type': 'WithDropout', 'base': str(path)}) == 2


def test_without_our_pipeline_a_checkpoint_stands_alone_too(short, tmp_path):
    path = save_community(tmp_path, 'SPAN')
    short |= {'network_g': {'type': 'WithDropout', 'base': str(path), 'dropout_p': 0.5}, 'is_train': True, 'rank': 0,
              'dist': False, 'path': {'models': str(tmp_path)}, 'world_size': 1}
    model = build_model(short)
    model.save_network(model.net_g, 'net_g', 1)
    before = open_network(path).net.state_dict()
    path.unlink()
    after = open_network(tmp_path / 'net_g_1.pth')
    assert after.network_g['base']['architecture'] == 'SPAN'
    assert all(torch.equal(before[name], value) for name, value in after.net.state_dict().items())


def test_new_dropout_replaces_that_of_the_file():
    net = DropoutMSRResNet(num_feat=8, num_block=1, dropout_p=0.7)
    weights.save({'params': net.state_dict(), 'network_g': {'type': 'DropoutMSRResNet', 'num_feat': 8, 'num_block': 1,
                                                            'dropout_p': 0.7}}, 'own.pth')
    once = WithDropout(base='own.pth', dropout_p=0.2, dropout_position='B1')
    assert drop_rate(once) == 0.2
    section = {'type': 'WithDropout', 'base': {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1}, 'dropout_p': 0.7}
    weights.save({'params': net.state_dict(), 'network_g': section}, 'own.pth')
    twice = WithDropout(base='own.pth', dropout_p=0.2)
    hooks = [hook for module in twice.modules() for hook in module._forward_pre_hooks.values()]
    assert [hook.p for hook in hooks if isinstance(hook, DropoutHook)] == [0.2]
