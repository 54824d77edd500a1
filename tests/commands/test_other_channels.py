"""Every command with networks of Y and of RGBA: its images and numbers are those of a calculation by hand."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from reflash_sr import api
from reflash_sr.commands import ablate_channels, evaluate_degradations, report, upscale
from reflash_sr.data.images.read_image import read_image
from reflash_sr.data.test_degradation.degradations import degrade
from reflash_sr.evaluation.metrics import psnr, to_y
from reflash_sr.weights.network_from_file import build_network
from tests.conftest import fill, smooth_image

TO_YCBCR = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112], [112, -93.786, -18.214]])


def save_network(path, channels, p=0, zero=False):
    """A network of a kind; with ``zero``, bilinear interpolation of its channels."""
    section = {'type': 'DropoutMSRResNet', 'num_in_ch': channels, 'num_out_ch': channels, 'num_feat': 8,
               'num_block': 1, 'dropout_p': p}
    torch.manual_seed(channels)
    net = build_network(section)
    for parameter in net.parameters():
        parameter.data.mul_(0 if zero else 1)
    torch.save({'params': net.state_dict(), 'network_g': section}, path)
    return str(path)


def bilinear(image):
    tensor = torch.from_numpy(np.atleast_3d(image).astype(np.float64)).movedim(-1, 0)[None]
    return F.interpolate(tensor, scale_factor=4, mode='bilinear', align_corners=False)[0].movedim(0, -1).numpy()


def bicubic(image):
    size = (4 * image.shape[1], 4 * image.shape[0])
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))


def levels(image):
    return np.round(image.clip(0, 255)).astype(np.uint8)


def by_hand(lq, channels):
    """Bilinear interpolation of the network's channels, (H · 4, W · 4, 3) uint8."""
    if channels == 4:
        return levels(bilinear(lq))
    ycbcr = lq / 255 @ TO_YCBCR.T + (16, 128, 128)
    sr = np.dstack([bilinear(ycbcr[..., 0]), *(bicubic(ycbcr[..., place]) for place in (1, 2))])
    return levels((sr - (16, 128, 128)) @ np.linalg.inv(TO_YCBCR).T * 255)


@pytest.mark.parametrize('channels', [1, 4])
@pytest.mark.parametrize('y_channel', [False, True])
def test_evaluate(tmp_path, channels, y_channel):
    gt = read_image(fill(tmp_path / 'gt', 1, 64, 48) / '0.png')
    arguments = ['--weights', save_network(tmp_path / 'x.pth', channels, zero=True), '--gt', str(tmp_path / 'gt'),
                 '--degradations', 'clean', '--crop_border', '0', '--out', str(tmp_path / 'out'), '--save_images']
    assert evaluate_degradations.main(arguments + ['--y_channel'] * y_channel) == 0
    [path] = (tmp_path / 'out' / 'images').rglob('*.png')
    lq, sr = degrade(gt, 'clean', 4, None), read_image(path)
    wanted = by_hand(lq, channels)
    assert np.abs(sr.astype(int) - wanted).max() <= 1
    with open(tmp_path / 'out' / 'scores.csv') as file:
        [found] = [float(row['value']) for row in csv.DictReader(file) if row['method'] != 'bicubic']
    assert found == pytest.approx(psnr(to_y(sr), to_y(gt)) if y_channel else psnr(sr, gt), abs=1e-6)
    assert found == pytest.approx(psnr(to_y(wanted), to_y(gt)) if y_channel else psnr(wanted, gt), abs=0.01)
    if y_channel and channels == 1:  # almost the PSNR of Y alone, of which the colours of an 8-bit image remember less
        assert found == pytest.approx(psnr(bilinear(to_y(lq))[..., 0].astype(np.float32), to_y(gt)), abs=0.02)
    text = (tmp_path / 'out' / 'table.md').read_text(encoding='utf-8')
    assert ('8-bit Y of YCbCr' if y_channel else '8-bit RGB') in text
    assert {1: 'DropoutMSRResNet of Y (Cb and Cr: bicubic)', 4: 'DropoutMSRResNet of RGBA (opaque)'}[channels] in text


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('mode', ['L', 'LA', 'RGB', 'RGBA', 'I;16'])
def test_upscaled_images_stay_what_they_are(tmp_path, channels, mode):
    colour = smooth_image(0, 9, 11)
    image = Image.fromarray(colour).convert('L' if mode == 'I;16' else mode)
    alpha = np.asarray(Image.linear_gradient('L').resize((11, 9)))
    if mode == 'I;16':
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif 'A' in mode:
        image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / 'x.png')
    arguments = ['-i', str(tmp_path / 'x.png'), '-o', str(tmp_path / 'out'),
                 '--weights', save_network(tmp_path / 'w.pth', channels, zero=True)]
    assert upscale.main(arguments) == 0
    with Image.open(tmp_path / 'out' / 'x_out.png') as result:
        assert (result.mode, result.size) == (mode, (44, 36))
        if 'A' in mode:  # a network of four channels upscales it, as here bilinearly
            wanted = bilinear(alpha)[..., 0] if channels == 4 else bicubic(alpha)
            assert np.abs(np.asarray(result.getchannel('A'), int) - wanted.clip(0, 255)).max() <= 1
        if mode == 'RGB':
            wanted = levels(bilinear(colour)) if channels == 3 else by_hand(colour, channels)
            assert np.abs(np.asarray(result, int) - wanted).max() <= 1
        if mode == 'L':
            assert np.abs(np.asarray(result, int) - bilinear(np.asarray(image))[..., 0]).max() <= 1


