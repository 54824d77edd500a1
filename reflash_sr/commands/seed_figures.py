"""Gains over several seeds as figures: bars for a few values of p, rows for the methods of a study of presets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reflash_sr.commands.seed_tables import BEYOND, Entry, at_last_iteration, over_time, place_of, widest
from reflash_sr.evaluation.metrics import DECIMALS, UNITS, metric_title
from reflash_sr.evaluation.scores import MEAN
from reflash_sr.evaluation.shrunk_rows import PER_DEGRADATION
from reflash_sr.figures.draw_gains import Bar, Curve, draw_gain_curves, draw_gains
from reflash_sr.figures.draw_methods import draw_by_degradation, draw_methods


def draw(entries: Sequence[Entry], folder: Path, how: str, reference: str, presets: bool) -> None:
    """Draw the gains of the last iteration and, for several, the curve.

    Args:
        entries: The gains.
        folder: Where ``gains.png`` and others are written.
        how: How they were measured.
        reference: What the gains are over.
        presets: Whether the methods are presets, which are many: they get rows instead of bars.
    """
    metric = entries[0].metric
    chosen = [entry for entry in entries if entry.metric == metric and not entry.method.endswith(PER_DEGRADATION)]
    at_last = at_last_iteration(chosen)
    axis = f'gain in {metric_title(metric)}' + (f' ({UNITS[metric]})' if metric in UNITS else '')
    title = f'Gain over {reference}, iteration {at_last[0].iteration:,} ({how})'
    (_draw_rows if presets else _draw_bars)(at_last, folder, axis, title)
    shown = over_time(chosen)
    if shown:
        curves = [_curve([entry for entry in shown if (entry.method, entry.weights) == key])
                  for key in dict.fromkeys((entry.method, entry.weights) for entry in shown)]
        draw_gain_curves(curves, folder / 'curve.png', axis,
                         f'Gain over {reference} by iteration: {place_of(shown[0])}')


def _draw_bars(at_last: Sequence[Entry], folder: Path, axis: str, title: str) -> None:
    decimals = DECIMALS[at_last[0].metric]
    note = 'error bars: 95 % bootstrap interval over images'
    note += '; dots: seeds' if any(entry.seeds > 1 for entry in at_last) else '; one seed'
    for weights in dict.fromkeys(entry.weights for entry in at_last):
        draw_gains([_bar(entry, entry.dataset) for entry in at_last if entry.weights == weights],
                   folder / f'gains_{weights}.png', axis, title, note, decimals)
    most = widest([entry.dataset for entry in at_last])
    draw_gains([_bar(entry, f'{most}: {entry.kind}') for entry in at_last if entry.dataset == most],
               folder / 'gains.png', axis, title, note, decimals, sharey=True)


def _draw_rows(at_last: Sequence[Entry], folder: Path, axis: str, title: str) -> None:
    """``gains_WEIGHTS.png``: means, plain and beyond shrinkage; ``by_degradation_WEIGHTS.png``: single degradations."""
    note = 'lines: 95 % bootstrap interval over images'
    note += '; ticks: seeds' if any(entry.seeds > 1 for entry in at_last) else '; one seed'
    for weights in dict.fromkeys(entry.weights for entry in at_last):
        found = [entry for entry in at_last if entry.weights == weights]
        most = widest([entry.dataset for entry in found])
        inside = {name for name in most.removeprefix('mean of ').split(', ') if name != most}
        shown = [entry for entry in found
                 if entry.dataset == most or not (entry.dataset in inside or entry.dataset.startswith('mean of '))]
        means = [one for one in shown if one.degradation == MEAN or not any(
            other.dataset == one.dataset and other.degradation == MEAN for other in shown)]
        draw_methods([_row(one, one.dataset) for one in means], folder / f'gains_{weights}.png', axis, title, note)
        cells = [_row(one, most) for one in found if one.dataset == most and one.degradation != MEAN]
        draw_by_degradation(cells, folder / f'by_degradation_{weights}.png', axis, title,
                            DECIMALS[at_last[0].metric])


def _curve(entries: Sequence[Entry]) -> Curve:
    """A curve of the seeds that all iterations have, because other seeds would shift the mean."""
    common = set.intersection(*(set(entry.by_seed) for entry in entries)) or set(entries[-1].by_seed)
    points = [(entry.iteration, [gain for seed, gain in entry.by_seed.items() if seed in common]) for entry in entries]
    return Curve(entries[0].method, entries[0].kind, [point for point in points if point[1]])


def _row(one: Entry, panel: str) -> Bar:
    """A gain in the panel of its kind, named after its preset."""
    beyond = one.method.endswith(f', {BEYOND}')
    return _bar(one, f'{panel}: {BEYOND}' if beyond else panel, one.method.removesuffix(f', {BEYOND}'))


def _bar(one: Entry, panel: str, series: str = '') -> Bar:
    return Bar(series or one.method, one.degradation, panel, one.gain, one.images_low, one.images_high, one.images,
               tuple(one.by_seed.values()))
