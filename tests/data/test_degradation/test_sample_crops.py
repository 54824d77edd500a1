"""Samples for an analysis: crops lie inside, differ, repeat with the seed, and are shared by the degradations."""

import numpy as np
import pytest
from PIL import Image

from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.data.test_degradation.degradations import degrade, noise_rng
from reflash_sr.data.test_degradation.sample_crops import check_degradations, choose_crops, make_samples
from reflash_sr.errors import UserError


@pytest.fixture
def source(image_folder):
    return ImageSource({'dataroot_gt': str(image_folder)})  # four images, 96×72 px


@pytest.mark.parametrize('count', [1, 2, 4, 5, 23])
def test_crops_are_spread_over_the_photographs(source, count):
    crops = choose_crops(source, count, 32)
    assert len({crop.name for crop in crops}) == len({(one.index, one.top, one.left) for one in crops}) == count
    assert all(0 <= crop.top <= 72 - 32 and 0 <= crop.left <= 96 - 32 for crop in crops)
    shares = np.bincount([crop.index for crop in crops], minlength=4)
    assert shares.max() - shares.min() <= 1


def test_places_depend_on_the_seed_and_the_photograph_alone(source, image_folder):
    first = choose_crops(source, 4, 32)
    assert choose_crops(source, 4, 32, seed=1) != first
    (image_folder / 'a 1.png').unlink()
    fewer = choose_crops(ImageSource({'dataroot_gt': str(image_folder)}), 3, 32)
    assert [(one.name, one.top, one.left) for one in fewer] == [(one.name, one.top, one.left) for one in first[1:]]


def test_degradations_share_the_crop(source):
    crops = choose_crops(source, 6, 32)
    names = ['clean', 'b+n']
    samples = make_samples(source, crops, names, 4, seed=5)
    assert samples.shape == (12, 8, 8, 3)
    assert samples.dtype == np.uint8
    np.testing.assert_array_equal(make_samples(source, crops, names, 4, seed=5), samples)
    one = crops[4]
    gt = source.read(one.index)[one.top:one.top + 32, one.left:one.left + 32]
    for k, name in enumerate(names):
        np.testing.assert_array_equal(samples[4 * 2 + k], degrade(gt, name, 4, noise_rng(5, one.name, name)))


def test_a_photograph_that_is_just_large_enough_gives_one_crop(tmp_path):
    Image.new('RGB', (32, 32)).save(tmp_path / 'small.png')
    source = ImageSource({'dataroot_gt': str(tmp_path)})
    assert (choose_crops(source, 1, 32)[0].top, choose_crops(source, 1, 32)[0].left) == (0, 0)
    with pytest.raises(UserError, match=r'small\.png.*1 crops'):
        choose_crops(source, 2, 32)
    with pytest.raises(UserError, match=r'small\.png: 32×32 px is too small for a crop of 33 px'):
        choose_crops(source, 1, 33)


def test_mistakes_are_told(source):
    with pytest.raises(UserError, match='samples: 0'):
        choose_crops(source, 0, 32)
    with pytest.raises(UserError, match='twice'):
        check_degradations(['clean', 'clean'])
    with pytest.raises(UserError, match='blur'):
        check_degradations(['clean', 'blurr'])
