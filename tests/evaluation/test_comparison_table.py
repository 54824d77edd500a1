"""The table: means, gains, marks; and its three forms."""

import csv
import io
import math

import numpy as np
import pytest

from reflash_sr.evaluation import table_formats as writers
from reflash_sr.evaluation.comparison_table import MEAN, Grid, Method, all_gains, compared, make_table
from reflash_sr.evaluation.scores import Score

METHODS = [Method('bicubic'), Method('small', 100_000, note='trained'), Method('small_p', 100_000, 0.5, 'small'),
           Method('large', 2_000_000)]
LEVEL = {'bicubic': 0, 'small': 1, 'small_p': 1.5, 'large': 1.2}


def scores(change=None, metric='psnr'):
    rng = np.random.default_rng(0)
    found = []
    for dataset, images, degradations in (('A_1', 4, ('clean', 'noise')), ('B', 3, ('clean', 'noise')),
                                          ('Real', 2, ('as given',))):
        for image in range(images):
            for degradation in degradations:
                base = rng.normal(25, 3)
                found += [Score(label, dataset, degradation, f'i{image}', metric, base + level)
                          for label, level in LEVEL.items()]
    return [change(score) if change else score for score in found]


def entry(entries, **wanted):
    found = [one for one in entries if all(getattr(one, key) == value for key, value in wanted.items())]
    assert len(found) == 1
    return found[0]


def test_values_gains_and_marks():
    entries = make_table(Grid(scores()), METHODS)
    one = entry(entries, dataset='A_1', degradation='clean', method='small_p')
    assert one.gain.mean == pytest.approx(0.5)
    assert (one.images, one.gain.images, one.beats) == (4, 4, ('large',))
    both = entry(entries, dataset='mean of A_1, B', degradation=MEAN, method='small_p')
    parts = [entry(entries, dataset=name, degradation=MEAN, method='small_p').value for name in ('A_1', 'B')]
    assert both.value == pytest.approx(np.mean(parts)), 'sets count alike, however many images they have'
    assert both.gain.cells == 4
    assert entry(entries, dataset='Real', degradation='as given', method='small').gain is None
    assert not any(one.beats for one in entries if one.method != 'small_p')
    assert not any(one.degradation == MEAN for one in entries if one.dataset == 'Real'), 'one column needs no mean'


def test_of_a_distance_less_is_better():
    entries = make_table(Grid(scores(metric='lpips')), METHODS)
    one = entry(entries, dataset='B', degradation='clean', method='small_p')
    assert one.gain.mean == pytest.approx(-0.5)
    assert one.beats == ()


def test_every_pair_is_compared_once():
    gains = all_gains(Grid(scores()))
    pairs = {(method, reference) for _, _, _, method, reference, _ in gains}
    assert len(pairs) == 6
    assert ('small_p', 'small') in pairs


def test_infinite_values_stay_out_of_means():
    def change(score):
        endless = score.image == 'i0' and score.degradation == 'clean' and score.method == 'bicubic'
        return Score(**{**vars(score), 'value': math.inf}) if endless else score

    entries = make_table(Grid(scores(change)), METHODS)
    one = entry(entries, dataset='A_1', degradation='clean', method='bicubic')
    assert math.isfinite(one.value)
    assert one.images == 3


def test_value_and_gain_rest_on_the_same_images():
    def change(score):
        endless = score.image == 'i0' and score.degradation == 'clean' and score.method == 'bicubic'
        return Score(**{**vars(score), 'value': math.inf}) if endless else score

    entries = make_table(Grid(scores(change)), METHODS)
    for column in ('clean', 'noise', MEAN):
        one, other = (entry(entries, dataset='A_1', degradation=column, method=name) for name in ('small_p', 'small'))
        assert one.value - other.value == pytest.approx(one.gain.mean)
        assert one.images == one.gain.images == (4 if column == 'noise' else 3)


def test_the_order_of_lines_means_nothing():
    lines = scores()
    turned = [*(one for one in lines if one.method != 'large'), *(one for one in lines[::-1] if one.method == 'large')]
    assert all_gains(Grid(turned)) == all_gains(Grid(lines))


