"""The square to look at."""

import numpy as np
import pytest

from reflash_sr.evaluation.detail_crop import crop_box


def test_it_holds_the_structure():
    image = np.full((300, 401, 3), 90, np.uint8)
    image[200:260:12, 300:380] = 250
    rows, columns = crop_box(image, 4, 96)
    assert rows.start <= 204 and rows.stop >= 252 and columns.start <= 304 and columns.stop >= 372
    assert rows.start % 4 == columns.start % 4 == 0


@pytest.mark.parametrize('shape', [(4, 4), (20, 300), (97, 96), (128, 128)])
@pytest.mark.parametrize('scale', [1, 2, 4])
def test_it_lies_inside_small_and_flat_images(shape, scale):
    rows, columns = crop_box(np.zeros((*shape, 3), np.uint8), scale)
    assert 0 <= rows.start < rows.stop <= shape[0] and 0 <= columns.start < columns.stop <= shape[1]
    assert rows.stop - rows.start == columns.stop - columns.start
