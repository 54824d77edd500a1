"""The second-order degradation: windows are crops of the whole, seeds decide everything, settings are followed."""

import reflash_sr  # noqa: F401  isort: skip  (makes BasicSR importable)

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils import DiffJPEG
from basicsr.utils.img_process_util import USMSharp

from reflash_sr.data.jpeg import Jpeg
from reflash_sr.data.noise import GaussianNoise, PoissonNoise
from reflash_sr.data.operations import Filter, Operation, Resize, Window
from reflash_sr.data.real_degradation import DEFAULTS, OPTIONS, degrade, draw_degradation, usm_sharpen

SIZE = (120, 144)


class Nothing(Operation):
    """Stands in for noise, which depends on the window it is drawn for."""

    def apply(self, pixels, have, want, size, rng):
        return pixels[want.within(have)]


def photo(size=SIZE, seed=0):
    """Edges, texture and flat parts in colour."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (size[0] // 12, size[1] // 12, 3), dtype=np.uint8)
    blocks = cv2.resize(small, size[::-1], interpolation=cv2.INTER_NEAREST)
    waves = 30 * np.sin(np.arange(size[1]) / 3)[None, :, None] * (np.arange(size[0]) % 40 < 20)[:, None, None]
    return np.clip(cv2.GaussianBlur(blocks, (5, 5), 0) + waves, 0, 255).astype(np.uint8)


def silent(recipe):
    return [Nothing() if isinstance(operation, (GaussianNoise, PoissonNoise)) else operation for operation in recipe]


def corners(size, patch, scale):
    """Windows in the four corners and one inside."""
    down, right = size[0] - patch, size[1] - patch
    inside = (down // 2 // scale * scale, right // 3 // scale * scale)
    places = [(0, 0), (0, right), (down, 0), (down, right), inside]
    return [(top, top + patch, left, left + patch) for top, left in places]


def crop(picture, window, scale=1):
    top, bottom, left, right = (v // scale for v in window)
    return picture[top:bottom, left:right]


# ---- operations -------------------------------------------------------------------------------------------------

KERNEL = cv2.getGaussianKernel(13, 2) @ cv2.getGaussianKernel(13, 1).T
OPERATIONS = [
    Filter(KERNEL),  # separable
    Filter((KERNEL + KERNEL.T) / 2),  # direct or by Fourier transform
    *[Resize(size, mode) for mode in ('area', 'bilinear', 'bicubic') for size in [(50, 61), (150, 171)]],
    Resize((92, 110), 'bilinear', 0.77),
    Jpeg(31.4),
    Jpeg(95),
]


@pytest.mark.parametrize('operation', OPERATIONS, ids=repr)
def test_a_window_of_one_operation_is_the_crop_of_the_whole(operation):
    size = (101, 123)  # the last blocks of a JPEG are not full
    picture = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    to = operation.out_size(size)
    everything, result = Window(0, size[0], 0, size[1]), Window(0, to[0], 0, to[1])
    whole = operation.apply(picture, everything, result, size, None)
    assert whole.shape == (*to, 3)
    for want in map(Window._make, corners(to, 20, 1)):
        have = operation.needed(want, size)
        part = operation.apply(picture[have.slices], have, want, size, None)
        np.testing.assert_allclose(part, whole[want.slices], atol=2e-6)


def test_a_filter_leaves_out_weights_that_do_not_count():
    kernel = np.zeros((21, 21))
    kernel[10, 10] = 1
    assert Filter(kernel).margin == 0
    picture = np.random.default_rng(0).random((30, 30, 3), dtype=np.float32)
    everything = Window(0, 30, 0, 30)
    np.testing.assert_array_equal(Filter(kernel).apply(picture, everything, everything, (30, 30), None), picture)


def compressed(picture, quality):
    size = picture.shape[:2]
    everything = Window(0, size[0], 0, size[1])
    return Jpeg(quality).apply(picture, everything, everything, size, None)


@pytest.mark.parametrize('quality', [30.0, 49.9, 50.0, 77.7, 95.0])
def test_jpeg_is_that_of_basicsr(quality):
    picture = photo((117, 123)).astype(np.float32) / 255
    tensor = torch.from_numpy(picture.transpose(2, 0, 1)[None]).contiguous()
    expected = DiffJPEG(differentiable=False)(tensor, torch.tensor([quality]))[0].permute(1, 2, 0).detach().numpy()
    different = np.abs(compressed(picture, quality) - expected) > 1e-5
    assert different.mean() < 0.02  # a last bit can decide how a frequency is rounded


@pytest.mark.parametrize('quality', [30, 60, 95])
def test_jpeg_loses_as_much_as_a_file(quality):
    """Of a gray picture: decoders smooth the chroma, and this one does not."""
    gray = cv2.cvtColor(cv2.cvtColor(photo((128, 144)), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    _, file = cv2.imencode('.jpg', gray, [cv2.IMWRITE_JPEG_QUALITY, quality])
    lost = np.abs(cv2.imdecode(file, cv2.IMREAD_COLOR).astype(float) - gray).mean()
    coded = 255 * compressed(gray.astype(np.float32) / 255, quality)
    assert np.abs(coded - gray).mean() == pytest.approx(lost, rel=0.15)


def test_jpeg_of_the_best_quality_loses_next_to_nothing():
    gray = np.repeat(np.random.default_rng(0).random((40, 40, 1), dtype=np.float32), 3, axis=2)
    np.testing.assert_allclose(compressed(gray, 100), gray, atol=2e-3)


@pytest.mark.parametrize('gray', [False, True])
@pytest.mark.parametrize('noise, deviation', [
    (GaussianNoise(20, False), 20 / 255),
    # 256 levels in the picture, so a pixel at full scale counts 256 on average
    (PoissonNoise(1.0, False), np.sqrt(0.5 / 256)),
    (PoissonNoise(0.3, False), 0.3 * np.sqrt(0.5 / 256)),
], ids=repr)
def test_noise_has_the_stated_deviation_and_no_bias(noise, deviation, gray):
    noise = type(noise)(getattr(noise, 'sigma', None) or noise.scale, gray)
    picture = np.full((300, 300, 3), 128 / 255, np.float32)
    picture[:16, :16] = (np.arange(256).reshape(16, 16, 1)) / 255
    everything = Window(0, 300, 0, 300)
    noisy = noise.apply(picture, everything, everything, (300, 300), np.random.default_rng(0))
    difference = (noisy - picture)[20:]
    assert difference.std() == pytest.approx(deviation, rel=0.02)
    assert abs(difference.mean()) < 4 * deviation / np.sqrt(280 * 300)
    channels = np.corrcoef(difference.reshape(-1, 3).T)
    assert channels[0, 1] == pytest.approx(float(gray), abs=0.02)
    assert noisy.min() >= 0 and noisy.max() <= 1


@pytest.mark.parametrize('level', [1, 3, 20, 200, 255])
def test_poisson_noise_has_the_distribution_of_counts(level):
    # alone in its picture, a level makes one count of full scale; 256 levels make 256
    picture = np.zeros((256, 256, 3), np.float32)
    picture[0] = np.arange(256)[:, None] / 255
    picture[1:] = level / 255
    everything = Window(0, 256, 0, 256)
    noisy = PoissonNoise(0.5, False).apply(picture, everything, everything, (256, 256), np.random.default_rng(0))
    counts = ((noisy - picture)[1:] / 0.5 + level / 255) * 256
    expected = np.random.default_rng(1).poisson(level * 256 / 255, 200_000)
    shares = np.linspace(0.05, 0.95, 19)
    if level < 200:  # not clipped
        assert counts.mean() == pytest.approx(expected.mean(), rel=0.02)
        assert counts.var() == pytest.approx(expected.var(), rel=0.03)
    found, expected = (np.quantile(np.minimum(values, 256), shares) for values in (counts, expected))
    np.testing.assert_allclose(found, expected, atol=0.51 if level < 200 else 2)


# ---- sharpening -------------------------------------------------------------------------------------------------

def test_usm_is_that_of_basicsr():
    picture = photo()
    tensor = torch.from_numpy(picture.transpose(2, 0, 1)[None]).float() / 255
    expected = USMSharp()(tensor)[0].permute(1, 2, 0).numpy()
    sharp = usm_sharpen(picture)
    np.testing.assert_allclose(sharp, expected, atol=1e-5)
    assert np.abs(sharp - picture / 255).max() > 0.05


# ---- the chain --------------------------------------------------------------------------------------------------

def test_the_whole_picture_and_a_window_agree():
    """Rounding to 8 bits in a JPEG can turn a last bit into a step, so files are left out here and compared below."""
    picture = photo()
    for seed in range(25):
        rng = np.random.default_rng(seed)
        scale = 1 + seed % 4
        recipe = [operation for operation in silent(draw_degradation(rng, DEFAULTS, SIZE, scale))
                  if not isinstance(operation, Jpeg)]
        everything = (0, SIZE[0], 0, SIZE[1])
        whole_gt, whole_lq = degrade(picture, recipe, everything, rng, scale=scale, gt_usm=seed % 2 == 0)
        for window in corners(SIZE, 24, scale):
            gt, lq = degrade(picture, recipe, window, rng, scale=scale, gt_usm=seed % 2 == 0)
            np.testing.assert_allclose(gt, crop(whole_gt, window), atol=1e-5)
            # the result is rounded to 8 bits, where a last bit can decide between two levels
            steps = np.abs(lq - crop(whole_lq, window, scale)) * 255
            assert steps.max() < 1.01
            assert (steps > 0.5).mean() < 0.01


def test_the_whole_picture_and_a_window_agree_with_files():
    picture = photo()
    differing = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        recipe = silent(draw_degradation(rng, DEFAULTS, SIZE, 4))
        _, whole = degrade(picture, recipe, (0, SIZE[0], 0, SIZE[1]), rng, scale=4)
        for window in corners(SIZE, 64, 4):
            _, lq = degrade(picture, recipe, window, rng, scale=4)
            differing.append((np.abs(lq - crop(whole, window, 4)) > 0.5 / 255).mean())
    assert np.mean(differing) < 0.02


@pytest.mark.parametrize('scale', [1, 2, 3, 4])
@pytest.mark.parametrize('gt_usm', [True, False])
def test_shapes_ranges_and_the_grid_of_the_lq(scale, gt_usm):
    picture = photo()
    for seed, window in enumerate(corners(SIZE, 48, scale)):
        rng = np.random.default_rng(seed)
        recipe = draw_degradation(rng, DEFAULTS, SIZE, scale)
        gt, lq = degrade(picture, recipe, window, rng, scale=scale, gt_usm=gt_usm)
        assert gt.shape == (48, 48, 3) and lq.shape == (48 // scale, 48 // scale, 3)
        assert gt.dtype == lq.dtype == np.float32
        for pixels in (gt, lq):
            assert pixels.min() >= 0 and pixels.max() <= 1
        np.testing.assert_array_equal(np.rint(lq * 255) / np.float32(255), lq)
        expected = usm_sharpen(picture) if gt_usm else picture / 255
        np.testing.assert_allclose(gt, crop(expected, window), atol=1e-5)


def run(seed, picture):
    rng = np.random.default_rng(seed)
    recipe = draw_degradation(rng, DEFAULTS, SIZE, 4)
    return degrade(picture, recipe, (24, 88, 40, 104), rng, scale=4)


def test_the_seed_decides_everything():
    picture = photo()
    first, again, other = run(1, picture), run(1, picture), run(2, picture)
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[1], other[1])


def test_the_input_need_not_be_contiguous_and_is_left_alone():
    picture = photo(SIZE[::-1])
    before = picture.copy()
    turned = picture.transpose(1, 0, 2)[:, ::-1]
    for seed in range(5):
        for a, b in zip(run(seed, turned), run(seed, np.ascontiguousarray(turned))):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(picture, before)


def test_the_lq_is_aligned_with_the_gt():
    """A mild degradation is close to plain downscaling: no shift, no swapped channels or axes."""
    mild = {**DEFAULTS, 'blur_sigma': [0.2, 0.2], 'sinc_prob': 0, 'resize_prob': [0, 0, 1], 'resize_prob2': [0, 0, 1],
            'noise_range': [0, 0], 'noise_range2': [0, 0], 'gaussian_noise_prob': 1, 'gaussian_noise_prob2': 1,
            'second_blur_prob': 0, 'final_sinc_prob': 0, 'jpeg_range': [100, 100], 'jpeg_range2': [100, 100]}
    # the same colour everywhere: chroma has half the resolution
    light = cv2.GaussianBlur(photo(), (0, 0), 5)[..., :1] // 2
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
    (photo().astype(np.float32), (0, 16, 0, 16), 'uint8'),
    (photo()[..., 0], (0, 16, 0, 16), 'uint8'),
    (photo(), (0, 16, 0, 256), 'inside'),
    (photo(), (2, 18, 0, 16), 'multiples'),
])
def test_what_does_not_fit_is_refused(gt, window, said):
    rng = np.random.default_rng(0)
    recipe = draw_degradation(rng, DEFAULTS, SIZE, 4)
    with pytest.raises(ValueError, match=said):
        degrade(gt, recipe, window, rng, scale=4)


# ---- settings ---------------------------------------------------------------------------------------------------

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


def test_every_recipe_ends_at_the_size_of_the_lq():
    for seed in range(50):
        size = SIZE
        for operation in draw_degradation(np.random.default_rng(seed), DEFAULTS, SIZE, 3):
            size = operation.out_size(size)
        assert size == (SIZE[0] // 3, SIZE[1] // 3)