def test_forms():
    grid = Grid(scores())
    entries = make_table(grid, METHODS)
    text = writers.markdown(entries, METHODS, '8-bit RGB')
    assert '| A_1 | small_p | 100 k | **' in text
    assert 'mean |' in text and ', 4 images)' in text and 'small: trained' in text
    widths = {line.count('|') for line in text.splitlines() if line.startswith('|')}
    assert len(widths) == 1
    tex = writers.latex(entries, METHODS, '8-bit RGB')
    assert r'A\_1 & small\_p' in tex and r'\textcolor{red}{' in tex
    rows = list(csv.DictReader(io.StringIO(writers.table_csv(entries, METHODS))))
    assert len(rows) == len(entries)
    assert {row['beats'] for row in rows if row['method'] == 'small_p'} == {'large'}
    again = [float(row['value']) for row in csv.DictReader(io.StringIO(writers.scores_csv(scores())))]
    assert again == pytest.approx([score.value for score in scores()], abs=1e-6)
    assert all(row['gain_low'] for row in csv.DictReader(io.StringIO(writers.gains_csv(all_gains(grid)))))


def test_a_metric_without_a_better_has_values_alone():
    grid = Grid(scores(metric='gradient'))
    entries = make_table(grid, METHODS)
    assert entry(entries, dataset='B', degradation='clean', method='small_p').value > 0
    assert not any(one.gain or one.beats for one in entries) and not all_gains(grid)
    assert '1: as sharp as the GT' in writers.markdown(entries, METHODS, '8-bit RGB')
    assert all(row['gain'] == '' for row in csv.DictReader(io.StringIO(writers.table_csv(entries, METHODS))))


NETWORKS = ('small', 0, None), ('small_p', 0.5, 'small')
SHRUNK = [Method(f'{name}, {way}', 100_000, p, baseline and f'{baseline}, {way}', '', name, way)
          for way in ('once', 'per degradation') for name, p, baseline in NETWORKS]


def with_shrunk_rows():
    """Shrinkage takes 0.1 from the network with dropout, and gives 0.3 to that without."""
    def shrunk(score, way, more):
        return Score(**{**vars(score), 'method': f'{score.method}, {way}', 'value': score.value + more})

    rows = scores()
    return rows + [shrunk(score, one.way, -0.1 if one.dropout_p else 0.3) for one in SHRUNK for score in rows
                   if score.method == one.shrunk_from]


def test_the_gain_beyond_shrinkage_is_that_of_the_shrunk_rows():
    grid, methods = Grid(with_shrunk_rows()), METHODS + SHRUNK
    entries = make_table(grid, methods)
    one = entry(entries, dataset='B', degradation=MEAN, method='small_p')
    assert {way: gain.mean for way, gain in one.beyond.items()} == pytest.approx({'once': 0.1, 'per degradation': 0.1})
    assert one.gain.mean == pytest.approx(0.5)
    of_row = entry(entries, dataset='B', degradation=MEAN, method='small_p, once')
    assert of_row.gain == one.beyond['once']
    assert not any(one.beyond for one in entries if one.method != 'small_p')
    assert not any('large' in one.beats for one in entries if 'once' in one.method), 'as it is, it is not compared'
    gains = writers.gains_csv(all_gains(grid, compared(methods, every=True)), grid, methods)
    [row] = [row for row in csv.DictReader(io.StringIO(gains)) if (row['method'], row['reference'], row['dataset'], row[
        'degradation']) == ('small_p', 'small', 'B', MEAN)]
    assert float(row['beyond_shrinkage']) == pytest.approx(0.1) and row['beyond_shrinkage_low']
    assert float(row['beyond_shrinkage_per_degradation']) == pytest.approx(0.1)


def test_rows_of_the_control_are_compared_with_their_own_only():
    networks = set(compared(METHODS, every=True))
    assert len(networks) == 6
    added = set(compared(METHODS + SHRUNK, every=True)) - networks
    assert added == {('bicubic', one.label) for one in SHRUNK} | {(one.shrunk_from, one.label) for one in SHRUNK} | {
        (one.baseline, one.label) for one in SHRUNK if one.baseline}
    few = set(compared(METHODS + SHRUNK, every=False))
    assert few - added == {('bicubic', 'small'), ('bicubic', 'small_p'), ('bicubic', 'large'), ('small', 'small_p')}
