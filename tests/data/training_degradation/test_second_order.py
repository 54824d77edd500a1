"""The second-order degradation: windows are crops of the whole, seeds decide everything, settings are followed."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from reflash_sr.data.training_degradation.jpeg import Jpeg
from reflash_sr.data.training_degradation.noise import GaussianNoise, PoissonNoise
from reflash_sr.data.training_degradation.second_order import DEFAULTS, OPTIONS, degrade, draw_degradation, usm_sharpen
from reflash_sr.data.training_degradation.windowed_ops import Filter, Operation, Resize, Window
from reflash_sr.errors import UserError
from tests.conftest import smooth_image
from tests.data.training_degradation.test_windowed_ops import corners

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
    image, scale, options = smooth_image(seed, *SIZE), 1 + seed % 4, {'gt_usm': seed % 2 == 0}
    rng = np.random.default_rng(seed)
    recipe = [step for step in silent(draw_degradation(rng, DEFAULTS, SIZE, scale)) if not isinstance(step, Jpeg)]
    whole_gt, whole_lq = degrade(image, recipe, EVERYTHING, rng, scale=scale, **options)
    for window in corners(SIZE, 24, scale):
        gt, lq = degrade(image, recipe, window, rng, scale=scale, **options)
        np.testing.assert_allclose(gt, whole_gt[window.slices], atol=1e-5)
        # the result is rounded to 8 bits, where a last bit can decide between two levels
        steps = np.abs(lq - whole_lq[shrunk(window, scale).slices]) * 255
        assert steps.max() < 1.01
        assert (steps > 0.5).mean() < 0.01


def test_a_window_is_the_crop_of_the_whole_with_jpeg():
    image, differing = smooth_image(0, *SIZE), []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        recipe = silent(draw_degradation(rng, DEFAULTS, SIZE, 4))
        _, whole = degrade(image, recipe, EVERYTHING, rng, scale=4)
        for window in corners(SIZE, 64, 4):
            _, lq = degrade(image, recipe, window, rng, scale=4)
            differing.append((np.abs(lq - whole[shrunk(window, 4).slices]) > 0.5 / 255).mean())
    assert np.mean(differing) < 0.01


@pytest.mark.parametrize('scale', [1, 2, 3, 4])
@pytest.mark.parametrize('gt_usm', [True, False])
def test_shapes_ranges_and_the_grid_of_the_lq(scale, gt_usm):
    image = smooth_image(0, *SIZE)
    for seed, window in enumerate(corners(SIZE, 48, scale)):
        rng = np.random.default_rng(seed)
        recipe = draw_degradation(rng, DEFAULTS, SIZE, scale)
        gt, lq = degrade(image, recipe, window, rng, scale=scale, gt_usm=gt_usm)
        assert gt.shape == (48, 48, 3) and lq.shape == (48 // scale, 48 // scale, 3)
        assert gt.dtype == lq.dtype == np.float32
        assert min(gt.min(), lq.min()) >= 0 and max(gt.max(), lq.max()) <= 1
        np.testing.assert_array_equal(np.rint(lq * 255) / np.float32(255), lq)
        expected = usm_sharpen(image) if gt_usm else image / 255
        np.testing.assert_allclose(gt, expected[window.slices], atol=1e-5)


def run(seed, image):
    rng = np.random.default_rng(seed)
    recipe = draw_degradation(rng, DEFAULTS, SIZE, 4)
    return degrade(image, recipe, (24, 88, 40, 104), rng, scale=4)


def test_the_seed_decides_everything():
    image = smooth_image(0, *SIZE)
    first, again, other = run(1, image), run(1, image), run(2, image)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_the_input_need_not_be_contiguous_and_is_left_alone():
    image = smooth_image(0, *SIZE[::-1])
    before = image.copy()
    turned = image.transpose(1, 0, 2)[:, ::-1]
    for seed in range(5):
        for a, b in zip(run(seed, turned), run(seed, np.ascontiguousarray(turned))):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(image, before)


def test_the_lq_is_aligned_with_the_gt():
    """The mildest degradation is close to plain downscaling: no shift, no swapped channels or axes."""
    mild = {**DEFAULTS, 'second_blur_prob': 0, 'final_sinc_prob': 0}
    for suffix in ('', '2'):
        mild |= {f'blur_sigma{suffix}': [0.2, 0.2], f'sinc_prob{suffix}': 0, f'resize_prob{suffix}': [0, 0, 1],
                 f'gaussian_noise_prob{suffix}': 1, f'noise_range{suffix}': [0, 0], f'jpeg_range{suffix}': [100, 100]}
    # the same colour everywhere: chroma has half the resolution
    light = cv2.GaussianBlur(smooth_image(0, *SIZE), (0, 0), 5)[..., :1] // 2
    image = (light + np.array([100, 50, 0])).astype(np.uint8)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        recipe = draw_degradation(rng, mild, SIZE, 4)
        gt, lq = degrade(image, recipe, (16, 80, 32, 96), rng, scale=4, gt_usm=False)
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


def test_the_published_values():
    """Of Real-ESRGAN's training, which the paper takes over (Sec. 5.1)."""
    kernels = ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
    both = {'kernel_list': kernels, 'kernel_prob': [0.45, 0.25, 0.12, 0.03, 0.12, 0.03], 'blur_kernel_size': 21,
            'sinc_prob': 0.1, 'betag_range': [0.5, 4], 'betap_range': [1, 2], 'gaussian_noise_prob': 0.5,
            'gray_noise_prob': 0.4, 'jpeg_range': [30, 95]}
    first = {'blur_sigma': [0.2, 3], 'resize_prob': [0.2, 0.7, 0.1], 'resize_range': [0.15, 1.5],
             'noise_range': [1, 30], 'poisson_scale_range': [0.05, 3]}
    second = {'blur_sigma': [0.2, 1.5], 'resize_prob': [0.3, 0.4, 0.3], 'resize_range': [0.3, 1.2],
              'noise_range': [1, 25], 'poisson_scale_range': [0.05, 2.5]}
    twice = {key + suffix: value for values, suffix in ((first, ''), (second, '2'))
             for key, value in {**both, **values}.items()}
    assert {**twice, 'second_blur_prob': 0.8, 'final_sinc_prob': 0.8} == DEFAULTS


