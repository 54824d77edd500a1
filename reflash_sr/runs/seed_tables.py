"""The gains of several seeds as CSV, Markdown, lines and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reflash_sr.analysis.figures.gains import Bar, Curve, draw_gain_curves, draw_gains
from reflash_sr.evaluation.metrics import DECIMALS, UNITS
from reflash_sr.evaluation.seeds import SeedGain
from reflash_sr.evaluation.table import MEAN
from reflash_sr.files import csv_text

PLAIN = 'p = 0'
KINDS = {'params': 'raw weights', 'params_ema': 'EMA weights'}
COLUMNS = ('metric', 'weights', 'iteration', 'dataset', 'degradation', 'method', 'value', 'without_dropout', 'bicubic',
           'gain', 'images', 'images_low', 'images_high', 'seeds', 'seeds_low', 'seeds_high', 'by_seed')


@dataclass(frozen=True)
class Entry:
    """A cell of the table: a variant on a set under a degradation, over all its seeds.

    Attributes:
        metric: Its name.
        weights: ``'params'`` or ``'params_ema'``.
        iteration: At which the networks were saved.
        dataset: Name of the set, or of a mean over sets.
        degradation: Or ``'mean'``.
        method: The variant, such as ``'p = 0.3'``.
        value: Mean over seeds and pictures.
        without_dropout: The same of the networks without dropout.
        bicubic: The same of bicubic interpolation.
        gain: Over the networks without dropout, in the metric's unit.
        seeds: Which.
    """

    metric: str
    weights: str
    iteration: int
    dataset: str
    degradation: str
    method: str
    value: float
    without_dropout: float
    bicubic: float
    gain: SeedGain
    seeds: tuple[int, ...]


def to_csv(entries: Sequence[Entry]) -> str:
    """One line for each entry."""
    return csv_text(COLUMNS, [(
        one.metric, one.weights, one.iteration, one.dataset, one.degradation, one.method, _text(one.value),
        _text(one.without_dropout), _text(one.bicubic), _text(one.gain.mean), one.gain.images,
        _text(one.gain.images_low), _text(one.gain.images_high), len(one.seeds), _text(one.gain.seeds_low),
        _text(one.gain.seeds_high), ' '.join(f'{number}:{gain:.4f}' for number, gain in
                                             zip(one.seeds, one.gain.by_seed))) for one in entries])


def _text(value: float | None) -> str | None:
    return None if value is None else f'{value:.4f}'


def tables(entries: Sequence[Entry]) -> str:
    """The gains of the last iteration as Markdown, a table for each metric and kind of weights."""
    parts = []
    for metric, weights in dict.fromkeys((entry.metric, entry.weights) for entry in entries):
        chosen = _at_last([entry for entry in entries if (entry.metric, entry.weights) == (metric, weights)])
        columns = list(dict.fromkeys(entry.degradation for entry in chosen if entry.degradation != MEAN))
        columns += [MEAN] if any(entry.degradation == MEAN for entry in chosen) else []
        lines = ['| ' + ' | '.join(['set', 'method', *columns, 'over pictures', 'over seeds', 'seeds']) + ' |',
                 '|---|---|' + '---:|' * (len(columns) + 3)]
        for key in dict.fromkeys((entry.dataset, entry.method) for entry in chosen):
            row = {entry.degradation: entry for entry in chosen if (entry.dataset, entry.method) == key}
            whole = row.get(MEAN) or next(iter(row.values()))
            decimals = DECIMALS[metric]
            cells = [f'{row[name].gain.mean:+.{decimals}f}' if name in row else '' for name in columns]
            ends = [(whole.gain.images_low, whole.gain.images_high), (whole.gain.seeds_low, whole.gain.seeds_high)]
            cells += ['–' if low is None else f'[{low:+.{decimals}f}, {high:+.{decimals}f}]' for low, high in ends]
            lines.append('| ' + ' | '.join([*key, *cells, str(len(whole.seeds))]) + ' |')
        unit = f' in {UNITS[metric]}' if metric in UNITS else ''
        parts.append(f'Gain in {metric.upper()}{unit} over {PLAIN} of the same seed, {KINDS.get(weights, weights)}, '
                     f'iteration {chosen[0].iteration:,}; 95 % intervals of the mean\n\n' + '\n'.join(lines) + '\n')
    return '\n'.join(parts)


def _at_last(entries: Sequence[Entry]) -> list[Entry]:
    """Those of the last iteration that is there."""
    last = max(entry.iteration for entry in entries)
    return [entry for entry in entries if entry.iteration == last]


def lines(entries: Sequence[Entry]) -> list[str]:
    """The means of the last iteration, as lines to print."""
    at_last = _at_last(entries)
    found = []
    for one in at_last:
        alone = not any(other.degradation == MEAN and other.dataset == one.dataset for other in entries)
        if one.degradation == MEAN or alone:
            decimals = DECIMALS[one.metric]
            spans = [f' {what} [{low:+.{decimals}f}, {high:+.{decimals}f}]' for what, low, high in (
                ('pictures', one.gain.images_low, one.gain.images_high),
                ('seeds', one.gain.seeds_low, one.gain.seeds_high)) if low is not None]
            found.append(f'{one.metric}, {one.weights}, {one.dataset}: {one.method}: {one.gain.mean:+.{decimals}f}' +
                         ','.join(spans))
    return [f'gain over {PLAIN}, iteration {at_last[0].iteration:,}, 95 % intervals', *found]


def draw(entries: Sequence[Entry], folder: Path, about: str) -> None:
    """Draw the gains of the last iteration and, over several, the curve; ``about`` says how they were measured."""
    metric = entries[0].metric
    chosen = [entry for entry in entries if entry.metric == metric]
    at_last = _at_last(chosen)
    axis = f'gain in {metric.upper()}' + (f' ({UNITS[metric]})' if metric in UNITS else '')
    note = 'error bars: 95 % bootstrap interval over pictures'
    note += '; dots: seeds' if any(len(entry.seeds) > 1 for entry in chosen) else '; one seed'
    title = f'Gain over {PLAIN}, iteration {at_last[0].iteration:,} ({about})'
    for weights in dict.fromkeys(entry.weights for entry in at_last):
        draw_gains([_bar(one, one.dataset) for one in at_last if one.weights == weights],
                   folder / f'gains_{weights}.png', axis, title, note)
    sets = max(dict.fromkeys(one.dataset for one in at_last), key=lambda name: name.count(','))  # the widest mean
    draw_gains([_bar(one, f'{sets}: {KINDS.get(one.weights, one.weights)}') for one in at_last if one.dataset == sets],
               folder / 'gains.png', axis, title, note)
    columns = [one.degradation for one in chosen if one.dataset == sets]
    column = MEAN if MEAN in columns else columns[0]
    shown = [one for one in chosen if (one.dataset, one.degradation) == (sets, column)]
    of_what = 'mean over degradations' if column == MEAN else column
    if len({one.iteration for one in shown}) > 1:
        curves = [Curve(method, KINDS.get(weights, weights), [(one.iteration, one.gain.by_seed) for one in shown
                                          if (one.method, one.weights) == (method, weights)])
                  for method, weights in dict.fromkeys((one.method, one.weights) for one in shown)]
        draw_gain_curves(curves, folder / 'curve.png', axis,
                         f'Gain over {PLAIN} while training: {sets}, {of_what}')


def _bar(one: Entry, panel: str) -> Bar:
    gain = one.gain
    return Bar(one.method, one.degradation, panel, gain.mean, gain.images_low, gain.images_high, gain.images,
               gain.by_seed)
