"""Shrinkage: shrunk images, and the parabola that tells their PSNR."""

import numpy as np
import pytest

from reflash_sr.evaluation.metrics import measure
from reflash_sr.evaluation.shrinkage import ALPHAS, best_alpha, moments, psnr, shrink
from tests.conftest import smooth_image


@pytest.fixture
def images(rng):
    """Restored images, interpolated images, ground truth; the best α of the last one is above 1."""
    found = []
    for seed, true in ((1, 0.4), (2, 0.7), (3, 1.3)):
        gt = smooth_image(seed, 48, 64) // 2 + 64
        base = gt + rng.normal(0, 12, gt.shape)
        sr = np.clip(base + (gt - base) / true + rng.normal(0, 6, gt.shape), 0, 255).round().astype(np.uint8)
        found.append((sr, base.astype(np.float32), gt))
    return found


def test_one_is_the_restored_image_and_zero_the_interpolated_one(images, rng):
    for sr, base, _ in images:
        assert np.array_equal(shrink(sr, base, 1), sr)
        assert np.array_equal(shrink(sr, base, 0), base.round().clip(0, 255))
    wild, anything = rng.normal(128, 300, (40, 40, 3)), rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert np.array_equal(shrink(anything, wild, 1), anything), 'bit for bit, also where interpolation overshoots'
    assert shrink(anything, wild, 2).dtype == np.uint8


@pytest.mark.parametrize('crop_border', [0, 4])
@pytest.mark.parametrize('y_channel', [False, True], ids=['rgb', 'y'])
def test_the_parabola_tells_the_psnr_of_shrunk_images(images, crop_border, y_channel):
    found = np.array([moments(*image, crop_border, y_channel) for image in images])
    for alpha in (0, 0.3, 0.52, 1, 1.5):
        of_pixels = [measure('psnr', shrink(sr, base, alpha), gt, crop_border, y_channel) for sr, base, gt in images]
        assert psnr(found, [alpha])[:, 0] == pytest.approx(of_pixels, abs=0.05), 'but for rounding'
    exact = [measure('psnr', sr, gt, crop_border, y_channel) for sr, _, gt in images]
    assert psnr(found, [1])[:, 0] == pytest.approx(exact, abs=1e-4), 'α = 1 is not rounded'


def test_the_best_alpha_is_that_of_brute_force(images):
    for some in (images, images[:1], images[2:]):
        found = best_alpha(np.array([moments(*image) for image in some]))
        tried = [np.mean([measure('psnr', shrink(sr, base, alpha), gt) for sr, base, gt in some]) for alpha in ALPHAS]
        assert found == pytest.approx(ALPHAS[np.argmax(tried)], abs=0.02)
        assert found in ALPHAS and round(found, 2) == found


def test_an_image_without_error_does_not_decide_alone(images):
    flat = np.full((48, 64, 3), 90, np.uint8)
    exact = moments(flat + np.uint8(1), flat.astype(np.float32), flat)
    assert np.isfinite(psnr(np.array([exact]))).all()
    several = [moments(*images[1])] * 9
    assert best_alpha(np.array([*several, exact])) > 0.3