def test_the_page_about_the_keys_says_what_they_are():
    told = {}
    for line in (Path(__file__).parents[3] / 'docs/degradation.md').read_text(encoding='utf-8').splitlines():
        cells = [cell.strip(' `') for cell in line.strip('|').split('|')]
        if len(cells) == 5:
            told |= {cells[0]: cells[2], cells[1]: cells[2] if cells[3] == 'the same' else cells[3]}
    for key, value in DEFAULTS.items():
        values = value if isinstance(value, list) else [value]
        assert told[key] == ', '.join(map(str, values)), key


def test_steps_come_in_the_published_order_as_often_as_they_should():
    """Blur, resize, noise, JPEG, twice; the last resize, with its sinc filter or without, before or after JPEG."""
    letters = {Filter: 'b', Resize: 'r', GaussianNoise: 'n', PoissonNoise: 'n', Jpeg: 'j'}
    found = []
    for seed in range(1000):
        recipe = draw_degradation(np.random.default_rng(seed), DEFAULTS, SIZE, 4)
        steps = ''.join(letters[type(step)] for step in recipe)
        found.append(re.fullmatch('brnj(?P<blur>b?)rn(?P<early>j?)r(?P<sinc>b?)(?P<late>j?)', steps))
        assert found[-1], steps
        assert bool(found[-1]['early']) != bool(found[-1]['late'])
    for part, share in (('blur', 0.8), ('sinc', 0.8), ('late', 0.5)):
        assert np.mean([bool(match[part]) for match in found]) == pytest.approx(share, abs=0.06), part


def test_strengths_fill_the_published_ranges():
    """Mean and extremes of what is drawn: everything is uniform, resizing by halves of unequal weight."""
    drawn = {}
    for seed in range(1500):
        recipe = draw_degradation(np.random.default_rng(seed), DEFAULTS, SIZE, 4)
        first_jpeg = next(i for i, step in enumerate(recipe) if isinstance(step, Jpeg))
        for i, step in enumerate(recipe):
            for name in {'quality', 'sigma', 'scale'} & vars(step).keys():
                drawn.setdefault((name, 1 if i <= first_jpeg else 2), []).append(getattr(step, name))
        drawn.setdefault(('factor', 1), []).append(recipe[1].factor)
    ranges = {('quality', 1): (30, 95), ('quality', 2): (30, 95), ('sigma', 1): (1, 30), ('sigma', 2): (1, 25),
              ('scale', 1): (0.05, 3), ('scale', 2): (0.05, 2.5), ('factor', 1): (0.15, 1.5)}
    assert drawn.keys() == ranges.keys()
    for key, (low, high) in ranges.items():
        values, span = np.array(drawn[key]), high - low
        assert low <= values.min() < low + 0.03 * span, key
        assert high - 0.03 * span < values.max() <= high, key
        if key[0] != 'factor':
            assert values.mean() == pytest.approx((low + high) / 2, abs=0.04 * span), key
    factors = np.array(drawn['factor', 1])
    for chosen, share in ((factors > 1, 0.2), (factors < 1, 0.7), (factors == 1, 0.1)):
        assert chosen.mean() == pytest.approx(share, abs=0.05)
    assert factors[factors < 1].mean() == pytest.approx(0.575, abs=0.03)


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
