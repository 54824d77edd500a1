"""The steps of the degradation: each does what BasicSR's does, and a window of its result is the crop of the whole."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils import DiffJPEG
from basicsr.utils.img_process_util import USMSharp, filter2D

from reflash_sr.data.training_degradation.blur_kernels import bell_kernel, sinc_kernel
from reflash_sr.data.training_degradation.jpeg import Jpeg
from reflash_sr.data.training_degradation.noise import GaussianNoise, PoissonNoise
from reflash_sr.data.training_degradation.sharpening import Sharpen, usm_sharpen
from reflash_sr.data.training_degradation.windowed_ops import Filter, Resize, Window
from tests.conftest import smooth_image

SIZE = (101, 123)  # no whole number of JPEG blocks
FILTERS = [Filter(bell_kernel('iso', 13, 2)), Filter(bell_kernel('aniso', 9, 2, 1, 0.5)), Filter(sinc_kernel(15, 1.5))]
OPERATIONS = [
    *FILTERS,
    *[Resize(size, mode) for mode in ('area', 'bilinear', 'bicubic') for size in [(50, 61), (150, 171), SIZE]],
    Resize((77, 94), 'bilinear', 0.77),
    Jpeg(31.4),
    Jpeg(95),
]


def corners(size, patch, scale=1):
    """Windows in the four corners and one inside."""
    down, right = size[0] - patch, size[1] - patch
    inside = (down // 2 // scale * scale, right // 3 // scale * scale)
    places = [(0, 0), (0, right), (down, 0), (down, right), inside]
    return [Window(top, top + patch, left, left + patch) for top, left in places]


def whole(operation, image, rng=None):
    size = image.shape[:2]
    height, width = operation.out_size(size)
    return operation.apply(image, Window(0, size[0], 0, size[1]), Window(0, height, 0, width), size, rng)


def noise_image(seed=0):
    return np.random.default_rng(seed).random((*SIZE, 3), dtype=np.float32)


def to_tensor(image):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))


def to_array(tensor):
    return tensor[0].permute(1, 2, 0).detach().numpy()


@pytest.mark.parametrize('operation', OPERATIONS, ids=repr)
def test_a_window_is_the_crop_of_the_whole(operation):
    image = noise_image()
    before = image.copy()
    everything = whole(operation, image)
    size = operation.out_size(SIZE)
    assert everything.shape == (*size, 3)
    for want in corners(size, 20):
        have = operation.needed(want, SIZE)
        part = operation.apply(image[have.slices], have, want, SIZE, None)
        np.testing.assert_allclose(part, everything[want.slices], atol=2e-6)
    np.testing.assert_array_equal(image, before)


def test_a_window_of_the_sharpened_image_is_the_crop_of_the_whole():
    image = smooth_image(0, 150, 170)
    for want in corners((150, 170), 20):
        have = Sharpen().needed(want, (150, 170))
        part = Sharpen().apply(image[have.slices], have, want, (150, 170), None)
        np.testing.assert_allclose(part, usm_sharpen(image)[want.slices], atol=1e-5)


def test_usm_is_that_of_basicsr():
    image = smooth_image(0, 150, 170)
    sharp = usm_sharpen(image)
    np.testing.assert_allclose(sharp, to_array(USMSharp()(to_tensor(image).float() / 255)), atol=1e-5)
    assert np.abs(sharp - image / 255).max() > 0.05


@pytest.mark.parametrize('operation', FILTERS, ids=repr)
def test_filters_are_those_of_basicsr(operation):
    image = noise_image()
    expected = filter2D(to_tensor(image), torch.from_numpy(operation.kernel)[None])
    np.testing.assert_allclose(whole(operation, image), to_array(expected), atol=1e-5)


def test_a_filter_leaves_out_weights_that_do_not_count():
    kernel = np.zeros((21, 21))
    kernel[10, 10] = 1
    assert Filter(kernel).margin == 0
    np.testing.assert_array_equal(whole(Filter(kernel), noise_image()), noise_image())
    kernel = bell_kernel('aniso', 21, 1, 0.5, 0.3)
    assert Filter(kernel).margin < 10
    expected = cv2.filter2D(noise_image(), -1, kernel)
    np.testing.assert_allclose(whole(Filter(kernel), noise_image()), expected, atol=2e-5)


@pytest.mark.parametrize('quality', [30.0, 49.9, 50.0, 77.7, 95.0])
def test_jpeg_is_that_of_basicsr(quality):
    image = smooth_image(0, *SIZE).astype(np.float32) / 255
    expected = to_array(DiffJPEG(differentiable=False)(to_tensor(image), torch.tensor([quality])))
    different = np.abs(whole(Jpeg(quality), image) - expected) > 1e-5
    assert different.mean() < 0.02  # a last bit can decide how a frequency is rounded


@pytest.mark.parametrize('quality', [30, 60, 95])
def test_jpeg_loses_as_much_as_a_file(quality):
    """Of a gray image: decoders smooth the chroma, and this one does not."""
    gray = np.repeat(smooth_image(0, 128, 144)[..., :1], 3, axis=2)
    _, file = cv2.imencode('.jpg', gray, [cv2.IMWRITE_JPEG_QUALITY, quality])
    lost = np.abs(cv2.imdecode(file, cv2.IMREAD_COLOR).astype(float) - gray).mean()
    coded = 255 * whole(Jpeg(quality), gray.astype(np.float32) / 255)
    assert np.abs(coded - gray).mean() == pytest.approx(lost, rel=0.2)


def test_jpeg_of_the_best_quality_loses_next_to_nothing():
    gray = np.repeat(noise_image()[..., :1], 3, axis=2)
    np.testing.assert_allclose(whole(Jpeg(100), gray), gray, atol=2e-3)


@pytest.mark.parametrize('gray', [False, True])
@pytest.mark.parametrize('kind, amount, deviation', [
    (GaussianNoise, 20, 20 / 255),
    # 256 levels in the image, so a pixel at full scale counts 256 on average
    (PoissonNoise, 1.0, np.sqrt(0.5 / 256)),
    (PoissonNoise, 0.3, 0.3 * np.sqrt(0.5 / 256)),
])
def test_noise_has_the_stated_deviation_and_no_bias(kind, amount, deviation, gray):
    image = np.full((300, 300, 3), 128 / 255, np.float32)
    image[:16, :16] = np.arange(256).reshape(16, 16, 1) / 255
    noisy = whole(kind(amount, gray), image, np.random.default_rng(0))
    difference = (noisy - image)[20:]
    assert difference.std() == pytest.approx(deviation, rel=0.02)
    assert abs(difference.mean()) < 4 * deviation / np.sqrt(280 * 300)
    assert np.corrcoef(difference.reshape(-1, 3).T)[0, 1] == pytest.approx(float(gray), abs=0.02)
    assert noisy.min() >= 0 and noisy.max() <= 1


def test_gaussian_noise_is_gaussian():
    noisy = whole(GaussianNoise(10, False), np.full((400, 400, 3), 0.5, np.float32), np.random.default_rng(0))
    found = np.quantile((noisy - 0.5) * 25.5, [0.001, 0.023, 0.159, 0.5, 0.841, 0.977, 0.999])
    np.testing.assert_allclose(found, [-3.09, -1.995, -0.9986, 0, 0.9986, 1.995, 3.09], atol=0.03)


@pytest.mark.parametrize('level', [1, 3, 20, 200])
def test_poisson_noise_counts(level):
    image = np.full((256, 256, 3), level / 255, np.float32)
    image[0] = np.arange(256)[:, None] / 255  # 256 levels make 256 counts of full scale
    noisy = whole(PoissonNoise(0.5, False), image, np.random.default_rng(0))
    counts = ((noisy - image)[1:] / 0.5 + level / 255) * 256
    expected = np.random.default_rng(1).poisson(level * 256 / 255, 200_000)
    assert counts.mean() == pytest.approx(expected.mean(), rel=0.02)
    assert counts.var() == pytest.approx(expected.var(), rel=0.03)
    shares = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(np.quantile(counts, shares), np.quantile(expected, shares), atol=0.51)


def test_poisson_noise_of_few_levels_is_strong():
    """An image of two levels makes two counts of full scale."""
    image = np.zeros((200, 200, 3), np.float32)
    image[:100] = 0.5
    noisy = whole(PoissonNoise(0.1, False), image, np.random.default_rng(0))
    assert (noisy - image)[:100].std() == pytest.approx(0.1 * np.sqrt(0.5 / 2), rel=0.03)
    np.testing.assert_array_equal(noisy[100:], 0)
