"""The second-order degradation: windows are crops of the whole, seeds decide everything, settings are followed."""

import cv2
import numpy as np
import pytest

from reflash_sr.data.jpeg import Jpeg
from reflash_sr.data.noise import GaussianNoise, PoissonNoise
from reflash_sr.data.operations import Filter, Operation, Window
from reflash_sr.data.real_degradation import DEFAULTS, OPTIONS, degrade, draw_degradation, usm_sharpen
from reflash_sr.errors import UserError
from tests.conftest import smooth_picture
from tests.data.test_operations import corners

SIZE = (120, 144)
EVERYTHING = Window(0, SIZE[0], 0, SIZE[1])


class Nothing(Operation):
    """Stands in for noise, which depends on the window it is drawn for."""

    def apply(self, pixels, have, want, size, rng):
        return pixels[want.within(have)]


def silent(recipe):
    return [Nothing() if isinstance(operation, (GaussianNoise, PoissonNoise)) else operation for operation in recipe]


def shrunk(window, scale):
    return Window(*(v // scale for v in window))


@pytest.mark.parametrize('seed', range(12))
def test_a_window_is_the_crop_of_the_whole(seed):
    """Without JPEG: there a last bit can turn into a step; see the next test."""
    picture, scale, options = smooth_picture(seed, *SIZE), 1 + seed % 4, {'gt_usm': seed % 2 == 0}
    rng = np.random.default_rng(seed)
    recipe = [step for step in silent(draw_degradation(rng, DEFAULTS, SIZE, scale)) if not isinstance(step, Jpeg)]
    whole_gt, whole_lq = degrade(picture, recipe, EVERYTHING, rng, scale=scale, **options)
    for window in corners(SIZE, 24, scale):
        gt, lq = degrade(picture, recipe, window, rng, scale=scale, **options)
        np.testing.assert_allclose(gt, whole_gt[window.slices], atol=1e-5)
        # the result is rounded to 8 bits, where a last bit can decide between two levels
        steps = np.abs(lq - whole_lq[shrunk(window, scale).slices]) * 255
        assert steps.max() < 1.01
        assert (steps > 0.5).mean() < 0.01


def test_a_window_is_the_crop_of_the_whole_with_jpeg():
    picture, differing = smooth_picture(0, *SIZE), []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        recipe = silent(draw_degradation(rng, DEFAULTS, SIZE, 4))
        _, whole = degrade(picture, recipe, EVERYTHING, rng, scale=4)
        for window in corners(SIZE, 64, 4):
            _, lq = degrade(picture, recipe, window, rng, scale=4)
            differing.append((np.abs(lq - whole[shrunk(window, 4).slices]) > 0.5 / 255).mean())
    assert np.mean(differing) < 0.01


@pytest.mark.parametrize('scale', [1, 2, 3, 4])
@pytest.mark.parametrize('gt_usm', [True, False])
def test_shapes_ranges_and_the_grid_of_the_lq(scale, gt_usm):
    picture = smooth_picture(0, *SIZE)
    for seed, window in enumerate(corners(SIZE, 48, scale)):
        rng = np.random.default_rng(seed)
        recipe = draw_degradation(rng, DEFAULTS, SIZE, scale)
        gt, lq = degrade(picture, recipe, window, rng, scale=scale, gt_usm=gt_usm)
        assert gt.shape == (48, 48, 3) and lq.shape == (48 // scale, 48 // scale, 3)
        assert gt.dtype == lq.dtype == np.float32
        assert min(gt.min(), lq.min()) >= 0 and max(gt.max(), lq.max()) <= 1
        np.testing.assert_array_equal(np.rint(lq * 255) / np.float32(255), lq)
        expected = usm_sharpen(picture) if gt_usm else picture / 255
        np.testing.assert_allclose(gt, expected[window.slices], atol=1e-5)


def run(seed, picture):
    rng = np.random.default_rng(seed)
    recipe = draw_degradation(rng, DEFAULTS, SIZE, 4)
    return degrade(picture, recipe, (24, 88, 40, 104), rng, scale=4)


def test_the_seed_decides_everything():
    picture = smooth_picture(0, *SIZE)
    first, again, other = run(1, picture), run(1, picture), run(2, picture)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_the_input_need_not_be_contiguous_and_is_left_alone():
    picture = smooth_picture(0, *SIZE[::-1])
    before = picture.copy()
    turned = picture.transpose(1, 0, 2)[:, ::-1]
    for seed in range(5):
        for a, b in zip(run(seed, turned), run(seed, np.ascontiguousarray(turned))):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(picture, before)


def test_the_lq_is_aligned_with_the_gt():
    """The mildest degradation is close to plain downscaling: no shift, no swapped channels or axes."""
    mild = {**DEFAULTS, 'second_blur_prob': 0, 'final_sinc_prob': 0}
    for suffix in ('', '2'):
        mild |= {f'blur_sigma{suffix}': [0.2, 0.2], f'sinc_prob{suffix}': 0, f'resize_prob{suffix}': [0, 0, 1],
                 f'gaussian_noise_prob{suffix}': 1, f'noise_range{suffix}': [0, 0], f'jpeg_range{suffix}': [100, 100]}
    # the same colour everywhere: chroma has half the resolution
    light = cv2.GaussianBlur(smooth_picture(0, *SIZE), (0, 0), 5)[..., :1] // 2
    picture = (light + np.array([100, 50, 0])).astype(np.uint8)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        recipe = draw_degradation(rng, mild, SIZE, 4)
        gt, lq = degrade(picture, recipe, (16, 80, 32, 96), rng, scale=4, gt_usm=False)
        small = gt.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
        error = np.abs(lq - small).mean()
        assert error < 0.01
        for wrong in (lq[..., ::-1], lq.transpose(1, 0, 2), np.roll(lq, 1, axis=0), np.roll(lq, 1, axis=1)):
            assert np.abs(wrong - small).mean() > 2 * error


@pytest.mark.parametrize('gt, window, said', [
    (np.zeros((*SIZE, 3), np.float32), (0, 16, 0, 16), 'uint8'),
    (np.zeros(SIZE, np.uint8), (0, 16, 0, 16), 'uint8'),
    (np.zeros((*SIZE, 3), np.uint8), (0, 16, 0, 256), 'inside'),
    (np.zeros((*SIZE, 3), np.uint8), (2, 18, 0, 16), 'multiples'),
])
def test_what_does_not_fit_is_refused(gt, window, said):
    rng = np.random.default_rng(0)
    recipe = draw_degradation(rng, DEFAULTS, SIZE, 4)
    with pytest.raises(ValueError, match=said):
        degrade(gt, recipe, window, rng, scale=4)


def test_every_key_has_a_rule_that_its_default_holds():
    assert DEFAULTS.keys() == OPTIONS.keys()
    for key, rule in OPTIONS.items():
        assert rule.holds(DEFAULTS[key]), f'{key} must be {rule.wanted}'
        for nonsense in (None, 'x', -1, [], {}):
            assert not rule.holds(nonsense), key


@pytest.mark.parametrize('settings, holds', [
    ({'second_blur_prob': 0, 'final_sinc_prob': 0}, lambda r: sum(isinstance(o, Filter) for o in r) == 1),
    ({'gaussian_noise_prob': 1, 'gaussian_noise_prob2': 1}, lambda r: not any(isinstance(o, PoissonNoise) for o in r)),
    ({'gray_noise_prob': 1, 'gray_noise_prob2': 1}, lambda r: all(getattr(o, 'gray', True) for o in r)),
    ({'jpeg_range': [50, 50], 'jpeg_range2': [50, 50]}, lambda r: all(getattr(o, 'quality', 50) == 50 for o in r)),
    ({'resize_prob': [1, 0, 0]}, lambda r: r[1].size[0] >= SIZE[0]),
    ({'resize_prob': [0, 1, 0]}, lambda r: r[1].size[0] <= SIZE[0]),
    ({'resize_prob': [0, 0, 1]}, lambda r: r[1].size == SIZE),
])
def test_the_settings_are_followed(settings, holds):
    for seed in range(20):
        assert holds(draw_degradation(np.random.default_rng(seed), {**DEFAULTS, **settings}, SIZE, 4))


def test_weights_that_do_not_match_the_kernels_are_refused():
    with pytest.raises(UserError, match='kernel_prob2: 1 weights for the 6 kernels of kernel_list2'):
        for seed in range(20):
            draw_degradation(np.random.default_rng(seed), {**DEFAULTS, 'kernel_prob2': [1]}, SIZE, 4)


def test_every_recipe_ends_at_the_size_of_the_lq():
    for seed in range(50):
        size = SIZE
        for operation in draw_degradation(np.random.default_rng(seed), DEFAULTS, SIZE, 3):
            size = operation.out_size(size)
        assert size == (SIZE[0] // 3, SIZE[1] // 3)
