"""The table as CSV, Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple

from reflash_sr.evaluation.bootstrap import Gain
from reflash_sr.evaluation.comparison_table import Entry, Grid, Method, beyond_shrinkage, ways_of
from reflash_sr.evaluation.metrics import DECIMALS, LOWER_IS_BETTER, UNITS, WITHOUT_GAIN, metric_title
from reflash_sr.evaluation.scores import MEAN, Score
from reflash_sr.system.files import csv_text

GAIN_COLUMNS = ('gain', 'gain_low', 'gain_high', 'images', 'cells', 'cells_improved')
# Columns of the gain beyond shrinkage, by the way of choosing α.
BEYOND = {'once': 'beyond_shrinkage', 'per degradation': 'beyond_shrinkage_per_degradation'}
_LATEX = str.maketrans({'\\': r'\textbackslash{}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}',
                        **{letter: '\\' + letter for letter in '&%$#_{}'}})


def scores_csv(scores: Sequence[Score]) -> str:
    """One line for each image, degradation, method and metric."""
    return csv_text(('method', 'dataset', 'degradation', 'image', 'metric', 'value'),
                    ((s.method, s.dataset, s.degradation, s.image, s.metric, repr(float(s.value))) for s in scores))


def table_csv(entries: Sequence[Entry], methods: Sequence[Method]) -> str:
    """One line for each cell, with its gain over the baseline and the larger networks it beats."""
    by_label = {method.label: method for method in methods}
    head = ('metric', 'dataset', 'method', 'parameters', 'degradation', 'value', 'images', 'baseline',
            *GAIN_COLUMNS[:3], 'beats')
    ways = ways_of(methods)
    return csv_text(head + _beyond_columns(ways), (
        (e.metric, e.dataset, e.method, by_label[e.method].parameters, e.degradation,
         '' if math.isnan(e.value) else f'{e.value:.6f}', e.images, by_label[e.method].baseline,
         *_gain_numbers(e.gain)[:3], '; '.join(e.beats), *_beyond_numbers(e.beyond, ways)) for e in entries))


def gains_csv(gains: Sequence[tuple[str, str, str, str, str, Gain]], grid: Grid | None = None,
              methods: Sequence[Method] = ()) -> str:
    """One line for each pair of methods, dataset and degradation; with ``grid``, also the gain beyond shrinkage."""
    ways = ways_of(methods)
    return csv_text(('metric', 'dataset', 'degradation', 'method', 'reference', *GAIN_COLUMNS, *_beyond_columns(ways)),
                    ((*key, *_gain_numbers(gain),
                      *_beyond_numbers(beyond_shrinkage(grid, methods, *key) if grid else {}, ways))
                     for *key, gain in gains))


def markdown(entries: Sequence[Entry], methods: Sequence[Method], how: str) -> str:
    """The table in Markdown, one part for each metric; ``how`` says how it was measured."""
    parts = []
    for metric in dict.fromkeys(entry.metric for entry in entries):
        rows = _rows(entries, methods, metric, '**{}**')
        lines = ['| ' + ' | '.join(word.replace('|', r'\|') for word in row) + ' |' for row in rows]
        lines.insert(1, '|---|---|' + '---:|' * (len(rows[0]) - 2))
        parts.append(f'### {_head(metric, how)}\n\n' + '\n'.join(lines))
    return '\n\n'.join([*parts, *_legend(entries, methods, '**bold**')]) + '\n'


def latex(entries: Sequence[Entry], methods: Sequence[Method], how: str) -> str:
    """The table in LaTeX; needs the packages booktabs and xcolor."""
    parts = ['% needs \\usepackage{booktabs} and \\usepackage{xcolor}']
    for metric in dict.fromkeys(entry.metric for entry in entries):
        head, *body = _rows(entries, methods, metric, r'\textcolor{{red}}{{{}}}', '$-$')
        rows = [[word.translate(_LATEX) for word in head],
                *([word.translate(_LATEX) for word in row[:2]] + row[2:] for row in body)]
        lines = [' & '.join(row) + r' \\' for row in rows]
        lines.insert(1, r'\midrule')
        parts.append('\n'.join([f'% {_head(metric, how)}', rf"\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
                                r'\toprule', *lines, r'\bottomrule', r'\end{tabular}']))
    return '\n\n'.join([*parts, *('% ' + line for line in _legend(entries, methods, 'red'))]) + '\n'


def format_gain(gain: Gain, decimals: int = 2) -> str:
    """A mean gain with its interval and sample size, on one line."""
    interval = '' if gain.low is None else f' [{gain.low:+.{decimals}f}, {gain.high:+.{decimals}f}]'
    return f"{gain.mean:+.{decimals}f}{interval}, {gain.images} image{'s' * (gain.images != 1)}"


def _rows(entries: Sequence[Entry], methods: Sequence[Method], metric: str, mark: str,
          minus: str = '-') -> list[list[str]]:
    """The rows of one metric after a header: dataset, method, parameters, a column for each degradation."""
    cells = {(entry.dataset, entry.method, entry.degradation): entry for entry in entries if entry.metric == metric}
    columns = sorted(dict.fromkeys(column for *_, column in cells), key=lambda column: column == MEAN)

    def text(entry: Entry | None, with_interval: bool) -> str:
        if entry is None:
            return ''
        decimals = DECIMALS[metric]
        value = '–' if math.isnan(entry.value) else f'{entry.value:.{decimals}f}'
        gain = ''
        if entry.gain is not None:
            short = f'{entry.gain.mean:+.{decimals}f}'
            gain = f' ({format_gain(entry.gain, decimals) if with_interval else short})'
        return (mark.format(value) if entry.beats else value) + gain.replace('-', minus)

    rows = [['dataset', 'method', 'parameters', *columns]]
    for dataset in dict.fromkeys(dataset for dataset, *_ in cells):
        for method in methods:
            found = {column: cells.get((dataset, method.label, column)) for column in columns}
            no_mean = found.get(MEAN) is None  # the interval is then shown in every column
            rows.append([dataset, method.label, _count(method.parameters),
                         *(text(entry, no_mean or column == MEAN) for column, entry in found.items())])
    return rows


def _legend(entries: Sequence[Entry], methods: Sequence[Method], mark: str) -> list[str]:
    lines = [f'{method.label}: {method.note}' for method in methods if method.note]
    pairs = [f'{method.label} over {method.baseline}' for method in methods if method.baseline]
    if pairs:
        lines.append(f"In brackets: gain of {', '.join(pairs)}; behind the gain of a row its 95 % bootstrap interval "
                     'over images, and their number.')
    if any(entry.beats for entry in entries):
        lines.append(f'{mark}: a smaller network with dropout that is better than a larger one without.')
    return lines


def _head(metric: str, how: str) -> str:
    unit = f', {UNITS[metric]}' if metric in UNITS else ''
    better = f"{'lower' if metric in LOWER_IS_BETTER else 'higher'} is better"
    better = '1: as sharp as the GT; below: blurrier' if metric in WITHOUT_GAIN else better
    return f'{metric_title(metric)}{unit} ({how}; {better})'


def _gain_numbers(gain: Gain | None) -> list:
    if gain is None:
        return [''] * len(GAIN_COLUMNS)
    return [f'{value:.6f}' if isinstance(value, float) else value for value in astuple(gain)]


def _beyond_columns(ways: Sequence[str]) -> tuple[str, ...]:
    return tuple(BEYOND[way] + end for way in ways for end in ('', '_low', '_high'))


def _beyond_numbers(beyond: Mapping[str, Gain], ways: Sequence[str]) -> list:
    return [number for way in ways for number in _gain_numbers(beyond.get(way))[:3]]


def _count(parameters: int | None) -> str:
    if parameters is None:
        return '–'
    return f'{parameters / 1e6:.2f} M' if parameters >= 1e6 else f'{parameters / 1e3:.0f} k'
