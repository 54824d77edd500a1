"""Upscaling one image in memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from reflash_sr.data.images.image_with_metadata import FullImage, to_levels
from reflash_sr.errors import UserError
from reflash_sr.evaluation import upscale_image as upscaling
from reflash_sr.evaluation.tiled_inference import Restorer
from reflash_sr.evaluation.upscale_image import fill_transparent, upscale_image, upscale_strips
from reflash_sr.weights.network_from_file import build_network
from tests.conftest import TINY_NETWORK, smooth_image


@pytest.fixture(scope='module')
def restorer():
    return Restorer(build_network(TINY_NETWORK).eval(), 4)


@pytest.fixture
def image():
    return FullImage(smooth_image(0, 16, 20) / np.float32(255), depth=16, icc=b'x', dpi=(300, 300))


def test_colours_are_those_of_the_restorer_and_the_rest_is_kept(restorer, image):
    result, deviation = upscale_image(image, restorer)
    assert np.array_equal(to_levels(result.colour, 8), restorer.restore(smooth_image(0, 16, 20)))
    assert deviation is None
    assert {**vars(result), 'colour': None} == {**vars(image), 'colour': None}


def test_opaque_stays_opaque_and_transparent_stays_transparent(restorer, image):
    for value in (0, 1):
        alpha = np.full((16, 20), value, np.float32)
        result, _ = upscale_image(replace(image, alpha=alpha), restorer)
        assert np.array_equal(result.alpha, np.full((64, 80), value, np.float32))


def test_deviations_are_grey_levels_and_depend_on_seed_and_name(restorer, image):
    def deviation(*args):
        return upscale_image(image, restorer, 3, *args)[1]

    base = deviation(0, 'a')
    assert (base.shape, base.dtype) == ((64, 80), np.float32)
    assert 0 < base.max() < 255
    assert np.array_equal(base, deviation(0, 'a'))
    assert not np.array_equal(base, deviation(1, 'a')) and not np.array_equal(base, deviation(0, 'b'))


def test_values_that_are_not_finite_are_refused(image):
    net = build_network(TINY_NETWORK).eval()
    next(net.parameters()).data.fill_(float('nan'))
    with pytest.raises(UserError, match='not finite'):
        upscale_image(image, Restorer(net, 4))


def upscaled(image, scale=4):
    """Upscaled by a network that interpolates."""
    net = torch.nn.Upsample(scale_factor=scale, mode='bicubic')
    return upscale_image(fill_transparent(image), Restorer(net, scale))[0]


def over_white(image):
    return 255 * (image.colour * image.alpha[..., None] + 1 - image.alpha[..., None])


@pytest.mark.parametrize('soft', [False, True])
def test_a_white_cut_out_has_no_dark_fringe(soft):
    down, across = np.mgrid[:40, :40] - 19.5
    alpha = np.clip(12.5 - np.hypot(down, across), 0, 1).astype(np.float32)
    alpha = alpha if soft else np.rint(alpha)
    colour = np.repeat((alpha > 0)[..., None], 3, axis=2).astype(np.float32)
    assert over_white(upscaled(FullImage(colour, alpha))).min() >= 245
    assert over_white(upscale_image(FullImage(colour, alpha), Restorer(
        torch.nn.Upsample(scale_factor=4, mode='bicubic'), 4))[0]).min() < 245, 'without filling'
    for level in range(1, 9):  # black that a format with losses leaves around it
        faint = np.maximum(alpha, np.float32(level / 255))
        assert over_white(upscaled(FullImage(colour, faint))).min() >= 245, level


def test_hidden_colours_become_those_of_the_nearest_visible_pixel_and_visible_ones_stay(image):
    alpha = np.ones((16, 20), np.float32)
    alpha[:, 5:] = 0
    alpha[4, 7] = 8 / 255  # as good as 0, as formats with losses write it
    alpha[3, 4] = 9 / 255
    filled = fill_transparent(replace(image, alpha=alpha))
    assert np.array_equal(filled.colour[:, :5], image.colour[:, :5])
    assert np.array_equal(filled.colour[8:, 5:], np.repeat(image.colour[8:, 4:5], 15, axis=1))
    assert np.array_equal(filled.alpha, alpha)
    assert 'under full transparency' in filled.notes[0]
    uniform = image.colour.copy()
    uniform[:, 5:] = 0
    assert fill_transparent(replace(image, colour=uniform, alpha=alpha)).notes == ()


@pytest.mark.parametrize('alpha', [None, 0, 0.5, 1])
def test_an_image_without_hidden_or_without_visible_pixels_stays_as_it_is(image, alpha):
    given = replace(image, alpha=None if alpha is None else np.full((16, 20), alpha, np.float32))
    assert fill_transparent(given) is given


def test_filling_that_would_not_fit_into_memory_is_refused(image, monkeypatch):
    alpha = np.ones((16, 20), np.float32)
    alpha[0] = 0
    needed = 16 * 20 * upscaling.FILLING
    monkeypatch.setattr(upscaling, 'free_on_machine', lambda: needed)
    fill_transparent(replace(image, alpha=alpha))
    monkeypatch.setattr(upscaling, 'free_on_machine', lambda: needed - 1)
    with pytest.raises(UserError, match=r'20×16 px with transparency need .* GB are free; end other programs'):
        fill_transparent(replace(image, alpha=alpha))
    assert fill_transparent(image) is image


def test_strips_have_the_colours_and_transparency_of_the_whole(image):
    given = replace(image, alpha=np.linspace(0, 1, 320, dtype=np.float32).reshape(16, 20))
    net = torch.nn.Upsample(scale_factor=4, mode='nearest')
    whole, _ = upscale_image(given, Restorer(net, 4, tile=0))
    strips = list(upscale_strips(given, Restorer(net, 4, tile=8, overlap=2)))
    assert [len(colour) for colour, _ in strips] == [32, 32]
    colour, alpha = (np.concatenate(parts) for parts in zip(*strips))
    assert np.array_equal(colour, whole.colour)
    assert np.abs(alpha - whole.alpha).max() < 1e-6
