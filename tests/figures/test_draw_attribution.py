"""The figure of attribution maps is drawn from whatever comes out, also from Y, RGBA and a map of zeros."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from reflash_sr.analysis.attribution import Attribution
from reflash_sr.figures.draw_attribution import COLUMNS, figure_attribution
from reflash_sr.figures.style import save


@pytest.mark.parametrize(('height', 'width', 'scale', 'channels'), [(8, 12, 4, 3), (9, 5, 1, 1), (4, 40, 2, 4)])
def test_a_row_for_each_network(rng, tmp_path, height, width, scale, channels):
    sr = rng.random((height * scale, width * scale, channels), np.float32)
    one = Attribution(rng.normal(size=(height, width)), sr, 1, 2, 2, 3.0, 1.0)
    none = Attribution(np.zeros((height, width)), sr - 0.5, 1, 2, 2, 0.0, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        figure = figure_attribution(rng.random((height, width, 3)), {'p = 0': one, 'none': none}, 'Title')
        save(figure, tmp_path / 'figure.png')
    assert len(figure.axes) == 2 * len(COLUMNS)
    assert figure.axes[0].get_ylabel() == f'p = 0\nDI {one.diffusion_index:.2f}'
    assert figure.axes[4].get_ylabel() == 'none\nDI -'
    assert [axes.get_title() for axes in figure.axes[:4]] == list(COLUMNS)
    frames = [axes.patches[0] for axes in figure.axes[:4]]
    assert frames[3].get_width() == 2 and frames[0].get_width() == 2 / scale
    assert (frames[3].get_x(), frames[3].get_y()) == (1.5, 0.5)
