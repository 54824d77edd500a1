"""Networks of Y (``color: y``): a run from its option file to its table; what does not fit is found before it."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from basicsr.metrics.psnr_ssim import calculate_psnr, calculate_ssim
from basicsr.utils import bgr2ycbcr
from PIL import Image
from torchvision.models import vgg

from reflash_sr import cli
from reflash_sr.data.images.read_image import read_image
from reflash_sr.errors import UserError
from reflash_sr.training import preflight
from reflash_sr.weights.network_from_file import open_network
from tests.conftest import fill
from tests.training.test_preflight import expanded

PAIRS = {'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}}


@pytest.fixture
def y_options(training_options):
    for section in training_options['datasets'].values():
        section['color'] = 'y'
    training_options['network_g'].update(num_in_ch=1, num_out_ch=1)
    return training_options


def pairs(tmp_path):
    """Folders of GT and LQ images for BasicSR's dataset."""
    gt, lq = fill(tmp_path / 'gt', 2, 64, 80), tmp_path / 'lq'
    lq.mkdir()
    for path in gt.iterdir():
        Image.open(path).resize((20, 16), Image.Resampling.BICUBIC).save(lq / path.name)
    return {**PAIRS, 'dataroot_gt': str(gt), 'dataroot_lq': str(lq)}


@pytest.mark.parametrize('given', [True, False])
def test_a_run_of_y(y_options, tmp_path, in_tmp_path, monkeypatch, given):
    y_options['train'].update(total_iter=2)
    metrics = {'psnr': {'type': 'calculate_psnr', 'crop_border': 4},
               'ssim': {'type': 'calculate_ssim', 'crop_border': 0},
               'psnr_y': {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': True}}
    y_options['val'] = {'val_freq': 2, 'metrics': metrics, 'save_img': True}
    if given:
        of_pairs = pairs(tmp_path)
        y_options['datasets']['val'] = {**of_pairs, 'color': 'y'}
        y_options['datasets']['train'] = {**of_pairs, 'color': 'y', 'gt_size': 32, 'use_hflip': True, 'use_rot': True,
                                          'total_batch_size': 1, 'num_worker_per_gpu': 0}
    else:
        y_options['datasets']['val'].update(dataroot_gt=str(fill(tmp_path / 'gt', 2, 64, 80)))
    Path('y.yml').write_text(yaml.safe_dump(y_options), encoding='utf-8')
    said = []
    log = SimpleNamespace(info=lambda text, *values: said.append(text % values))
    monkeypatch.setattr('reflash_sr.models.validation.get_root_logger', lambda: log)
    assert cli.main(['train', '-opt', 'y.yml']) == 0
    with open('experiments/tiny/validation/iter_2.csv', encoding='utf-8') as file:
        table = {(row['method'], row['degradation'], row['metric']): float(row['value'])
                 for row in csv.DictReader(file)}
    assert said[0].count('8-bit Y of YCbCr') == 3 and 'RGB' not in said[0]
    kind = 'as given' if given else 'clean'
    by_hand = []
    for path in sorted((tmp_path / 'gt').iterdir()):
        name = path.stem if given else f'{path.stem}_clean'
        with Image.open(f'experiments/tiny/visualization/{name}/{name}_2.png') as image:
            assert image.mode == 'L'
            sr = np.asarray(image)[..., None]
        gt = np.round(bgr2ycbcr(read_image(path)[..., ::-1].astype(np.float32) / 255, y_only=True) * 255)[..., None]
        by_hand.append((calculate_psnr(sr, gt, 4), calculate_ssim(sr, gt, 0)))
    psnr, ssim = np.mean(by_hand, axis=0)
    assert table['network', kind, 'psnr'] == pytest.approx(psnr, abs=1e-5)
    assert table['network', kind, 'psnr_y'] == table['network', kind, 'psnr']
    assert table['network', kind, 'ssim'] == pytest.approx(ssim, abs=1e-5)
    assert table['bicubic', kind, 'psnr'] > 20
    assert open_network('experiments/tiny/models/net_g_latest.pth').channels == 1


def test_datasets_of_two_kinds_are_refused(y_options, tmp_path):
    del y_options['datasets']['val']['color']
    with pytest.raises(UserError, match=r'datasets: val: gives RGB images, but train gives Y .*write color: y in '):
        preflight.open_datasets(expanded(y_options, tmp_path))


@pytest.mark.parametrize(('channels', 'color', 'message'), [
    (3, 'y', r'does not accept the Y images of the datasets, but RGB; write 1 for its .*, or leave out color: y$'),
    (1, 'rgb', r'does not accept the RGB images of the datasets, but Y; write 3 .*, or color: y in every dataset$'),
    (4, 'rgb', r'does not accept the RGB images of the datasets, but RGBA; write 3 .*; no dataset gives alpha$'),
    (2, 'rgb', 'does not accept these options: .*to have 2 channels, but got 3'),
])
def test_a_network_of_other_channels_is_refused(y_options, tmp_path, channels, color, message):
    y_options['network_g'].update(num_in_ch=channels, num_out_ch=channels)
    for section in y_options['datasets'].values():
        section['color'] = color
    with pytest.raises(UserError, match=f'^network_g: DropoutMSRResNet {message}'):
        preflight.check_network(expanded(y_options, tmp_path))


@pytest.mark.parametrize('given', [True, False])
def test_a_color_that_is_not_known_is_refused(y_options, tmp_path, given):
    y_options['datasets']['val'] = {**(pairs(tmp_path) if given else y_options['datasets']['val']), 'color': 'Y'}
    with pytest.raises(UserError, match="datasets: val: color: must be one of y, rgb, None, not 'Y'"):
        expanded(y_options, tmp_path)


def test_a_dataset_without_y_is_refused(y_options, tmp_path):
    y_options['datasets']['train'] = {**pairs(tmp_path), 'type': 'RealESRGANPairedDataset', 'color': 'y', 'gt_size': 32}
    with pytest.raises(UserError, match='train: color: RealESRGANPairedDataset gives RGB images only; write type: '):
        expanded(y_options, tmp_path)


def test_metrics_that_cannot_convert_y_are_refused(y_options, tmp_path):
    y_options['val']['metrics']['niqe'] = {'type': 'calculate_niqe', 'crop_border': 0, 'convert_to': 'gray'}
    with pytest.raises(UserError, match='metrics: niqe: convert_to: gray needs RGB images, and datasets: val: gives Y'):
        preflight.open_datasets(expanded(y_options, tmp_path))


@pytest.mark.parametrize('norm', [True, False])
def test_a_perceptual_loss_of_y(y_options, tmp_path, norm, monkeypatch):
    """BasicSR's normalisation makes three channels of one; without it, VGG needs three."""

    class Small(torch.nn.Module):

        def __init__(self, **options):
            super().__init__()
            self.features = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1))

    monkeypatch.setattr(vgg, 'vgg11', Small)
    y_options['train']['perceptual_opt'] = {'type': 'PerceptualLoss', 'vgg_type': 'vgg11', 'use_input_norm': norm,
                                            'layer_weights': {'conv1_1': 1}}
    opt = expanded(y_options, tmp_path)
    if norm:
        return preflight.check_network(opt)
    with pytest.raises(UserError, match=r'perceptual_opt: PerceptualLoss does not accept .*to have 3 channels'):
        preflight.check_network(opt)
