"""SEAL: a case on paper (methods × degradations → AR, RPR), what counts, and how it is found in a grid of scores."""

import csv
import io
import math

import numpy as np
import pytest

from reflash_sr.errors import UserError
from reflash_sr.evaluation.comparison_table import Grid
from reflash_sr.evaluation.scores import Score
from reflash_sr.evaluation.seal import BEST, Lines, ratios, seal, seal_cells, seal_csv, seal_rows, seal_text

# Three methods on four degradations, dB. Of 'between': (score − low) / (high − low) is 1, 0, −1, 2.
LOW, HIGH, BETWEEN = np.array([[20, 22, 24, 26], [22, 24, 28, 27], [22, 22, 20, 28.0]])
SIGMOID = {1: 0.7310585786300049, 0: 0.5, -1: 0.2689414213699951, 2: 0.8807970779778823}


def test_the_case_on_paper():
    assert ratios(BETWEEN, LOW, HIGH).tolist() == pytest.approx(list(SIGMOID.values()))
    found = seal(BETWEEN, LOW, HIGH)
    assert (found.cases, found.left_out) == (4, 0)
    assert found.ar == 3 / 4, 'a score on the line is accepted'
    assert found.rpr_a == pytest.approx((SIGMOID[1] + SIGMOID[0] + SIGMOID[2]) / 3)
    assert found.rpr_u == pytest.approx(SIGMOID[-1])
    # sorted: s(−1), s(0), s(1), s(2): the quartiles lie at 3/4 of the way from the ends
    lower, upper = SIGMOID[-1] * 0.25 + SIGMOID[0] * 0.75, SIGMOID[1] * 0.75 + SIGMOID[2] * 0.25
    assert found.rpr_i == pytest.approx(upper - lower)


def test_the_lines_themselves():
    low, high = seal(LOW, LOW, HIGH), seal(HIGH, LOW, HIGH)
    assert low.ar == high.ar == 1 and low.rpr_i == high.rpr_i == 0
    assert low.rpr_a == 0.5 and high.rpr_a == pytest.approx(SIGMOID[1])
    assert math.isnan(low.rpr_u)
    below = seal(LOW - 1, LOW, HIGH)
    assert below.ar == 0 and math.isnan(below.rpr_a) and below.rpr_u < 0.5


def test_cases_whose_lines_say_nothing_have_no_ratio():
    high = np.array([22, 22.05, 23, 27])  # the second is near, the third below
    found = seal(BETWEEN, LOW, high, 0.1)
    assert (found.cases, found.left_out) == (4, 2)
    assert found.rpr_a == pytest.approx((SIGMOID[1] + 1 / (1 + math.exp(-2))) / 2) and math.isnan(found.rpr_u)
    assert found.ar == 3 / 4, 'the acceptance rate needs no excellence line'
    none = seal(BETWEEN, LOW, LOW)
    assert (none.cases, none.left_out, none.ar) == (4, 4, 3 / 4) and math.isnan(none.rpr_i)
    assert math.isnan(seal(BETWEEN[:0], LOW[:0], HIGH[:0]).ar)
    missing = np.where([True, False, False, False], np.nan, BETWEEN)
    assert (seal(missing, LOW, HIGH).cases, seal(missing, LOW, HIGH).left_out) == (3, 0)


def grid(metrics=('psnr',), datasets=('a',)):
    """Two images for each case, whose mean is the score of the case."""
    scores = [Score(method, dataset, f'd{k}', image, metric, value + off if metric == 'psnr' else -value)
              for metric in metrics for dataset in datasets
              for method, values in (('bicubic', LOW), ('good', HIGH), ('other', BETWEEN))
              for k, value in enumerate(values) for image, off in (('x', -1.0), ('y', 1.0))]
    return Grid(scores)


def test_rows_of_a_grid():
    rows = seal_rows(grid(datasets=('a', 'b')), Lines('bicubic', 'good'))
    assert [(row.metric, row.dataset, row.method) for row in rows] == [('psnr', 'a', 'other'), ('psnr', 'b', 'other')]
    assert rows[0].seal == rows[1].seal == seal(BETWEEN, LOW, HIGH)
    assert seal_cells(rows[0])[:6] == ['psnr', 'a', 'other', '4', '4', '0.75']


def test_of_a_metric_lower_is_better_the_sign_turns_and_sharpness_has_no_lines():
    [row] = seal_rows(grid(('lpips', 'gradient')), Lines('bicubic', 'good'))
    assert row.metric == 'lpips'
    assert row.seal == seal(BETWEEN, LOW, HIGH)


def test_the_best_of_each_case_is_an_excellence_line():
    rows = {row.method: row.seal for row in seal_rows(grid(), Lines('bicubic'))}
    best = np.maximum(HIGH, BETWEEN)
    assert rows == {'good': seal(HIGH, LOW, best), 'other': seal(BETWEEN, LOW, best)}


def test_text_and_csv_say_the_same():
    lines = Lines('bicubic', 'good')
    rows = seal_rows(grid(), lines)
    [row] = csv.DictReader(io.StringIO(seal_csv(rows, lines)))
    assert (row['method'], row['acceptance'], row['excellence'], row['cases']) == ('other', 'bicubic', 'good', '4')
    assert float(row['ar']) == 0.75 and float(row['rpr_i']) == pytest.approx(rows[0].seal.rpr_i, abs=1e-6)
    assert seal_text(rows, lines).splitlines()[2].split() == ['psnr', 'a', 'other', '4', '4', '0.75', '0.33',
                                                              '0.70', '0.27']
    [low] = csv.DictReader(io.StringIO(seal_csv(seal_rows(grid(), Lines('other', 'bicubic')), lines)))
    assert (low['cases'], low['left_out']) == ('4', '3'), 'a ratio only where bicubic is above'


@pytest.mark.parametrize(('lines', 'message'), [
    (Lines('bicubc', 'good'), "--acceptance: there is no 'bicubc'"),
    (Lines('bicubic', 'great'), "--excellence: there is no 'great'"),
    (Lines('good', 'good'), "--excellence: 'good' is the acceptance line")])
def test_lines_that_are_not_there_are_refused(lines, message):
    with pytest.raises(UserError, match=message):
        lines.check(['bicubic', 'good'])
    Lines('bicubic', BEST).check(['bicubic', 'good'])
