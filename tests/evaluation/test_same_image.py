"""One picture is found again as a copy, a JPEG or a smaller version; other pictures are not."""

import io

import numpy as np
import pytest
from PIL import Image

from reflash_sr.data.images.bundled_photos import photo_paths
from reflash_sr.data.images.read_image import read_image
from reflash_sr.evaluation.same_image import Fingerprint

PHOTOS = [read_image(path) for name in ('train', 'val') for path in photo_paths(name)]


def jpeg(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=50)
    return np.asarray(Image.open(file))


def smaller(image):
    return np.asarray(Image.fromarray(image).resize((image.shape[1] * 3 // 4, image.shape[0] * 3 // 4)))


@pytest.mark.parametrize('change', [np.copy, jpeg, smaller])
def test_each_picture_is_the_same_as_itself_alone(change):
    before = [Fingerprint.of(image) for image in PHOTOS]
    after = [Fingerprint.of(change(image)) for image in PHOTOS]
    same = [[one.is_same(other) for other in after] for one in before]
    assert np.array_equal(same, np.eye(len(PHOTOS), dtype=bool))


def test_flat_pictures_are_the_same_only_if_they_are_equal():
    grey = [Fingerprint.of(np.full((32, 40, 3), level, np.uint8)) for level in (90, 90, 91)]
    assert grey[0].is_same(grey[1]) and not grey[0].is_same(grey[2])
