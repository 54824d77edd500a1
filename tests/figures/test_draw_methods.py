"""Figures of many methods show what they are given, a row for each, and nothing is cut off."""

import numpy as np
import pytest

from reflash_sr.figures import style
from reflash_sr.figures.draw_gains import Bar
from reflash_sr.figures.draw_methods import draw_by_degradation, draw_methods

NAMES = ['reflash', 'adaptive', 'simple-align', 'none, shrunk']


@pytest.fixture
def drawn(monkeypatch):
    """Figures in place of their files."""
    figures = []
    monkeypatch.setattr(style, 'save', lambda figure, path: figures.append(figure))
    return figures


def bars(panels=('all', 'all: beyond shrinkage'), groups=('mean',)):
    return [Bar(name, group, panel, gain, gain - 0.05, gain + 0.1, 9, (gain - 0.02, gain + 0.02))
            for panel in panels for gain, name in zip((0.3, -0.1, 0.0, 0.2), NAMES)
            for group in groups if not (name.endswith('shrunk') and panel.endswith('shrinkage'))]


def test_a_row_for_each_method_at_its_gain_better_and_worse_in_two_colours(drawn):
    draw_methods(bars(), 'x.png', 'gain in PSNR (dB)', 'Title', 'note')
    left, right = drawn[0].axes
    assert [text.get_text() for text in left.get_yticklabels()] == NAMES
    for axes, count in ((left, 4), (right, 3)):
        means = [line for line in axes.lines if line.get_marker() == 'o']
        assert [line.get_xdata()[0] for line in means] == pytest.approx([0.3, -0.1, 0.0, 0.2][:count])
        assert [line.get_ydata()[0] for line in means] == [*range(count)]
        spans = [line for line in axes.lines if line.get_marker() == 'None' and len(set(line.get_ydata())) == 1]
        assert np.array([line.get_xdata() for line in spans]) == pytest.approx(
            np.array([(gain - 0.05, gain + 0.1) for gain in (0.3, -0.1, 0.0, 0.2)[:count]]))
    assert means[0].get_color() != means[1].get_color()


def test_cells_hold_the_gains_of_every_degradation(drawn):
    draw_by_degradation(bars(('all',), ('clean', 'jpeg')), 'x.png', 'gain in PSNR (dB)', 'Title')
    (axes,) = drawn[0].axes
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(np.array([[0.3, -0.1, 0.0, 0.2]] * 2).T)
    assert [text.get_text() for text in axes.texts] == ['+0.30'] * 2 + ['-0.10'] * 2 + ['+0.00'] * 2 + ['+0.20'] * 2
    assert axes.images[0].norm(0) == 0.5, 'white is no gain'


@pytest.mark.parametrize('draw', [draw_methods, draw_by_degradation])
def test_title_and_legend_fit(drawn, draw):
    more = ('note',) if draw is draw_methods else ()
    draw(bars(), 'x.png', 'gain in PSNR (dB)', 'A title that is longer than the figure is wide ' * 3, *more)
    drawn[0].canvas.draw()
    for part in (drawn[0]._suptitle, *drawn[0].legends):
        box = part.get_window_extent()
        assert drawn[0].bbox.x0 <= box.x0 and box.x1 <= drawn[0].bbox.x1
