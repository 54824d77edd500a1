"""SEAL: a network between two lines, over many degradations (Zhang et al. 2024).

"SEAL: A Framework for Systematic Evaluation of Real-World Super-Resolution", ICLR 2024, arXiv 2309.03020: the
acceptance rate and the relative performance ratio, from the score of each case (a degradation; mean over its images),
that of an acceptance line and that of an excellence line. In the paper the lines are a tiny and a large network that
were trained for each case alone, and the cases are centres of clusters of degradations; here they are any two methods
of the table, and any degradations, such as those of
:func:`reflash_sr.data.test_degradation.representatives.representatives`.

The formulas are those of the authors' code (github.com/XPixelGroup/SEAL, ``calculate_AR_RPR.py``); of the paper itself
only the beginning and the caption of Fig. 2 were available. The code leaves out cases whose lines are nearly equal only
if the metric is spelt ``PSNR``, and its own call spells it ``psnr``: the table of its README is that with these cases
left out, the CSV file beside the code that without. Here they are left out of the ratio, which they make meaningless,
but not of the acceptance rate, which needs no excellence line: else a degradation under which no method reaches the
acceptance line would not count against any.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from scipy.special import expit

from reflash_sr.errors import UserError, suggest
from reflash_sr.evaluation.comparison_table import Grid
from reflash_sr.evaluation.metrics import LOWER_IS_BETTER, WITHOUT_GAIN
from reflash_sr.system.files import csv_text

# Smallest distance of the lines in a case that has a ratio; that of LPIPS is a comment in the authors' code.
LEAST = {'psnr': 0.1, 'ssim': 0.01, 'lpips': 0.01}
BEST = 'best'  # an excellence line: the best method of each case
COLUMNS = ('AR', 'RPR_I', 'RPR_A', 'RPR_U')


@dataclass(frozen=True)
class Lines:
    """The two lines: labels of methods, and :data:`BEST` for the best method of each case as excellence."""

    acceptance: str
    excellence: str = BEST

    def check(self, labels: Iterable[str]) -> None:
        """Raise a ``UserError`` for a line that is none of these labels, or for one line that is both."""
        labels = list(labels)
        for option, line, known in (('acceptance', self.acceptance, labels),
                                    ('excellence', self.excellence, [*labels, BEST])):
            if line not in known:
                near = suggest(line, known)
                raise UserError(f"--{option}: there is no '{line}'{near if near.endswith('?') else ';'} give one of "
                                f"{', '.join(known)}")
        if self.acceptance == self.excellence:
            raise UserError(f"--excellence: '{self.excellence}' is the acceptance line, too; give another")


@dataclass(frozen=True)
class Seal:
    """What SEAL says of a method; NaN where there is no case to say it of (the authors' code says 0).

    Attributes:
        cases: Number of cases.
        left_out: Number of those whose lines are nearly equal or in the wrong order: they have no ratio.
        ar: Acceptance rate, 0 to 1: share of all cases that are as good as the acceptance line, or better.
        rpr_i: Interquartile range of the relative performance ratio: how much the method varies. Lower is better.
        rpr_a: Mean ratio of the accepted cases, 0.5 to 1; 0.73 on the excellence line. Higher is better.
        rpr_u: Mean ratio of the other cases, 0 to 0.5. Higher is better.
    """

    cases: int
    left_out: int
    ar: float
    rpr_i: float
    rpr_a: float
    rpr_u: float


def ratios(scores: np.ndarray, acceptance: np.ndarray, excellence: np.ndarray) -> np.ndarray:
    """The relative performance ratio of each case: sigmoid((score − acceptance) / (excellence − acceptance)).

    Returns:
        0 to 1; 0.5 on the acceptance line, 0.731 on the excellence line.
    """
    return expit((scores - acceptance) / (excellence - acceptance))


def seal(scores: np.ndarray, acceptance: np.ndarray, excellence: np.ndarray, least: float = 0) -> Seal:
    """Summarise a method over cases.

    Args:
        scores: (cases,) of the method; higher is better; cases with a NaN do not exist.
        acceptance: (cases,) of the acceptance line.
        excellence: (cases,) of the excellence line.
        least: Cases in which it is not by this much above the acceptance line, or is below it, have no ratio.
    """
    there = np.isfinite(scores + acceptance + excellence)
    count = there & (excellence - acceptance >= least) & (excellence > acceptance)
    ratio = ratios(scores[count], acceptance[count], excellence[count])
    accepted = scores[count] >= acceptance[count]
    quartiles = np.quantile(ratio, (0.25, 0.75)) if len(ratio) else (0, math.nan)
    return Seal(int(there.sum()), int(there.sum()) - len(ratio), _mean(scores[there] >= acceptance[there]),
                float(quartiles[1] - quartiles[0]), _mean(ratio[accepted]), _mean(ratio[~accepted]))


@dataclass(frozen=True)
class SealRow:
    """A method on one dataset, by one metric."""

    metric: str
    dataset: str
    method: str
    seal: Seal


def seal_rows(grid: Grid, lines: Lines) -> list[SealRow]:
    """SEAL of every method, by every metric that has a better and worse, on every dataset that has both lines.

    Args:
        grid: The scores; a degradation of a dataset is a case.
    """
    rows = []
    for metric in (one for one in grid.metrics if one not in WITHOUT_GAIN):
        for dataset in grid.datasets:
            cases = {method: _cases(grid, metric, method, dataset) for method in grid.methods
                     if grid.has(method, [dataset])}
            top = np.stack(list(cases.values())).max(axis=0)
            below, above = cases.get(lines.acceptance), cases.get(lines.excellence, top)
            if below is not None:
                rows += [SealRow(metric, dataset, method, seal(scores, below, above, LEAST[metric]))
                         for method, scores in cases.items() if method not in (lines.acceptance, lines.excellence)]
    return rows


def seal_csv(rows: Sequence[SealRow], lines: Lines) -> str:
    """One line for each row."""
    head = ('metric', 'dataset', 'method', 'acceptance', 'excellence', 'cases', 'left_out', *map(str.lower, COLUMNS))
    return csv_text(head, ((
        row.metric, row.dataset, row.method, lines.acceptance, lines.excellence, *astuple(row.seal)[:2],
        *('' if math.isnan(value) else f'{value:.6f}' for value in astuple(row.seal)[2:])) for row in rows))


def seal_cells(row: SealRow) -> list[str]:
    """A row for a table: metric, dataset, method, cases, those with a ratio, :data:`COLUMNS`; '–': no value."""
    of = row.seal
    numbers = ['–' if math.isnan(value) else f'{value:.2f}' for value in astuple(of)[2:]]
    return [row.metric, row.dataset, row.method, str(of.cases), str(of.cases - of.left_out), *numbers]


def seal_text(rows: Sequence[SealRow], lines: Lines) -> str:
    """The rows as a table of text."""
    table = [['metric', 'dataset', 'method', 'cases', 'with ratio', *COLUMNS], *map(seal_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table)]
    return '\n'.join([f'SEAL: acceptance line {lines.acceptance}, excellence line {lines.excellence}',
                      *('  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in table)])


def _cases(grid: Grid, metric: str, method: str, dataset: str) -> np.ndarray:
    """Mean score of each degradation, (degradations,), higher is better; NaN for one without a finite score."""
    values = grid.values(metric, method, dataset)
    means = np.array([_mean(column[np.isfinite(column)]) for column in values.T])
    return -means if metric in LOWER_IS_BETTER else means


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
