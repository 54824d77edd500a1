"""What a checkpoint says that it was trained with: the same for the same training, and for no other."""

import copy
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.utils.registry import DATASET_REGISTRY

from reflash_sr import cli
from reflash_sr.options import check_options
from reflash_sr.options import option_file as options
from reflash_sr.options.training_record import describe, differences, read_record, training_record, without_dropout
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.network_from_file import build_network, open_network
from tests.conftest import fill

pytestmark = pytest.mark.usefixtures('in_tmp_path')


def expanded(opt, world_size=1, force=()):
    opt = copy.deepcopy(opt)
    options.force(opt, force)
    check_options.check(opt, 'x.yml', is_train=True)
    opt.update(dist=world_size > 1, rank=0, world_size=world_size)
    options.expand(opt, '.', is_train=True, world_size=world_size)
    return opt


def record(opt, *force, world_size=1):
    opt = expanded(opt, world_size, force)
    section = opt['datasets']['train']
    return training_record(opt, DATASET_REGISTRY.get(section['type'])(section))


def train(opt, *more):
    Path('run.yml').write_text(yaml.safe_dump(opt), encoding='utf-8')
    assert cli.main(['train', '-opt', 'run.yml', *more]) == 0


@pytest.fixture
def short(training_options):
    """A run of two iterations, without validation."""
    training_options['train']['total_iter'] = 2
    training_options['train']['scheduler']['periods'] = [6]
    training_options['logger'] = {'print_freq': 1, 'save_checkpoint_freq': 1}
    training_options['datasets'].pop('val')
    return training_options | {'val': None}


@pytest.mark.parametrize('change', [
    'name=other', 'manual_seed=8', 'num_gpu=0', 'device=cpu', 'channels_last=true', 'val=~', 'logger:print_freq=9',
    'datasets:train:name=mine', 'datasets:train:num_worker_per_gpu=1', 'datasets:train:dataset_enlarge_ratio=7',
    'datasets:train:pairs_cache=cache', 'datasets:train:gt_usm=true', 'datasets:train:use_hflip=true',
    'datasets:train:color=~', 'datasets:train:jpeg_range=[30, 95]', 'train:optim_g:betas=[0.9, 0.999]',
    'train:optim_g:weight_decay=0', 'train:pixel_opt:reduction=mean', 'train:perceptual_opt=~', 'train:warmup_iter=-1',
    'train:total_iter=6.0', 'train:accumulate=2', 'train:detect_anomaly=true', 'network_g:dropout_p=0.1', 'amp=~',
    'allow_tf32=true',
    'path={pretrain_network_g: ~, param_key_g: params}', 'datasets:train:meta_info=~'])
def test_what_changes_no_training_changes_no_record(training_options, change):
    assert record(training_options, change) == record(training_options)


@pytest.mark.parametrize(('change', 'key', 'values'), [
    ('datasets:train:gt_usm=false', 'datasets:train:gt_usm', (True, False)),
    ('datasets:train:jpeg_range2=[30, 90]', 'datasets:train:jpeg_range2', ([30, 95], [30, 90])),
    ('datasets:train:total_batch_size=4', 'datasets:train:total_batch_size', (2, 4)),
    ('train:optim_g:lr=2e-4', 'train:optim_g:lr', (1e-3, 2e-4)),
    ('train:grad_clip=0.5', 'train:grad_clip', (None, 0.5)), ('amp=bf16', 'amp', (None, 'bf16')),
    ('allow_tf32=false', 'allow_tf32', (None, False)),
    ('train:ema_decay=0.95', 'train:ema_decay', (0.9, 0.95)), ('train:total_iter=4', 'train:total_iter', (6, 4)),
    ('train:pixel_opt:type=MSELoss', 'train:pixel_opt:type', ('L1Loss', 'MSELoss'))])
def test_what_changes_the_training_is_named_with_both_values(training_options, change, key, values):
    assert differences(record(training_options), record(training_options, change)) == {key: values}


def test_several_processes_that_share_the_batch_are_the_same_training(training_options):
    alone = record(training_options)
    assert alone['datasets:train:total_batch_size'] == 2
    assert record(training_options, world_size=2) == alone
    del training_options['datasets']['train']['total_batch_size']
    training_options['datasets']['train']['batch_size_per_gpu'] = 2
    assert record(training_options) == alone


def test_data_are_told_by_names_and_sizes_not_by_their_place(training_options, image_folder, tmp_path):
    before = record(training_options)
    assert before['datasets:train:images'] == 4
    folder = shutil.copytree(image_folder, tmp_path / 'elsewhere')
    there = f'datasets:train:dataroot_gt={folder}'
    assert record(training_options, there) == before
    (folder / 'c.jpg').rename(folder / 'e.jpg')
    assert [*differences(before, record(training_options, there))] == ['datasets:train:files']
    (folder / 'e.jpg').unlink()
    assert record(training_options, there)['datasets:train:images'] == 3
    Path('list.txt').write_text('a 1.png\nb 2.png\n', encoding='utf-8')
    listed = record(training_options, 'datasets:train:meta_info=list.txt')
    assert listed['datasets:train:images'] == 2 and not [key for key in listed if 'meta_info' in key]
    photos = record(training_options, 'datasets:train:dataroot_gt=photos:train')
    assert photos['datasets:train:images'] == 16 and photos['datasets:train:files'] != before['datasets:train:files']


