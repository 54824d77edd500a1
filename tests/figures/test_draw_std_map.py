"""The map of standard deviations."""

import numpy as np
import pytest

from reflash_sr.figures.draw_std_map import NARROWEST, STRIP, draw_deviation


@pytest.mark.parametrize('height, width', [(1, 1), (20, 400)])
def test_a_pixel_for_a_pixel_and_the_scale_below(height, width):
    deviation = np.linspace(0, 30, height * width, dtype=np.float32).reshape(height, width)
    drawn = draw_deviation(deviation)
    assert drawn.size == (max(width, NARROWEST), height + STRIP)
    lightness = np.asarray(drawn.convert('L'), int)[:height, :width]
    assert lightness.max() == lightness[-1, -1]
    assert (np.diff(lightness.ravel()) >= -1).all()


def test_no_deviation_is_black_throughout():
    assert np.asarray(draw_deviation(np.zeros((5, 6), np.float32)))[:5, :6].max() < 5
