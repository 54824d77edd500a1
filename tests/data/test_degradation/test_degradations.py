"""The test degradations, held against the published recipe written down once more with Pillow and OpenCV."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from reflash_sr.data.images.bundled_photos import photo_paths
from reflash_sr.data.images.read_image import read_image
from reflash_sr.data.test_degradation.degradations import EIGHT, NAMED, check_name, degrade, mod_crop, noise_rng, parse
from reflash_sr.errors import UserError


def published(gt, blur=False, quality=None, method=Image.BICUBIC):
    """The authors' script for the degradations without noise, in Pillow's terms."""
    image = Image.fromarray(cv2.GaussianBlur(gt, (21, 21), 2) if blur else gt)
    image = image.resize((image.size[0] // 4, image.size[1] // 4), method)
    if quality:
        buffer = io.BytesIO()
        image.save(buffer, format='JPEG', quality=quality)
        image = Image.open(io.BytesIO(buffer.getvalue())).convert('RGB')
    return np.asarray(image)


NOISELESS = {'clean': {}, 'blur': {'blur': True}, 'jpeg': {'quality': 50}, 'b+j': {'blur': True, 'quality': 50},
             'nearest': {'method': Image.NEAREST}}


@pytest.mark.parametrize('path', photo_paths('val'), ids=lambda path: path.stem)
@pytest.mark.parametrize('name', NOISELESS)
def test_noiseless_ones_equal_the_published_recipe_pixel_for_pixel(path, name):
    gt = mod_crop(read_image(path), 4)
    assert np.array_equal(degrade(gt, name, 4, None), published(gt, **NOISELESS[name]))


# where the README has users put them
BENCHMARKS = [path for name in ('Set5', 'Set14') for path in sorted(Path('datasets/benchmark', name, 'HR').glob('*'))]


@pytest.mark.parametrize('path', [*photo_paths('val'), *BENCHMARKS], ids=lambda path: path.stem)
def test_golden_benchmarks(path):
    gt = mod_crop(read_image(path), 4)
    for name, recipe in NOISELESS.items():
        assert np.array_equal(degrade(gt, name, 4, None), published(gt, **recipe))
    for name in ('noise', 'b+n', 'n+j', 'b+n+j'):
        recipe = {'blur': True} if name.startswith('b') else {}
        draws = noise_rng(0, path.stem, name).normal(0, 20, published(gt).shape)
        noisy = np.clip(published(gt, **recipe) + draws, 0, 255).astype(np.uint8)
        lq = degrade(gt, name, 4, noise_rng(0, path.stem, name))
        if not name.endswith('j'):
            assert np.array_equal(lq, noisy)
            assert np.std(draws) == pytest.approx(20, rel=0.02)
            continue
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, format='JPEG', quality=50)
        assert np.array_equal(lq, np.asarray(Image.open(buffer).convert('RGB')))


# Mean and one pixel of photographs that scikit-image ships, as the recipe gave them when this was written.
GOLDEN = {
    'clean': (115.22, [94, 87, 43]),
    'blur': (115.23, [88, 80, 39]),
    'jpeg': (115.13, [85, 77, 54]),
    'nearest': (115.32, [98, 92, 44]),
}


@pytest.mark.parametrize('name', GOLDEN)
def test_golden_pixels(name):
    lq = degrade(mod_crop(read_image(photo_paths('val')[0]), 4), name, 4, None)
    mean, pixel = GOLDEN[name]
    assert lq.shape == (75, 112, 3)
    assert lq.mean() == pytest.approx(mean, abs=0.1)
    assert np.abs(lq[30, 40].astype(int) - pixel).max() <= 1  # a JPEG library may round otherwise


def test_noise_is_added_clipped_and_truncated():
    gt = np.full((400, 400, 3), 128, np.uint8)
    lq = degrade(gt, 'noise', 4, noise_rng(0, 'a', 'noise')).astype(float)
    assert lq.std() == pytest.approx(20, rel=0.02)
    assert lq.mean() == pytest.approx(127.5, abs=0.4)  # truncation takes half a grey level
    planes = lq.reshape(-1, 3).T
    assert np.abs(np.corrcoef(planes) - np.eye(3)).max() < 0.05, 'three planes are drawn, not one'
    dark = degrade(np.zeros((400, 400, 3), np.uint8), 'noise', 4, noise_rng(0, 'a', 'noise'))
    assert 0.48 < (dark == 0).mean() < 0.56


def test_noise_depends_on_seed_image_and_degradation_alone():
    def draw(*key):
        return noise_rng(*key).normal(size=4)

    base = draw(0, 'baby', 'noise')
    assert np.array_equal(base, draw(0, 'baby', 'noise'))
    for other in ((1, 'baby', 'noise'), (0, 'bird', 'noise'), (0, 'baby', 'b+n')):
        assert not np.array_equal(base, draw(*other))


STRENGTHS = ('blur:3.5', 'noise:40', 'jpeg:30', 'down:matlab', 'down:bilinear', 'b:1+down:lanczos+n:5+j:90')


@pytest.mark.parametrize('name', NAMED + STRENGTHS)
@pytest.mark.parametrize('scale', [1, 2, 3, 4])
def test_shape_and_type_for_every_degradation_and_scale(name, scale, rng):
    gt = mod_crop(rng.integers(0, 256, (37, 50, 3), dtype=np.uint8), scale)
    lq = degrade(gt, name, scale, noise_rng(0, 'x', name))
    assert lq.dtype == np.uint8
    assert lq.shape == (37 // scale, 50 // scale, 3)
    again = degrade(gt, name, scale, noise_rng(0, 'x', name))
    assert np.array_equal(lq, again)


def test_composition_is_in_the_order_of_the_name(rng):
    gt = np.repeat(np.repeat(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), 8, 0), 8, 1)
    both = degrade(gt, 'b+n+j', 4, noise_rng(0, 'x', 'y'))
    blurred = degrade(cv2.GaussianBlur(gt, (21, 21), 2), 'n+j', 4, noise_rng(0, 'x', 'y'))
    assert np.array_equal(both, blurred)


def test_the_eight_are_those_of_table_1_and_a_wrong_name_is_named():
    assert len(set(EIGHT)) == 8
    with pytest.raises(UserError, match="'noize' is not known; did you mean 'noise'"):
        check_name('noize')


def test_non_contiguous_images(rng):
    gt = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    flipped = gt[:, ::-1]
    assert np.array_equal(degrade(flipped, 'b+j', 4, None), degrade(flipped.copy(), 'b+j', 4, None))


def test_strengths_are_written_behind_the_step(rng):
    gt = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert parse('j:30+b') == {'blur': 2, 'down': 'bicubic', 'jpeg': 30}
    assert list(parse('j+n+b')) == ['blur', 'down', 'noise', 'jpeg'], 'the order of work, whatever is written'
    rng_of = lambda: noise_rng(0, 'x', 'y')  # noqa: E731
    for name, spelt in (('b+n+j', 'blur:2+noise:20+jpeg:50'), ('clean', 'down:bicubic'), ('nearest', 'down:nearest')):
        assert np.array_equal(degrade(gt, name, 4, rng_of()), degrade(gt, spelt, 4, rng_of()))
    old, new = (degrade(np.full((400, 400, 3), 128, np.uint8), name, 4, rng_of()).std()
                for name in ('noise:40', 'noise'))
    assert 1.9 < old / new < 2.05


@pytest.mark.parametrize('name', ['noise:0', 'noise:x', 'noise:', 'jpeg:101', 'jpeg:30.5', 'blur:-1', 'blur:nan', 'b+b',
                                  'down:cubic', 'down:4', 'b++n', '', 'clean+n', 'blur:2:3', 'noise:1e3'])
def test_a_wrong_strength_is_one_line(name):
    with pytest.raises(UserError, match='degradation: '):
        check_name(name)


@pytest.mark.parametrize('side', [8, 36, 61])
def test_matlab_is_imresize(rng, side):
    from basicsr.utils.matlab_functions import imresize
    gt = mod_crop(rng.integers(0, 256, (side, side + 7, 3), dtype=np.uint8), 4)
    theirs = imresize(gt.astype(np.float32) / 255, 1 / 4).astype(np.float64).clip(0, 1) * 255
    assert np.abs(degrade(gt, 'down:matlab', 4, None) - theirs).max() < 0.501
