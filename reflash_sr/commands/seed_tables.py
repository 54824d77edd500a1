"""The gains of several seeds as CSV, Markdown, lines and figures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from reflash_sr.evaluation.metrics import DECIMALS, UNITS
from reflash_sr.evaluation.scores import MEAN
from reflash_sr.evaluation.seed_intervals import SeedGain
from reflash_sr.figures.draw_gains import Bar, Curve, draw_gain_curves, draw_gains
from reflash_sr.system.files import csv_text

PLAIN = 'p = 0'
KINDS = {'params': 'raw weights', 'params_ema': 'EMA weights'}
SPANS = ('over images', 'over seeds', 'seeds')
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
        value: Mean over seeds and images.
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


def tables(entries: Sequence[Entry], about: str) -> str:
    """Markdown, for each metric and kind of weights: the gains of the last iteration, and what led there.

    Args:
        entries: All of them.
        about: How they were measured.
    """
    parts = []
    for metric, weights in dict.fromkeys((entry.metric, entry.weights) for entry in entries):
        found = [entry for entry in entries if (entry.metric, entry.weights) == (metric, weights)]
        parts += [_gain_table(_at_last(found), about), _time_table(over_time(found), about)]
    return '\n'.join(part for part in parts if part)


def cells(measured: Collection[tuple[str, int, int, tuple[str, str]]]) -> str:
    """Markdown: at which iterations each variant of each seed was evaluated; a dash where it was not.

    ``in part``: without some of the sets, or of the raw and EMA weights, that others have at this iteration.

    Args:
        measured: Variant, seed and iteration of each network, and its (weights, set).
    """
    seeds = sorted({seed for _, seed, _, _ in measured})

    def at(variant: str, seed: int) -> str:
        found = []
        for iteration in sorted({one[2] for one in measured if one[:2] == (variant, seed)}):
            whole = {one[3] for one in measured if one[2] == iteration}
            has = {one[3] for one in measured if one[:3] == (variant, seed, iteration)}
            found.append(f'{iteration:,}' + (' (in part)' if has < whole else ''))
        return ', '.join(found) or '–'

    rows = [[variant, *(at(variant, seed) for seed in seeds)] for variant in sorted({one[0] for one in measured})]
    return _markdown(['evaluated at iteration', *(f'seed {seed}' for seed in seeds)], rows, words=1)


def _gain_table(chosen: Sequence[Entry], about: str) -> str:
    columns = list(dict.fromkeys(entry.degradation for entry in chosen if entry.degradation != MEAN))
    columns += [MEAN] if any(entry.degradation == MEAN for entry in chosen) else []
    rows = []
    for key in dict.fromkeys((entry.dataset, entry.method) for entry in chosen):
        row = {entry.degradation: entry for entry in chosen if (entry.dataset, entry.method) == key}
        gains = [_gain(row[name]) if name in row else '' for name in columns]
        spans = ['–'] * len(SPANS) if MEAN in columns and len(row) > 1 and MEAN not in row else _spans(
            row.get(MEAN) or next(iter(row.values())))
        rows.append([*key, *gains, *spans])
    title = (f'Gain in {_metric(chosen[0])} over {PLAIN} of the same seed, {_kind(chosen[0])}, iteration '
             f'{chosen[0].iteration:,} ({about}); 95 % intervals of the mean')
    return f"{title}\n\n{_markdown(['set', 'method', *columns, *SPANS], rows)}"


def _time_table(curve: Sequence[Entry], about: str) -> str:
    if not curve:
        return ''
    rows = []
    for one in curve:
        values = [f'{value:.{DECIMALS[one.metric]}f}' for value in (one.bicubic, one.without_dropout, one.value)]
        rows.append([f'{one.iteration:,}', one.method, *values, _gain(one), *_spans(one)])
    head = ['iteration', 'method', 'bicubic', PLAIN, 'with dropout', 'gain', *SPANS]
    title = f'{_metric(curve[0])} while training, {_kind(curve[0])} ({about}): {_where(curve[0])}'
    return f'{title}\n\n{_markdown(head, rows)}'


def _metric(one: Entry) -> str:
    return one.metric.upper() + (f' in {UNITS[one.metric]}' if one.metric in UNITS else '')


def _kind(one: Entry) -> str:
    return KINDS.get(one.weights, one.weights)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 2) -> str:
    """A table of columns of words, and columns of numbers."""
    lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * words + '---:|' * (len(head) - words)]
    return '\n'.join([*lines, *('| ' + ' | '.join(row) + ' |' for row in rows)]) + '\n'


def _gain(one: Entry) -> str:
    return f'{one.gain.mean:+.{DECIMALS[one.metric]}f}'


def _spans(one: Entry) -> list[str]:
    decimals, gain = DECIMALS[one.metric], one.gain
    return ['–' if low is None else f'[{low:+.{decimals}f}, {high:+.{decimals}f}]' for low, high in (
        (gain.images_low, gain.images_high), (gain.seeds_low, gain.seeds_high))] + [str(len(one.seeds))]


def _where(one: Entry) -> str:
    return f"{one.dataset}, {'mean over degradations' if one.degradation == MEAN else one.degradation}"


def over_time(entries: Sequence[Entry]) -> list[Entry]:
    """Those of all iterations, of the most sets that every iteration has; nothing where there is one iteration."""
    iterations = {entry.iteration for entry in entries}
    there = {name: {entry.iteration for entry in entries if entry.dataset == name}
             for name in dict.fromkeys(entry.dataset for entry in entries)}
    sets = _widest([name for name in there if there[name] == iterations] or list(there))
    columns = [entry.degradation for entry in entries if entry.dataset == sets]
    column = MEAN if MEAN in columns else columns[0]
    found = [entry for entry in entries if (entry.dataset, entry.degradation) == (sets, column)]
    return found if len({entry.iteration for entry in found}) > 1 else []


def _widest(names: Sequence[str]) -> str:
    return max(names, key=lambda name: name.count(','))


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
                ('images', one.gain.images_low, one.gain.images_high),
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
    note = 'error bars: 95 % bootstrap interval over images'
    note += '; dots: seeds' if any(len(entry.seeds) > 1 for entry in chosen) else '; one seed'
    title = f'Gain over {PLAIN}, iteration {at_last[0].iteration:,} ({about})'
    for weights in dict.fromkeys(entry.weights for entry in at_last):
        draw_gains([_bar(one, one.dataset) for one in at_last if one.weights == weights],
                   folder / f'gains_{weights}.png', axis, title, note, DECIMALS[metric])
    sets = _widest(list(dict.fromkeys(one.dataset for one in at_last)))
    draw_gains([_bar(one, f'{sets}: {KINDS.get(one.weights, one.weights)}') for one in at_last if one.dataset == sets],
               folder / 'gains.png', axis, title, note, DECIMALS[metric], sharey=True)
    shown = over_time(chosen)
    if shown:
        curves = [_curve([one for one in shown if (one.method, one.weights) == key])
                  for key in dict.fromkeys((one.method, one.weights) for one in shown)]
        draw_gain_curves(curves, folder / 'curve.png', axis, f'Gain over {PLAIN} while training: {_where(shown[0])}')


def _curve(entries: Sequence[Entry]) -> Curve:
    """Of the seeds that every iteration has: a mean of others would move because of them."""
    common = set.intersection(*(set(one.seeds) for one in entries)) or set(entries[-1].seeds)
    points = [(one.iteration, [gain for seed, gain in zip(one.seeds, one.gain.by_seed) if seed in common])
              for one in entries]
    return Curve(entries[0].method, KINDS.get(entries[0].weights, entries[0].weights),
                 [(iteration, gains) for iteration, gains in points if gains])


def _bar(one: Entry, panel: str) -> Bar:
    gain = one.gain
    return Bar(one.method, one.degradation, panel, gain.mean, gain.images_low, gain.images_high, gain.images,
               gain.by_seed)