def test_pairs_of_basicsr_are_told_by_both_folders(training_options, image_folder, tmp_path):
    fill(tmp_path / 'hr', 2, 32)
    fill(tmp_path / 'lr', 2, 8)
    training_options['datasets']['train'] = {
        'type': 'PairedImageDataset', 'dataroot_gt': str(tmp_path / 'hr'), 'dataroot_lq': str(tmp_path / 'lr'),
        'gt_size': 32, 'use_hflip': True, 'use_rot': False, 'io_backend': {'type': 'disk'}, 'total_batch_size': 2,
        'num_worker_per_gpu': 0}  # yapf: disable
    before = record(training_options)
    assert before['datasets:train:images'] == 2 and before['datasets:train:type'] == 'PairedImageDataset'
    with open(tmp_path / 'lr' / '0.png', 'ab') as file:
        file.write(b' ')
    assert [*differences(before, record(training_options))] == ['datasets:train:files']


def test_a_file_of_real_esrgan_and_ours_are_the_same_training(training_options):
    ours = record(training_options, 'datasets:train:gt_usm=false', 'datasets:train:jpeg_range=[50, 95]')
    training_options['datasets']['train'].update(type='RealESRGANDataset', io_backend={'type': 'disk'})
    assert record(training_options | {'gt_usm': False, 'jpeg_range': [50, 95], 'queue_size': 180}) == ours


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_every_checkpoint_has_it_and_safe_loading_reads_it(short, ending):
    short['logger']['save_format'] = ending
    train(short)
    for name in ('net_g_1', 'net_g_2', 'net_g_latest'):
        found = weights.load_weights(f'experiments/tiny/models/{name}.{ending}').trained['options']
        assert found == record(short)
    assert open_network(f'experiments/tiny/models/net_g_2.{ending}').record == found


def test_it_says_with_which_weights_training_began_and_keeps_that_when_a_run_goes_on(short, tmp_path):
    train(short)
    shutil.copy('experiments/tiny/models/net_g_2.pth', 'base.pth')
    fine = {**short, 'name': 'fine', 'path': {'pretrain_network_g': 'base.pth', 'param_key_g': 'params_ema'}}
    train(fine)
    one = open_network('experiments/fine/models/net_g_2.pth')
    found = {key: value for key, value in one.record.items() if key.startswith('path:')}
    assert found == {'path:pretrain_network_g': open_network('base.pth').sha256, 'path:param_key_g': 'params_ema'}
    os.remove('experiments/fine/training_states/2.state')
    train(fine, '--auto_resume')
    assert open_network('experiments/fine/models/net_g_2.pth').record == one.record
    fine['train'] = {**fine['train'], 'total_iter': 3}
    train(fine, '--auto_resume')
    assert open_network('experiments/fine/models/net_g_3.pth').record == one.record | {'train:total_iter': 3}
    again = {**fine, 'name': 'again', 'manual_seed': 7, 'network_g': {**fine['network_g'], 'dropout_p': 0.1},
             'path': {'resume_state': 'experiments/fine/training_states/3.state'},
             'train': {**fine['train'], 'total_iter': 4, 'grad_clip': 0.5}}
    train(again)
    last = open_network('experiments/again/models/net_g_4.pth').record
    assert last == one.record | {'train:total_iter': 4, 'train:grad_clip': 0.5, 'until 3:train:grad_clip': None,
                                 'until 3:network_g:dropout_p': 0.5, 'until 3:manual_seed': 3}


def test_a_run_that_goes_on_from_a_file_without_a_record_has_none(short):
    train(short)
    state = weights.load_file('experiments/tiny/training_states/2.state')
    state.pop('options')
    weights.save(state, 'experiments/tiny/training_states/2.state')
    short['train']['total_iter'] = 3
    train(short, '--auto_resume')
    assert open_network('experiments/tiny/models/net_g_3.pth').record is None


def test_a_record_from_before_a_key_is_that_of_its_default():
    old = {'datasets:train:gt_usm': True}
    assert read_record(old | {'datasets:train:second_lq': False}) == read_record(old) == old
    assert read_record(old | {'datasets:train:second_lq': True}) != old


def test_a_network_is_the_same_with_and_without_its_dropout():
    plain = {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1}
    same = [plain | {'num_in_ch': 3, 'upscale': 4}, plain | {'type': 'DropoutMSRResNet', 'dropout_p': 0.5},
            {'type': 'WithDropout', 'base': plain, 'dropout_p': 0.5, 'dropout_position': 'B1'}]
    assert all(without_dropout(one) == without_dropout(plain) == plain for one in same)
    assert without_dropout(plain | {'num_block': 2}) != plain


def test_a_file_may_call_anything_its_record(tmp_path):
    net = {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1}
    for value in ('text', [1], None, {'a': [1, {'b': torch.zeros(3)}], 2: {}}):
        torch.save({'params': build_network(net).state_dict(), 'network_g': net, 'trained': {'options': value}},
                   tmp_path / 'w.pth')
        found = open_network(tmp_path / 'w.pth').record
        assert found is None or describe(differences(found, {})) == 'a ([1, "{\'b\': tenso…, default), 2 ({}, default)'


def test_differences_are_said_on_one_line():
    found = differences({'datasets:train:gt_usm': True, 'a': 1, 'path:pretrain_network_g': 'f' * 64},
                        {'datasets:train:gt_usm': False, 'a': 2.5})
    assert describe(found) == ('datasets:train:gt_usm (true, false), a (1, 2.5), path:pretrain_network_g '
                               '(ffffffffffffffff…, none)')
    assert describe({str(i): (1, 2) for i in range(9)}).endswith('3 (1, 2) and 5 more')
    assert describe({'a\nb': ('x\ny', None)}) == 'a b (x y, default)'
