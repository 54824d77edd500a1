"""The figure of the shrinkage control shows every network, bicubic interpolation and every fitted α."""

import numpy as np
import pytest

from reflash_sr.figures import style
from reflash_sr.figures.draw_shrinkage import ShrinkageCurve, draw_shrinkage

ALPHAS = np.arange(201) / 100


@pytest.fixture
def drawn(monkeypatch):
    """Figures in place of their files."""
    figures = []
    monkeypatch.setattr(style, 'save', lambda figure, path: figures.append(figure))
    return figures


def curves(panels, networks, fitted):
    for panel in panels:
        yield ShrinkageCurve('bicubic', panel, [0, 2], [23.2, 23.2], [])
        for place, name in enumerate(networks):
            yield ShrinkageCurve(name, panel, ALPHAS, 23.6 - (2 + place) * (ALPHAS - 0.5)**2, fitted)


@pytest.mark.parametrize(('panels', 'networks'), [(1, 2), (2, 2), (3, 9), (5, 12)])
def test_all_is_shown_inside_the_figure(drawn, panels, networks):
    names = [f'network number {place} with a name that is rather long' for place in range(networks)]
    draw_shrinkage(list(curves([f'set {i}' for i in range(panels)], names, [0.49, 0.52])), 'x.png', 'PSNR',
                   'fitted on the other half of each test set')
    [figure] = drawn
    axes = [one for one in figure.axes if one.get_visible()]
    assert len(axes) == panels
    for one in axes:
        lines = [line for line in one.lines if len(line.get_xdata()) == len(ALPHAS)]
        assert len(lines) == networks
        assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == networks, 'lines differ'
        dots = [line for line in one.lines if list(line.get_xdata()) == [0.49, 0.52]]
        assert len(dots) == networks
        low, high = one.get_ylim()
        assert all(low < value < high for line in dots for value in line.get_ydata()) and low < 23.2 < high
        assert all(low < np.interp(1, ALPHAS, line.get_ydata()) < high for line in lines), 'α = 1 is inside'
    figure.canvas.draw()
    for part in (figure._suptitle, *figure.legends):
        box = part.get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1


def test_the_file_is_written(tmp_path):
    draw_shrinkage(list(curves(['Set5'], ['p = 0'], [0.5])), tmp_path / 'x.png', 'PSNR', 'given by hand')
    assert (tmp_path / 'x.png').stat().st_size > 1000


def test_a_long_name_keeps_its_end():
    name = 'study_dropout_cpu_p0.7_seed0, shrunk 0.51'
    assert style.short(name).endswith('shrunk 0.51') and len(style.short(name)) == style.LONGEST
    assert style.short('p = 0.7, shrunk 0.51') == 'p = 0.7, shrunk 0.51'
