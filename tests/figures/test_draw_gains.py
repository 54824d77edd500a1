"""Figures of gains show what they are given, whatever the names, and nothing in them is cut off."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from reflash_sr.figures import draw_study as study
from reflash_sr.figures import style
from reflash_sr.figures.draw_gains import Bar, Curve, draw_absolute, draw_gain_curves, draw_gains
from reflash_sr.figures.style import new_figure

LONG = 'study_dropout_cpu_p0.5_seed0_iteration_6000 [params_ema] over study_dropout_cpu_p0_seed0 [params_ema]'


@pytest.fixture
def drawn(monkeypatch):
    """Figures in place of their files."""
    figures = []
    monkeypatch.setattr(style, 'save', lambda figure, path: figures.append(figure))
    return figures


def bars(points=((), ()), names=('p = 0.3', 'p = 0.7')):
    return [Bar(name, group, panel, mean, mean - 0.1, mean + 0.2, 19, some)
            for (name, mean, some), group, panel in itertools.product(
                zip(names, (0.1, -0.2), points), ('clean', 'blur', 'mean'), ('raw', 'EMA'))]


def fits(figure):
    """Whether title and legend lie within the figure."""
    figure.canvas.draw()
    parts = [figure._suptitle, *figure.legends]
    return all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in (
        part.get_window_extent() for part in parts))


def test_bars_are_the_gains_each_series_in_its_colour(drawn):
    draw_gains(bars(), 'x.png', 'gain in PSNR (dB)', 'Title', 'note')
    colours = {}
    for axes in drawn[0].axes:
        assert sorted(patch.get_height() for patch in axes.patches) == pytest.approx([-0.2] * 3 + [0.1] * 3)
        for patch in axes.patches:
            colours.setdefault(patch.get_height(), set()).add(patch.get_facecolor())
        ends = {tuple(round(float(y), 6) for y in path.vertices[:, 1])
                for line in axes.collections for path in line.get_paths()}
        assert {(0.0, 0.3), (-0.3, 0.0)} <= ends
    assert all(len(some) == 1 for some in colours.values()) and len(set.union(*colours.values())) == 2
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ['p = 0.3', 'p = 0.7']


def test_what_is_said_of_a_series_has_its_colour(drawn):
    names = ('p = 0.3', 'p = 0.3, beyond shrinkage')
    draw_gains(bars(names=names), 'x.png', 'gain', 'Title', 'note')
    looks = {patch.get_height(): (patch.get_edgecolor(), patch.get_hatch()) for patch in drawn[0].axes[0].patches}
    assert looks[0.1][0] == looks[-0.2][0]
    assert [looks[0.1][1] is None, looks[-0.2][1] is None] == [True, False]
    draw_gain_curves([Curve(name, '', [(1, (0.1,)), (2, (0.2,))]) for name in names], 'x.png', 'gain', 'Title')
    first, second = (line for line in drawn[1].axes[0].lines if len(line.get_xdata()) == 2 and line.get_marker() == 'o')
    assert first.get_color() == second.get_color()
    assert first.get_linestyle() != second.get_linestyle()


def test_every_seed_is_a_dot_also_one_beside_several(drawn):
    draw_gains(bars(((0.0, 0.2), (-0.2,))), 'x.png', 'gain', 'Title', 'note')
    dots = [line.get_ydata() for line in drawn[0].axes[0].lines if line.get_marker() == 'o']
    assert sorted(float(one) for some in dots for one in some) == pytest.approx([-0.2] * 3 + [0.0] * 3 + [0.2] * 3)


def test_one_scale_where_it_is_wanted(drawn):
    some = [Bar('p', 'clean', panel, mean, None, None, 1) for panel, mean in (('a', 1.0), ('b', 0.1))]
    draw_gains(some, 'x.png', 'gain', 'Title', 'note', sharey=True)
    draw_gains(some, 'x.png', 'gain', 'Title', 'note')
    shared, apart = ([axes.get_ylim() for axes in figure.axes] for figure in drawn)
    assert shared[0] == shared[1] and apart[0] != apart[1]


def test_curves_are_means_between_the_least_and_the_largest(drawn):
    draw_gain_curves([Curve('p = 0.3', 'raw', [(2, (0.1, 0.3)), (4, (0.2, 0.4))])], 'x.png', 'gain', 'Title')
    line = next(line for line in drawn[0].axes[0].lines if len(line.get_xdata()) == 2 and line.get_marker() == 'o')
    assert list(line.get_ydata()) == pytest.approx([0.2, 0.3])
    band = drawn[0].axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.1, 0.4))
    assert 'mean of 2 seeds' in drawn[0].legends[0].get_title().get_text()


def test_how_many_seeds_there_are_is_said_as_it_is(drawn):
    draw_gain_curves([Curve('p = 0.3', 'raw', [(2, (0.1,)), (4, (0.2, 0.4, 0.3))])], 'x.png', 'gain', 'Title')
    draw_gain_curves([Curve('p = 0.3', 'raw', [(2, (0.1,)), (4, (0.2,))])], 'x.png', 'gain', 'Title')
    notes = [figure.legends[0].get_title().get_text() for figure in drawn]
    assert 'mean of 1 to 3 seeds' in notes[0] and notes[1] == 'one seed'


def test_absolute_values_stand_on_the_axis(drawn):
    values = {'bicubic': np.array([25.0, 24.0]), 'net': np.array([26.0, 23.0])}
    draw_absolute({'Set5': ['clean', 'blur']}, {'Set5': values}, 'x.png', 'PSNR (dB)', 'Title')
    tops = sorted(patch.get_y() + patch.get_height() for patch in drawn[0].axes[0].patches)
    assert tops == pytest.approx([23, 24, 25, 26])


@pytest.mark.parametrize('names', [('p = 0.3', 'p = 0.7'), (LONG, f'{LONG}_2')], ids=['short', 'long'])
def test_titles_and_legends_fit(drawn, names):
    title = 'study_dropout_cpu: mean of 2 sets (Set5, Set14), mean of 8 degradations (clean, blur, noise, jpeg, …)'
    draw_gains(bars(names=names), 'x.png', 'gain in PSNR (dB)', title * 2, 'note')
    assert fits(drawn[0])
    assert new_figure('short').get_suptitle() == 'short'


def test_lines_of_a_study_of_p_alone_can_be_told_apart(drawn):
    iterations = np.array([100, 200])
    series = [study.Series(f'p{i}', '', 'last-conv', f'p = 0.{i}', iterations, np.full((1, 2), 25.0 + i), 200)
              for i in range(1, 10)]
    study.draw_curves(series, 'x.png', 'Title')
    looks = {(to_rgba(line.get_color()), str(line.get_linestyle())) for line in drawn[0].axes[0].lines}
    assert len(looks) == 9
    handles = drawn[0].legends[0].get_lines()
    assert {(to_rgba(line.get_color()), str(line.get_linestyle())) for line in handles} == looks


def test_values_have_the_decimals_of_their_metric(drawn):
    draw_gains([Bar('p = 0.3', 'clean', '', 0.0042, 0.001, 0.007, 9)], 'x.png', 'gain in SSIM', 'Title', 'note', 4)
    draw_absolute({'Set5': ['clean']}, {'Set5': {'bicubic': np.array([0.81234])}}, 'x.png', 'SSIM', 'Title', 4)
    texts = [[text.get_text() for text in figure.axes[0].texts] for figure in drawn]
    assert texts == [['+0.0042'], ['0.8123']]
