"""Crops side by side: names of columns stay above their own crops."""

import itertools

import numpy as np
import pytest

from reflash_sr.figures import draw_strips as strips
from reflash_sr.figures import style

LONG = ('study_dropout_cpu_p0_seed0', 'study_dropout_cpu_p0.7_seed0 [params_ema]', 'Checkpoint' * 3,
        'two words, and more of them')


@pytest.mark.parametrize('columns', [4, 5, 7])
def test_names_of_columns_do_not_run_into_each_other(columns, monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(style, 'save', lambda figure, path: kept.append(figure))
    crop = np.zeros((8, 8, 3), np.uint8)
    names = [LONG[place % len(LONG)] for place in range(columns)]
    strips.draw_strips([('clean', [(name, crop, '30.00 dB') for name in names])], tmp_path / 'strip.png', 'Title')
    figure = kept[0]
    figure.draw_without_rendering()
    wanted = {name.replace(' ', '') for name in names}
    heads = [text.get_window_extent() for text in figure.axes[0].texts
             if ''.join(text.get_text().split()) in wanted]
    assert len(heads) == columns
    heads.sort(key=lambda box: box.x0)
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(heads))


@pytest.mark.parametrize('name', LONG)
def test_a_name_is_broken_not_cut(name):
    lines = strips.heading(name, 12).split('\n')
    assert ''.join(lines).replace(' ', '') == name.replace(' ', '')
    assert max(map(len, lines)) <= 12
