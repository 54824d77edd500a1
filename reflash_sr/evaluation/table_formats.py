"""The table as CSV, Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from reflash_sr.evaluation.bootstrap import Gain
from reflash_sr.evaluation.comparison_table import Entry, Method
from reflash_sr.evaluation.metrics import DECIMALS, LOWER_IS_BETTER, UNITS
from reflash_sr.evaluation.scores import MEAN, Score
from reflash_sr.system.files import csv_text

GAIN_COLUMNS = ('gain', 'gain_low', 'gain_high', 'images', 'cells', 'cells_improved')
_LATEX = {'\\': r'\textbackslash{}', '&': r'\&', '%': r'\%', '$': r'\$', '#': r'\#', '_': r'\_', '{': r'\{', '}': r'\}',
          '~': r'\textasciitilde{}', '^': r'\textasciicircum{}'}


def scores_csv(scores: Sequence[Score]) -> str:
    """One line for each image, degradation, method and metric."""
    return csv_text(('method', 'dataset', 'degradation', 'image', 'metric', 'value'),
                    ((s.method, s.dataset, s.degradation, s.image, s.metric, repr(float(s.value))) for s in scores))


def table_csv(entries: Sequence[Entry], methods: Sequence[Method]) -> str:
    """One line for each cell, with its gain over the baseline and the larger networks it beats."""
    by_label = {method.label: method for method in methods}
    head = ('metric', 'dataset', 'method', 'parameters', 'degradation', 'value', 'images', 'baseline',
            *GAIN_COLUMNS[:3], 'beats')
    return csv_text(head, ((e.metric, e.dataset, e.method, by_label[e.method].parameters, e.degradation,
                            _number(e.value), e.images, by_label[e.method].baseline, *_gain_numbers(e.gain)[:3],
                            '; '.join(e.beats)) for e in entries))


def gains_csv(gains: Sequence[tuple[str, str, str, str, str, Gain]]) -> str:
    """One line for each pair of methods, set and degradation."""
    return csv_text(('metric', 'dataset', 'degradation', 'method', 'reference', *GAIN_COLUMNS),
                    ((*key, *_gain_numbers(gain)) for *key, gain in gains))


def markdown(entries: Sequence[Entry], methods: Sequence[Method], settings: str) -> str:
    """The table in Markdown, a part for each metric; ``settings`` says how it was measured."""
    parts = []
    for metric in dict.fromkeys(entry.metric for entry in entries):
        rows = _rows(entries, methods, metric, _markdown_cell)
        lines = ['| ' + ' | '.join(word.replace('|', r'\|') for word in row) + ' |' for row in rows]
        lines.insert(1, '|---|---|' + '---:|' * (len(rows[0]) - 2))
        parts.append(f'### {_head(metric, settings)}\n\n' + '\n'.join(lines))
    return '\n\n'.join([*parts, *_legend(entries, methods, '**bold**')]) + '\n'


def latex(entries: Sequence[Entry], methods: Sequence[Method], settings: str) -> str:
    """The table in LaTeX; needs the packages booktabs and xcolor."""
    parts = ['% needs \\usepackage{booktabs} and \\usepackage{xcolor}']
    for metric in dict.fromkeys(entry.metric for entry in entries):
        rows = _rows(entries, methods, metric, _latex_cell)
        head, body = rows[0], rows[1:]
        lines = [' & '.join(_escape(word) for word in head) + r' \\', r'\midrule']
        lines += [' & '.join([_escape(row[0]), _escape(row[1]), *row[2:]]) + r' \\' for row in body]
        parts.append('\n'.join([f'% {_head(metric, settings)}', r'\begin{tabular}{ll' + 'r' * (len(head) - 2) + '}',
                                r'\toprule', *lines, r'\bottomrule', r'\end{tabular}']))
    return '\n\n'.join([*parts, *('% ' + line for line in _legend(entries, methods, 'red'))]) + '\n'


def format_gain(gain: Gain, decimals: int = 2) -> str:
    """A mean gain with its interval and sample size, on one line."""
    interval = '' if gain.low is None else f' [{gain.low:+.{decimals}f}, {gain.high:+.{decimals}f}]'
    noun = 'image' if gain.images == 1 else 'images'
    return f'{gain.mean:+.{decimals}f}{interval}, {gain.images} {noun}'


def _rows(entries: Sequence[Entry], methods: Sequence[Method], metric: str,
          write: Callable[[Entry, str, bool], str]) -> list[list[str]]:
    """The lines of one metric, head first: set, method, parameters, a column for each degradation."""
    chosen = [entry for entry in entries if entry.metric == metric]
    columns = [name for name in dict.fromkeys(entry.degradation for entry in chosen) if name != MEAN]
    columns += [MEAN] if any(entry.degradation == MEAN for entry in chosen) else []
    cells = {(entry.dataset, entry.method, entry.degradation): entry for entry in chosen}
    rows = [['set', 'method', 'parameters', *columns]]
    for dataset in dict.fromkeys(entry.dataset for entry in chosen):
        for method in methods:
            found = [cells.get((dataset, method.label, column)) for column in columns]
            whole = {MEAN} if found[-1] is not None and columns[-1] == MEAN else set(columns)
            rows.append([dataset, method.label, _count(method.parameters),
                         *('' if entry is None else write(entry, metric, entry.degradation in whole)
                           for entry in found)])
    return rows


def _markdown_cell(entry: Entry, metric: str, whole: bool) -> str:
    value = _value_text(entry, metric)
    return (f'**{value}**' if entry.beats else value) + _gain_text(entry, metric, whole)


def _latex_cell(entry: Entry, metric: str, whole: bool) -> str:
    value = _value_text(entry, metric)
    value = rf'\textcolor{{red}}{{{value}}}' if entry.beats else value
    return value + _gain_text(entry, metric, whole).replace('-', '$-$')


def _value_text(entry: Entry, metric: str) -> str:
    return '–' if math.isnan(entry.value) else f'{entry.value:.{DECIMALS[metric]}f}'


def _gain_text(entry: Entry, metric: str, whole: bool) -> str:
    """The gain in brackets; for what stands for a whole row, with its interval and number of images."""
    if entry.gain is None:
        return ''
    if whole:
        return f' ({format_gain(entry.gain, DECIMALS[metric])})'
    return f' ({entry.gain.mean:+.{DECIMALS[metric]}f})'


def _legend(entries: Sequence[Entry], methods: Sequence[Method], mark: str) -> list[str]:
    lines = [f'{method.label}: {method.note}' for method in methods if method.note]
    pairs = [f'{method.label} over {method.baseline}' for method in methods if method.baseline]
    if pairs:
        lines.append(f"In brackets: gain of {', '.join(pairs)}; behind the gain of a row its 95 % bootstrap interval "
                     'over images, and their number.')
    if any(entry.beats for entry in entries):
        lines.append(f'{mark}: a smaller network with dropout that is better than a larger one without.')
    return lines


def _head(metric: str, settings: str) -> str:
    unit = f', {UNITS[metric]}' if metric in UNITS else ''
    return f"{metric.upper()}{unit} ({settings}; {'lower' if metric in LOWER_IS_BETTER else 'higher'} is better)"


def _gain_numbers(gain: Gain | None) -> tuple:
    if gain is None:
        return ('',) * len(GAIN_COLUMNS)
    ends = ('' if end is None else f'{end:.6f}' for end in (gain.low, gain.high))
    return (f'{gain.mean:.6f}', *ends, gain.images, gain.cells, gain.improved)


def _number(value: float) -> str:
    """For CSV; empty where there is none."""
    return '' if math.isnan(value) else f'{value:.6f}'


def _count(parameters: int | None) -> str:
    if parameters is None:
        return '–'
    return f'{parameters / 1e6:.2f} M' if parameters >= 1e6 else f'{parameters / 1e3:.0f} k'


def _escape(text: str) -> str:
    return ''.join(_LATEX.get(letter, letter) for letter in text)
