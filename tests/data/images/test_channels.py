"""Images in the channels of a network, and back."""

import numpy as np
import pytest
import torch
from basicsr.utils import bgr2ycbcr
from PIL import Image
from torch.nn import functional as F

from reflash_sr.data.images.channels import from_channels, to_channels


def bicubic(image, scale=3):
    return F.interpolate(image, scale_factor=scale, mode='bicubic', antialias=True)


@pytest.fixture
def image(rng):
    return torch.from_numpy(rng.integers(0, 256, (1, 3, 21, 34)).astype(np.float32) / 255)


def test_y_is_that_of_basicsr_bit_for_bit(image):
    theirs = bgr2ycbcr(image[0].permute(1, 2, 0).numpy()[..., ::-1], y_only=True)
    assert np.array_equal(to_channels(image, 1)[0, 0].numpy(), theirs)
    ends = to_channels(torch.tensor([0.0, 1.0]).repeat(3, 1, 1), 1).ravel()
    torch.testing.assert_close(ends * 255, torch.tensor([16.0, 235.0]))


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_an_image_with_the_channels_is_not_touched(channels):
    image = torch.rand(1, channels, 5, 6)
    assert to_channels(image, channels) is image
    assert torch.equal(from_channels(image, image), image)


def test_alpha_is_opaque_and_goes_again(image):
    with_alpha = to_channels(image, 4)
    assert torch.equal(with_alpha[:, :3], image)
    assert (with_alpha[:, 3] == 1).all()
    assert torch.equal(from_channels(with_alpha, image), image)


def test_cb_and_cr_are_upscaled_as_pillow_does(image):
    back = from_channels(bicubic(to_channels(image, 1)), image)
    for mine, channel in zip(back[0], image[0].numpy()):  # a linear filter for Y, Cb and Cr is one for R, G and B
        size = (3 * channel.shape[1], 3 * channel.shape[0])
        theirs = np.asarray(Image.fromarray(channel).resize(size, Image.Resampling.BICUBIC))
        np.testing.assert_allclose(mine.numpy(), theirs, atol=1e-5)


def test_y_changes_and_the_colours_stay(image):
    brighter = from_channels(to_channels(image, 1) + 10 / 255, image)
    torch.testing.assert_close(brighter, image + 10 / 219)
    torch.testing.assert_close(to_channels(brighter, 1), to_channels(image, 1) + 10 / 255)


def test_mixed_precision_changes_no_conversion(image):
    y = to_channels(image, 1)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(to_channels(image, 1), y)
        mixed = from_channels(bicubic(y), image)
    assert torch.equal(mixed, from_channels(bicubic(y), image))


def test_grey_stays_grey(image):
    grey = image[:, :1].repeat(1, 3, 1, 1)
    back = from_channels(bicubic(to_channels(grey, 1)), grey)
    assert torch.equal(back, back[:, :1].repeat(1, 3, 1, 1))
    torch.testing.assert_close(back, bicubic(grey))
