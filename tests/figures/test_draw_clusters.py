"""Figures of clusters: written, not blank, whatever the models, degradations and numbers."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from reflash_sr.data.test_degradation.degradations import NAMED
from reflash_sr.figures.draw_clusters import MARKERS, Panel, _look, chi_text, draw_chi, draw_scatter
from reflash_sr.figures.style import COLOURS, DPI, WIDTH

NAMES = list(NAMED)


def panel(i=0, kinds=5, chi=(800.0, 900.0), p=0.0, group=''):
    points = np.random.default_rng(i).normal(size=(20 * kinds, 2))
    return Panel(f'model {i}', points, np.arange(20 * kinds) % kinds, np.array(chi), 12.0, p, group)


MANY = [panel(i, p=i / 10) for i in range(10)]


def check(path):
    image = Image.open(path)
    assert image.width == WIDTH * DPI
    assert (np.asarray(image.convert('L')) < 128).mean() > 0.002, 'blank'
    assert not plt.get_fignums()


@pytest.mark.parametrize('panels', [[panel()], [panel(0), panel(1, chi=(3.0,))], MANY,
                                    [panel(chi=(np.inf,)), panel(1, chi=(0.0, 0.0))]],
                         ids=['one', 'two', 'many', 'odd numbers'])
@pytest.mark.parametrize('draw', [lambda panels, path: draw_scatter(panels, NAMES[:5], path), draw_chi],
                         ids=['scatter', 'chi'])
def test_figures_are_written_and_not_blank(tmp_path, draw, panels):
    draw(panels, tmp_path / 'figures' / 'one.png')
    check(tmp_path / 'figures' / 'one.png')


def test_all_degradations_can_be_told_apart(tmp_path):
    draw_scatter([panel(kinds=len(NAMES))], NAMES, tmp_path / 'one.png', 'Features of B16 by degradation')
    check(tmp_path / 'one.png')
    assert len({tuple(_look(kind).values()) for kind in range(len(NAMES))}) == len(NAMES)
    assert {_look(kind)['marker'] for kind in range(len(NAMES))} <= set(MARKERS)


def test_coinciding_samples_are_drawn(tmp_path):
    one = panel()
    draw_scatter([Panel(one.label, one.points * 0, one.kinds, one.chi * 0, 0.0)], NAMES[:5], tmp_path / 'one.png')
    check(tmp_path / 'one.png')
    image = np.asarray(Image.open(tmp_path / 'one.png').convert('RGB'), int)
    panel_alone = image[:image.shape[0] * 3 // 4]
    for kind in range(5):
        colour = np.array([int(_look(kind)['color'][i:i + 2], 16) for i in (1, 3, 5)])
        assert (abs(panel_alone - colour).max(axis=-1) < 8).any(), f'{NAMES[kind]} is covered by the others'


def test_each_group_has_its_colour(tmp_path):
    panels = [panel(i, chi=(100.0 * (i + 1),), p=0.1 * (i % 2), group=f'seed {i // 2}') for i in range(4)]
    draw_chi(panels, tmp_path / 'one.png')
    image = np.asarray(Image.open(tmp_path / 'one.png').convert('RGB'), int)
    for colour in COLOURS[:3]:
        sought = np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)])
        assert (abs(image - sought).max(axis=-1) < 8).any() == (colour != COLOURS[2])


@pytest.mark.parametrize(('chi', 'text'), [((800.0, 900.0), '850 ± 71'), ((12.34,), '12.3'), ((0.0123, 0.0123),
                                           '0.0123 ± 0.0000'), ((0.0, 0.0), '0 ± 0'), ((np.inf,), '∞')])
def test_chi_in_words(chi, text):
    assert chi_text(panel(chi=chi)) == text