def test_tiles_of_y_are_the_whole(tmp_path):
    Image.fromarray(smooth_image(0, 40, 56)).save(tmp_path / 'x.png')
    arguments = ['-i', str(tmp_path / 'x.png'), '--weights', save_network(tmp_path / 'w.pth', 1, p=0.5), '-o']
    for name, more in (('whole', ['--tile', '0']), ('tiles', ['--tile', '16']), ('mc', ['--mc', '2'])):
        assert upscale.main([*arguments, str(tmp_path / name), *more]) == 0
    whole, tiles = (read_image(tmp_path / name / 'x_out.png').astype(int) for name in ('whole', 'tiles'))
    assert np.abs(whole - tiles).max() <= 1
    assert np.load(tmp_path / 'mc' / 'x_out_std.npy').max() > 0


@pytest.mark.slow
def test_a_report_of_networks_of_all_kinds(tmp_path, capsys):
    weights = [save_network(tmp_path / f'{channels}.pth', channels) for channels in (1, 3, 4)]
    arguments = ['--weights', *weights, '--labels', 'grey', 'colour', 'cut-out', '--images', 'photos:val',
                 '--limit', '1', '--crop', '16', '--samples', '4', '--degradations', 'clean',
                 '--out', str(tmp_path / 'out')]
    assert report.main(arguments) == 0
    printed = capsys.readouterr().out
    assert 'grey, last: ' in printed and printed.count('(PSNR of Y)') == 1
    models = json.loads((tmp_path / 'out' / 'ablation' / 'summary.json').read_text())['models']
    assert [model['layers'][0]['colours'] for model in models] == ['Y', 'RGB', 'RGB']
    page = (tmp_path / 'out' / 'report.html').read_text(encoding='utf-8')
    assert ' (of Y)' in page and 'DropoutMSRResNet of Y' in page and 'DropoutMSRResNet of RGBA' in page


def test_layers_are_listed_with_their_shapes(tmp_path, capsys):
    weights = save_network(tmp_path / 'w.pth', 1)
    assert ablate_channels.main(['--list-layers', '--weights', weights]) == 0
    assert 'last: input of conv_last: 8 channels of 192×192' in capsys.readouterr().out


def test_functions_for_notebooks(tmp_path):
    weights = [save_network(tmp_path / f'{channels}.pth', channels, zero=True) for channels in (1, 4)]
    lq = smooth_image(0, 12, 16)
    for path, channels in zip(weights, (1, 4)):
        assert np.abs(api.upscale(path, lq).astype(int) - by_hand(lq, channels)).max() <= 1
        assert api.saliency(path, lq)['last'].maps.shape == (8, 48, 64)
        assert api.attribution(path, lq, steps=2).map.shape == (12, 16)
    assert set(api.ablate(weights, smooth_image(0, 48, 64))['network']) == {'1', '4'}
    assert set(api.evaluate(weights, smooth_image(0, 48, 64), 'clean')['method']) == {'bicubic', '1', '4'}
