"""Metrics: equal to BasicSR's, defined at the edges."""

import math

import numpy as np
import pytest
from basicsr.metrics import calculate_psnr, calculate_ssim

from reflash_sr.errors import UserError
from reflash_sr.evaluation import metrics
from reflash_sr.evaluation.metrics import bicubic_upscale, check_metrics, measure
from tests.conftest import smooth_image

THEIRS = {'psnr': calculate_psnr, 'ssim': calculate_ssim}


def noisy(image, sigma, rng):
    return np.clip(image + rng.normal(0, sigma, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('metric', THEIRS)
@pytest.mark.parametrize('crop_border', [0, 4])
@pytest.mark.parametrize('y_channel', [False, True], ids=['rgb', 'y'])
@pytest.mark.parametrize(('shape', 'sigma'), [((61, 48), 2), ((40, 121), 30), ((64, 64), 0.3)])
def test_equal_to_basicsr(metric, crop_border, y_channel, shape, sigma, rng):
    gt = smooth_image(1, *shape)
    sr = noisy(gt, sigma, rng)
    ours = measure(metric, sr, gt, crop_border, y_channel)
    theirs = THEIRS[metric](sr[..., ::-1], gt[..., ::-1], crop_border=crop_border, test_y_channel=y_channel)
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_ssim_of_flat_and_hard_images_is_basicsrs(rng):
    flat, edges = np.full((32, 32, 3), 255, np.uint8), (rng.random((32, 32, 3)) > 0.5).astype(np.uint8) * 255
    for sr, gt in ((flat, edges), (edges, flat), (flat, flat), (edges, 255 - edges)):
        assert measure('ssim', sr, gt) == pytest.approx(calculate_ssim(sr, gt, crop_border=0), abs=1e-6)


def test_equal_images(rng):
    image = smooth_image(2, 32, 32)
    assert measure('psnr', image, image) == math.inf
    assert measure('ssim', image, image) == pytest.approx(1)


def test_views_are_measured_like_copies(rng):
    gt = smooth_image(1, 40, 60)
    sr = noisy(gt, 5, rng)
    for metric in THEIRS:
        assert measure(metric, sr[:, ::-1], gt[:, ::-1], 4) == pytest.approx(measure(metric, sr, gt, 4), abs=1e-9)


def test_what_cannot_be_measured_is_refused():
    image = smooth_image(2, 16, 20)
    with pytest.raises(UserError, match='20×16 px is measured against a GT of 18×16 px'):
        measure('psnr', image, image[:, :18])
    with pytest.raises(UserError, match='too small for psnr with crop_border 8: a side needs 17 px'):
        measure('psnr', image, image, 8)
    with pytest.raises(UserError, match='a side needs 19 px'):
        measure('ssim', image, image, 4)
    with pytest.raises(UserError, match="'snr' is not known"):
        check_metrics(['snr'])


def test_bicubic_upscale():
    assert bicubic_upscale(np.full((3, 5, 3), 7, np.uint8), 4).shape == (12, 20, 3)


def test_the_gradient_is_compared_with_that_of_the_ground_truth(rng):
    gt = smooth_image(1, 40, 60)
    assert measure('gradient', gt, gt, 4) == 1
    assert measure('gradient', 255 - gt[:, ::-1], gt[:, ::-1]) == pytest.approx(1)
    half = (gt // 2).astype(np.uint8)
    assert measure('gradient', half, gt) == pytest.approx(0.25, abs=0.01), 'an energy'
    assert measure('gradient', noisy(gt, 20, rng), gt) > 1 > measure('gradient', (gt // 3 * 2).astype(np.uint8), gt) > 0
    assert measure('gradient', gt, gt, 4, y_channel=True) == 1
    edge = np.zeros((8, 8, 1), np.uint8)
    edge[:, 4:] = 10
    assert measure('gradient', 2 * edge, edge) == measure('gradient', 2 * edge.swapaxes(0, 1), edge.swapaxes(0, 1)) == 4
    assert measure('gradient', edge, np.full_like(edge, 7)) == math.inf, 'a flat ground truth is left out'


def test_the_control_measures_lpips_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(metrics, '_lpips_module', lambda: None)
    assert metrics.of_control() == ('psnr', 'ssim', 'gradient', 'lpips')

    def absent():
        raise UserError('its weights are not available')

    monkeypatch.setattr(metrics, '_lpips_module', absent)
    assert metrics.of_control() == ('psnr', 'ssim', 'gradient')
