"""Figures: written whole, not blank, whatever is missing; Matplotlib's own state is left alone."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from reflash_sr.figures import draw_study as figures
from reflash_sr.figures.style import DPI, WIDTH

ITERATIONS = np.array([100, 200, 300])


def one(name, panel='', group='', shade='', seeds=3, reference=None, end=26.0, offset=0):
    noise = np.random.default_rng(offset).normal(0, 0.05, (seeds, 3))
    psnr = np.linspace(end - 2, end, 3) + noise
    return figures.Series(name, panel, group, shade, ITERATIONS, psnr, 300, reference)


DIMS = ('channel dropout', 'element dropout')


def grid(positions=('last-conv', 'B4'), ps=('p = 0.1', 'p = 0.3'), seeds=3):
    p0 = one('p0', seeds=seeds)
    return [one(f'{dim} {position} {p}', dim, position, p, seeds, p0, 26 + 0.2 * i - 0.3 * k, 10 * i + j)
            for i, position in enumerate(positions) for j, dim in enumerate(DIMS) for k, p in enumerate(ps)]


DRAW = [figures.draw_curves, figures.draw_bars]
MANY = grid([f'position {i}' for i in range(9)], ps=[f'p = 0.{i}' for i in range(1, 10)])


@pytest.mark.parametrize('draw', DRAW)
@pytest.mark.parametrize('series', [grid(), grid(seeds=1), MANY, [one('p0')], [one('a', group='lr 1'),
                                                                           one('b', group='lr 2', offset=1)]],
                         ids=['seeds', 'one seed', 'many', 'one cell', 'no reference'])
def test_figures_are_written_and_not_blank(tmp_path, draw, series):
    path = tmp_path / 'figures' / 'one.png'
    draw(series, path, 'a study: photos')
    image = Image.open(path)
    pixels = np.asarray(image.convert('L'))
    assert image.width == WIDTH * DPI
    assert (pixels < 128).mean() > 0.002, 'blank'
    assert path.stat().st_size < (600_000 if series is MANY else 150_000)
    assert not plt.get_fignums()
    assert [file.name for file in path.parent.iterdir()] == ['one.png']


@pytest.mark.parametrize('draw', DRAW)
def test_missing_validations_leave_gaps(tmp_path, draw):
    series = grid()
    for place, missing in ((0, np.s_[1, :]), (1, np.s_[:, 2]), (2, np.s_[:, :])):
        series[place].psnr[missing] = np.nan
    series[3].reference.psnr[0, 2] = np.nan
    draw(series, tmp_path / 'gaps.png', 'a study: photos')
    assert (np.asarray(Image.open(tmp_path / 'gaps.png').convert('L')) < 128).any()


@pytest.mark.parametrize('ps', [('p = 0.7',), ('p = 0.3', 'p = 0.5', 'p = 0.7')])
def test_lines_of_one_group_look_as_in_the_legend(monkeypatch, ps):
    saved = []
    monkeypatch.setattr(figures.style, 'save', lambda figure, path: saved.append(figure))
    p0 = one('p0')
    figures.draw_curves([one(p, shade=p, reference=p0, offset=i) for i, p in enumerate(ps)], 'curves.png', 'a study')
    drawn, shown = ([(to_hex(line.get_color()), line._unscaled_dash_pattern) for line in lines]
                    for lines in (saved[0].axes[0].lines, saved[0].legends[0].get_lines()))
    assert drawn == shown
    assert len(drawn) == len(set(map(str, drawn))) == 1 + len(ps)


def test_a_series_knows_its_result_and_gain_seed_by_seed():
    p0 = one('p0')
    cell = figures.Series('x', '', '', '', ITERATIONS, p0.psnr + 0.5, 300, p0)
    np.testing.assert_allclose(cell.gain(), 0.5)
    assert figures.std(cell.gain()) < 1e-9 < figures.std(cell.last())
    unfinished = figures.Series('y', '', '', '', ITERATIONS, p0.psnr, 400, p0)
    assert np.isnan(unfinished.last()).all()
    assert p0.gain() is None
    assert np.isnan(figures.mean(np.array([np.nan])))
    assert figures.std(np.array([1.0, np.nan])) is None
