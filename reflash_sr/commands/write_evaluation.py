"""Scores of an evaluation as tables, figures, a summary, and text to print."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np

from reflash_sr.commands.evaluation_folder import GT, LQ, PROGRESS, EvaluationFolder
from reflash_sr.data.images.read_image import read_image
from reflash_sr.evaluation import table_formats as formats
from reflash_sr.evaluation.comparison import BICUBIC
from reflash_sr.evaluation.comparison_table import Entry, Grid, Method, all_gains, make_table
from reflash_sr.evaluation.metrics import DECIMALS, UNITS
from reflash_sr.evaluation.scores import MEAN, Cell, Score, format_table
from reflash_sr.figures.draw_gains import Bar, draw_absolute, draw_gains
from reflash_sr.figures.draw_strips import draw_strips

MOST = 1 + 8  # methods that bars can show in different colours, with bicubic interpolation


def write_evaluation(folder: EvaluationFolder, scores: Sequence[Score], grid: Grid, methods: Sequence[Method]) -> str:
    """Write scores, tables, figures and the summary.

    Args:
        folder: The folder; holds the crops.
        grid: The same scores, as matrices.
        methods: Rows of the table.

    Returns:
        Tables and gains, as text to print.
    """
    folder.write('scores.csv', formats.scores_csv(scores))
    entries = make_table(grid, methods)
    pairs = None
    if len(methods) > MOST:
        pairs = [(other, one.label) for one in methods[1:] for other in (BICUBIC, one.baseline) if other]
        print(f'{len(methods) - 1} networks are too many for figures; each is compared only with interpolation and its '
              'baseline; tools/compare_seeds.py draws seeds and iterations', file=sys.stderr)
    gains = all_gains(grid, pairs)
    shutil.rmtree(folder.path / PROGRESS, ignore_errors=True)
    folder.write('table.csv', formats.table_csv(entries, methods))
    folder.write('table.md', formats.markdown(entries, methods, grid.how))
    folder.write('table.tex', formats.latex(entries, methods, grid.how))
    folder.write('gains.csv', formats.gains_csv(gains))
    if len(methods) <= MOST:
        for metric in grid.metrics:
            _draw_bars(grid, methods, metric, folder.path)
    _draw_strips(grid, methods, folder)
    for part in folder.path.rglob('.*.part'):  # images that were being written when an earlier run was killed
        part.unlink()
    infinite = [score for score in scores if not np.isfinite(score.value)]
    for score in infinite:
        print(f'warning: {score.dataset}: {score.image}: {score.degradation}: {score.method} equals the ground truth; '
              'the image is excluded from the means of all methods', file=sys.stderr)
    folder.finish(
        cells=[{field.name: getattr(entry, field.name) for field in fields(Cell)}
               for entry in entries if entry.degradation != MEAN],
        gains=[{'metric': entry.metric, 'dataset': entry.dataset, 'degradation': entry.degradation,
                'method': entry.method, **asdict(entry.gain)} for entry in entries if entry.gain is not None],
        left_out=[[score.dataset, score.image, score.degradation, score.method] for score in infinite])
    return _text(entries, grid, methods) + f'\n\nResults: {folder}'


def _text(entries: Sequence[Entry], grid: Grid, methods: Sequence[Method]) -> str:
    """A table for each metric, and the mean gains."""
    parts = [format_table(entries, metric, f"{UNITS[metric] + ', ' if metric in UNITS else ''}{grid.how}",
                          DECIMALS[metric]) for metric in grid.metrics]
    baselines = {method.label: method.baseline for method in methods}
    with_mean = {entry.dataset for entry in entries if entry.degradation == MEAN}
    lines = [f'{entry.metric}, {entry.dataset}: {entry.method} over {baselines[entry.method]}: '
             f'{formats.format_gain(entry.gain, DECIMALS[entry.metric])}'
             for entry in entries
             if entry.gain is not None and (entry.degradation == MEAN or entry.dataset not in with_mean)]
    if lines:
        parts.append('\n'.join(['gain, mean over degradations [95 % interval over images]', *lines]))
    return '\n\n'.join(parts)


def _draw_bars(grid: Grid, methods: Sequence[Method], metric: str, folder: Path) -> None:
    """Values per degradation (paper Fig. 1), and gains over baselines or, without any, over interpolation."""
    unit, decimals = f' ({UNITS[metric]})' if metric in UNITS else '', DECIMALS[metric]
    suffix = '' if metric == grid.metrics[0] else f'_{metric}'
    panels = {dataset: {method.label: _finite_means(grid.values(metric, method.label, dataset)) for method in methods}
              for dataset in grid.datasets}
    draw_absolute(grid.degradations, panels, folder / f'absolute{suffix}.png', metric.upper() + unit,
                  f'{metric.upper()} per degradation ({grid.how})', decimals)
    pairs = [(method.baseline, method.label) for method in methods if method.baseline]
    bars = [Bar(f'{method} over {reference}', column, group, gain.mean, gain.low, gain.high, gain.images)
            for _, group, column, method, reference, gain in all_gains(
                grid, pairs or [(methods[0].label, one.label) for one in methods[1:]], [metric])]
    no_mean = {group for group, datasets in grid.groups().items() if len(grid.columns(datasets)) == 1}
    axis, note = f'gain in {metric.upper()}{unit}', 'error bars: 95 % bootstrap interval over images'
    draw_gains(bars, folder / f'gain_per_degradation{suffix}.png', axis, f'Gain per degradation ({grid.how})',
               note, decimals)
    draw_gains([replace(bar, group=bar.panel, panel='') for bar in bars if bar.group == MEAN or bar.panel in no_mean],
               folder / f'gain_per_set{suffix}.png', axis,
               f'Gain per dataset, mean over its degradations ({grid.how})', note, decimals)


def _draw_strips(grid: Grid, methods: Sequence[Method], folder: EvaluationFolder) -> None:
    """Crops of the first images side by side (paper Fig. 5)."""
    metric = grid.metrics[0]
    unit = f' {UNITS[metric]}' if metric in UNITS else ''
    for dataset in grid.datasets:
        for place, image in enumerate(grid.images[dataset][:folder.settings['strips']]):
            rows = []
            for column, degradation in enumerate(grid.degradations[dataset]):
                captions = {GT: '', LQ: ''} | {
                    one.label: f'{grid.values(metric, one.label, dataset)[place, column]:.{DECIMALS[metric]}f}{unit}'
                    for one in methods}
                rows.append((degradation, [
                    (label[1:] if label in (GT, LQ) else label,
                     read_image(folder.crop(dataset, image, degradation, label)), caption)
                    for label, caption in captions.items()]))
            draw_strips(rows, folder.strip(dataset, image),
                        f'{dataset}, {image}: {metric.upper()} of the whole image below each crop')


def _finite_means(values: np.ndarray) -> np.ndarray:
    """Mean of the finite values of each column; NaN if there are none."""
    return np.array([column[np.isfinite(column)].mean() if np.isfinite(column).any() else np.nan
                     for column in values.T])
