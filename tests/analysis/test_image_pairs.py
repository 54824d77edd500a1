"""Images for an analysis: cropped so that every network takes them; layers are tried before anything runs."""

import numpy as np
import pytest
import torch
from PIL import Image

from reflash_sr.analysis.image_pairs import ImageSelection, load_pairs, pairs_from_arrays
from reflash_sr.analysis.on_device import check_layers
from reflash_sr.errors import UserError
from reflash_sr.weights.network_from_file import build_network, open_network
from tests.conftest import TINY_NETWORK, smooth_image


@pytest.fixture
def networks(tmp_path):
    for number in range(2):
        torch.save({'params': build_network(TINY_NETWORK).state_dict(), 'network_g': TINY_NETWORK},
                   tmp_path / f'{number}.pth')
    return [open_network(tmp_path / f'{number}.pth') for number in range(2)]


@pytest.fixture
def images(tmp_path):
    (tmp_path / 'images').mkdir()
    for seed, size in enumerate(((48, 64), (47, 41), (40, 40))):
        Image.fromarray(smooth_image(seed, *size)).save(tmp_path / f'images/{seed}.png')
    return str(tmp_path / 'images')


def sizes(pairs):
    return [tuple(pair.lq.shape[2:]) for pair in pairs]


def test_images_fit_every_network(networks, images):
    pairs = load_pairs(ImageSelection(images), networks)
    assert sizes(pairs) == [(12, 16), (11, 10), (10, 10)]
    assert all(pair.gt.shape[0] == 4 * pair.lq.shape[2] for pair in pairs)
    assert sizes(load_pairs(ImageSelection(images, crop=10), networks)) == [(10, 10)] * 3
    object.__setattr__(networks[0], 'multiple', 12)
    with pytest.raises(UserError, match='48×48 px'):
        load_pairs(ImageSelection(images), networks)
    object.__setattr__(networks[0], 'scale', 2)
    with pytest.raises(UserError, match='several scales'):
        load_pairs(ImageSelection(images), networks)


def test_a_crop_is_central_and_a_whole_image_begins_at_its_corner(networks, images):
    image = smooth_image(1, 47, 41)
    whole = load_pairs(ImageSelection(images), networks)[1]
    np.testing.assert_array_equal(whole.gt, image[:44, :40])
    crop = load_pairs(ImageSelection(images, crop=5), networks)[1]
    np.testing.assert_array_equal(crop.gt, image[13:33, 10:30])


def test_arrays_are_the_same_as_files(networks, images):
    pairs = load_pairs(ImageSelection(images), networks)
    arrays = [(pair.name, (pair.lq[0] * 255).round().byte().permute(1, 2, 0).numpy(), pair.gt) for pair in pairs]
    for pair, again in zip(pairs, pairs_from_arrays(arrays, networks[0])):
        assert pair.name == again.name
        torch.testing.assert_close(pair.lq, again.lq)
        np.testing.assert_array_equal(pair.gt, again.gt)


@pytest.mark.parametrize(('lq', 'gt', 'message'), [
    (np.zeros((8, 8, 3), np.float32), np.zeros((32, 32, 3), np.uint8), 'a: lq: is float32'),
    (np.zeros((8, 8, 3), np.uint8), np.zeros((32, 32), np.uint8), r'a: gt: is uint8 \(32, 32\)'),
    (np.zeros((8, 8, 3), np.uint8), np.zeros((30, 32, 3), np.uint8), 'not 4 times the LQ image'),
    (np.zeros((0, 8, 3), np.uint8), np.zeros((0, 32, 3), np.uint8), 'takes multiples of 1'),
])
def test_arrays_that_do_not_fit_are_refused(networks, lq, gt, message):
    with pytest.raises(UserError, match=message):
        pairs_from_arrays([('a', lq, gt)], networks[0])
    with pytest.raises(UserError, match='none'):
        pairs_from_arrays([], networks[0])


def test_networks_are_tried_as_they_are(networks):
    networks[0].net.double()  # stands for a network that an earlier analysis left on a GPU
    assert check_layers(networks, ['last', 'B1']) == [['last', 'B1']] * 2
