"""What is found before a run writes anything."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from basicsr.archs.srresnet_arch import MSRResNet
from PIL import Image

from reflash_sr import cli
from reflash_sr.errors import UserError
from reflash_sr.options import check_options as option_checks
from reflash_sr.options import option_file as options
from reflash_sr.training import preflight
from tests.conftest import smooth_image


def expanded(opt, root):
    option_checks.check(opt, 'x.yml', is_train=True)
    opt.update(dist=False, rank=0, world_size=1)
    options.expand(opt, root, is_train=True)
    return opt


def test_a_folder_of_cut_off_images_is_refused(training_options, tmp_path):
    folder = tmp_path / 'cut'
    folder.mkdir()
    for i in range(3):
        Image.fromarray(smooth_image(i, 72, 96)).save(folder / f'{i}.png')
        data = (folder / f'{i}.png').read_bytes()
        (folder / f'{i}.png').write_bytes(data[:len(data) // 2])
    training_options['datasets']['train']['dataroot_gt'] = str(folder)
    with pytest.raises(UserError, match=r'datasets: train: .*none of its 3 images can be read'):
        preflight.open_datasets(expanded(training_options, tmp_path))


@pytest.mark.parametrize(('side', 'message'), [(8, None), (9, r'1\.png: 9×8 px does not match')])
def test_paired_images_of_wrong_sizes_are_named(training_options, tmp_path, side, message):
    for name, sides in (('gt', [(32, 32), (32, 32)]), ('lq', [(8, 8), (8, side)])):
        (tmp_path / name).mkdir()
        for i, (height, width) in enumerate(sides):
            Image.fromarray(smooth_image(i, height, width)).save(tmp_path / name / f'{i}.png')
    training_options['datasets']['train'] = {
        'type': 'PairedImageDataset', 'dataroot_gt': str(tmp_path / 'gt'), 'dataroot_lq': str(tmp_path / 'lq'),
        'filename_tmpl': '{}', 'io_backend': {'type': 'disk'}, 'gt_size': 16, 'use_hflip': True, 'use_rot': True,
        'total_batch_size': 1}
    opt = expanded(training_options, tmp_path)
    before = np.random.get_state()[1].copy()
    if message:
        with pytest.raises(UserError, match=f'datasets: train: .*{message}'):
            preflight.open_datasets(opt)
    else:
        assert preflight.open_datasets(opt)['train'][0]['lq'].shape == (3, 4, 4)
        assert np.array_equal(np.random.get_state()[1], before)


def test_a_perceptual_loss_is_built_before_the_run(training_options, tmp_path, monkeypatch):
    training_options['train']['perceptual_opt'] = {'type': 'PerceptualLoss', 'layer_weights': {'conv5_4': 1}}
    opt = expanded(training_options, tmp_path)

    def offline(*args, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr('basicsr.archs.vgg_arch.VGGFeatureExtractor.__init__', offline)
    with pytest.raises(UserError, match=r'train: perceptual_opt: .*no network'):
        preflight.check_network(opt)


@pytest.mark.parametrize('metric', [{'type': 'calculate_niqe', 'crop_border': 4},
                                    {'type': 'calculate_psnr', 'crop_border': 40},
                                    {'type': 'calculate_ssim', 'crop_border': 34}])
def test_a_metric_that_does_not_take_the_images_is_named(training_options, tmp_path, metric):
    training_options['val']['metrics'] = {'mine': metric}
    with pytest.raises(UserError, match=r'val: metrics: mine: does not accept images of 96×72 px'):
        preflight.open_datasets(expanded(training_options, tmp_path))


@pytest.mark.parametrize('window', [7, 12, None])
def test_networks_with_any_window_are_accepted(training_options, tmp_path, window):
    network = {'type': 'DropoutSwinIR', 'upscale': 4, 'img_size': 24, 'depths': [1], 'num_heads': [1], 'embed_dim': 8,
               'mlp_ratio': 1, 'upsampler': 'pixelshuffledirect', **({'window_size': window} if window else {})}
    training_options.update(network_g=network)
    training_options['datasets']['train']['gt_size'] = 4 * (window or 7)  # training does not pad its patches
    preflight.check_network(expanded(training_options, tmp_path))


@pytest.mark.parametrize(('gt_size', 'message'), [
    (16, None), (24, 'gt_size: 24 px .* patches of 6 px, .* of 4; write 32')])
def test_patches_that_a_window_does_not_divide_are_refused(training_options, tmp_path, gt_size, message):
    training_options['datasets']['train']['gt_size'] = gt_size
    training_options['network_g'] = {'type': 'SwinIR', 'upscale': 4, 'img_size': 8, 'window_size': 4, 'depths': [1],
                                     'num_heads': [1], 'embed_dim': 8, 'mlp_ratio': 1, 'upsampler': 'pixelshuffle'}
    opt = expanded(training_options, tmp_path)
    if message is None:
        preflight.check_network(opt)
    else:
        with pytest.raises(UserError, match=f'datasets: train: {message}'):
            preflight.check_network(opt)


def test_networks_of_grey_images_are_accepted_with_grey_data(training_options, tmp_path):
    training_options['network_g'].update(num_in_ch=1, num_out_ch=1)
    opt = expanded(training_options, tmp_path)
    with pytest.raises(UserError, match='network_g: DropoutMSRResNet does not accept'):
        preflight.check_network(opt)
    opt['datasets']['train']['color'] = 'y'
    preflight.check_network(opt)


@pytest.mark.parametrize(('batch', 'ratio'), [(2, 1), (4, 1), (5, 2), (13, 4)])
def test_enlarge_ratio_auto_is_as_much_as_a_batch_needs(training_options, tmp_path, batch, ratio):
    section = training_options['datasets']['train']  # 4 images
    section.update(total_batch_size=batch, dataset_enlarge_ratio='auto')
    preflight.open_datasets(expanded(training_options, tmp_path))
    assert section['dataset_enlarge_ratio'] == ratio


@pytest.mark.parametrize('key', ['dataroot_gt', 'dataroot_lq'])
def test_datasets_of_basicsr_take_one_folder(training_options, tmp_path, key):
    section = {'type': 'PairedImageDataset', 'dataroot_gt': 'gt', 'dataroot_lq': 'lq', 'io_backend': {'type': 'disk'}}
    training_options['datasets']['val'] = {**section, key: ['a', 'b']}
    with pytest.raises(UserError, match=f'datasets: val: {key}: must be one folder .only the datasets of this package'):
        expanded(training_options, tmp_path)


def test_the_enlarge_ratio_changes_no_sample(training_options, in_tmp_path):
    training_options.update(val=None, datasets={'train': training_options['datasets']['train']})
    training_options['train'].update(total_iter=3)
    sums = set()
    for ratio in (1, 7, 'auto'):
        training_options['datasets']['train']['dataset_enlarge_ratio'] = ratio
        Path('x.yml').write_text(yaml.safe_dump(training_options), encoding='utf-8')
        assert cli.main(['train', '-opt', 'x.yml']) == 0
        weights = torch.load('experiments/tiny/models/net_g_latest.pth', weights_only=True)['params']
        sums.add(sum(float(value.double().sum()) for value in weights.values()))
    assert len(sums) == 1


@pytest.mark.parametrize('own', [2, 3])
def test_a_network_from_a_file_of_another_scale_is_named(training_options, tmp_path, own):
    network = {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': own}
    net = MSRResNet(num_feat=4, num_block=1, upscale=own)
    torch.save({'params': net.state_dict(), 'network_g': network}, tmp_path / 'base.pth')
    training_options['network_g'] = {'type': 'WithDropout', 'base': str(tmp_path / 'base.pth')}
    with pytest.raises(UserError, match=rf'It is of scale {own}: write scale: {own} at the top of the file, or take'):
        preflight.check_network(expanded(training_options, tmp_path))


@pytest.mark.parametrize(('schedule', 'changes', 'words'), [
    ({'type': 'linear', 'to': 0.7, 'over': 7}, {}, 'ends at iteration 7, after total_iter, 6; write smaller numbers'),
    ({'type': 'layers', 'every': 4}, {}, 'ends at iteration 8, after total_iter, 6'),
    ({'type': 'layers', 'every': 3}, {'model_type': 'SRModel'}, 'SRModel does not follow it; write model_type'),
    ({'type': 'layers', 'every': 3}, {'compile': True}, 'with compile, every change would be compiled anew'),
])
def test_a_schedule_that_the_run_would_not_follow_is_refused(schedule, changes, words, training_options, tmp_path):
    training_options['network_g'].update(dropout_p=0.5, dropout_position=['B1', 'last-conv'], dropout_schedule=schedule)
    if schedule['type'] == 'linear':
        training_options['network_g']['dropout_p'] = 0  # nothing is dropped at the start, and yet it is a schedule
    opt = expanded({**training_options, **changes}, tmp_path)
    with pytest.raises(UserError, match=f'network_g: dropout_schedule: {words}'):
        preflight.check_network(opt)
