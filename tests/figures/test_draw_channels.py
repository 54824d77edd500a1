"""Figures of ablation and saliency are drawn from whatever comes out, also from one image, one channel, all zeros."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from reflash_sr.analysis.saliency import Saliency
from reflash_sr.figures import draw_ablation as ablation
from reflash_sr.figures import draw_saliency as saliency
from reflash_sr.figures.style import save


@pytest.fixture(autouse=True)
def strict():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield


def drawn(figure):
    """Texts and lines of a figure that was laid out without complaint."""
    figure.canvas.draw()
    axes = [one for part in (figure, *figure.subfigs) for one in part.axes]
    return ' '.join([figure.get_suptitle(), *(text.get_text() for one in axes for text in one.texts),
                     *(one.get_xlabel() + one.get_ylabel() + one.get_title() for one in axes)])


def test_in_turn(rng):
    curves = {order: {'plain': 30 - rng.random((3, 9)), 'p = 0.5': 30 - rng.random((1, 9))}
              for order in ('index', 'random', 'most-important-first')}
    text = drawn(ablation.figure_in_turn(curves, 'Title'))
    for part in ('PSNR, dB', 'channels removed', 'index order', 'most important first', 'Title'):
        assert part in text
    assert drawn(ablation.figure_in_turn({'index': {'one': np.array([[np.inf, 30, 20]])}}))


def test_lines_look_as_in_the_legend(rng):
    figure = ablation.figure_in_turn({'index': {f'p = {i}': 30 - rng.random((2, 5)) for i in range(4)}})
    figure.canvas.draw()
    drawn_lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 5]
    looks = [[(line.get_color(), line._unscaled_dash_pattern) for line in lines]
             for lines in (drawn_lines, figure.legends[0].get_lines())]
    assert looks[0] == looks[1]
    assert len(set(map(str, looks[0]))) == 4


def test_networks_of_several_widths_are_shown_whole(rng):
    curves = {'wide': 30 - rng.random((2, 17)), 'narrow': 30 - rng.random((2, 9))}
    assert ablation.figure_in_turn({'index': curves}).axes[0].get_xlim() == (0, 16)
    drops = {'wide': rng.random((2, 16)), 'narrow': rng.random((2, 8))}
    assert ablation.figure_single(drops).axes[0].get_xlim() == (0.5, 16.5)


def test_an_image_without_error_does_not_hide_the_others():
    curves = {'one': np.array([[np.inf, 40, 30], [30, 29, 28]])}
    line = ablation.figure_in_turn({'index': curves}).axes[0].lines[-1]
    assert list(line.get_ydata()) == [30, 29, 28]
    drawn(ablation.figure_single({'one': np.array([[-np.inf, np.inf, 1.0]])}))


@pytest.mark.parametrize('drops', [np.zeros((1, 1)), np.zeros((2, 8)), np.full((1, 4), np.inf)])
def test_single_and_features(drops):
    assert 'PSNR lost without it, dB' in drawn(ablation.figure_single({'a': drops, 'b': drops}))
    count = drops.shape[1]
    assert '0: ' in drawn(ablation.figure_features(np.zeros((count, 5, 7), np.float32), drops[0]))


def test_layers():
    text = drawn(ablation.figure_layers({'Gini': {'a': [0.1, None, 0.3]}}, ['first', 'B1', 'body.0.conv1']))
    assert 'Gini' in text and 'layer' in text


@pytest.mark.parametrize(('scale', 'channels', 'height', 'width'), [(0, 1, 4, 4), (1, 11, 300, 200), (1, 3, 1, 40)])
def test_saliency(rng, scale, channels, height, width):
    maps = (rng.random((channels, height, width)) * scale).astype(np.float32)
    one = Saliency(maps * 3 - 1, maps, float(scale))
    assert f'{one.scores.argmax()}: ' in drawn(saliency.figure_sheet(one, channels=10))
    assert 'saliency' in drawn(saliency.figure_models({'a': one, 'b': one}))


def test_the_file_is_an_image(tmp_path, rng):
    save(ablation.figure_single({'a': rng.random((2, 8))}), tmp_path / 'a.png')
    assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')
