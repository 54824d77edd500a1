"""Upscaling one image in memory."""

from dataclasses import replace

import numpy as np
import pytest

from reflash_sr.data.images.image_with_metadata import FullImage, to_levels
from reflash_sr.errors import UserError
from reflash_sr.evaluation.tiled_inference import Restorer
from reflash_sr.evaluation.upscale_image import upscale_image
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
    assert replace(result, colour=image.colour) == image


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
