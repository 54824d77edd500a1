"""Scores of an evaluation as tables, figures, a summary, and text to print."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from reflash_sr.commands.evaluation_folder import FITTED, GT, LQ, PARABOLAS, PROGRESS, SCORES, EvaluationFolder
from reflash_sr.commands.write_shrinkage import write_shrinkage
from reflash_sr.data.images.read_image import read_image
from reflash_sr.evaluation import table_formats as formats
from reflash_sr.evaluation.comparison_table import Entry, Grid, Method, all_gains, compared, make_table
from reflash_sr.evaluation.metrics import DECIMALS, UNITS, WITHOUT_GAIN, metric_title
from reflash_sr.evaluation.scores import MEAN, Cell, Score, format_table
from reflash_sr.evaluation.seal import Lines, seal_csv, seal_rows, seal_text
from reflash_sr.evaluation.shrunk_rows import MOMENTS, ONCE, PER_DEGRADATION, ShrunkRow, without_moments
from reflash_sr.figures.draw_gains import Bar, draw_absolute, draw_gains
from reflash_sr.figures.draw_strips import draw_strips

MOST = 1 + 8  # methods that bars can show in different colours, with bicubic interpolation


def write_evaluation(folder: EvaluationFolder, scores: Sequence[Score], grid: Grid, methods: Sequence[Method],
                     rows: Sequence[ShrunkRow] = (), lines: Lines | None = None) -> str:
    """Write scores, tables, figures and the summary.

    Args:
        folder: The folder; holds the crops.
        scores: With the parabolas of the images, if there are ``rows``.
        grid: The same scores, as matrices.
        methods: Rows of the table.
        rows: The last of them, as rows of the shrinkage control.
        lines: Those of SEAL, if it is wanted.

    Returns:
        Tables and gains, as text to print.
    """
    parabolas = [score for score in scores if score.metric in MOMENTS]
    scores = without_moments(scores)
    if rows:
        folder.write(PARABOLAS, formats.scores_csv(parabolas))
        folder.write(FITTED, formats.scores_csv(list(folder.fitted.values())))
    folder.write(SCORES, formats.scores_csv(scores))
    entries = make_table(grid, methods)
    networks = sum(method.way is None for method in methods) - 1
    if networks >= MOST:
        print(f'{networks} networks are too many for figures; each is compared only with interpolation and its '
              'baseline; tools/compare_seeds.py draws seeds and iterations', file=sys.stderr)
    gains = all_gains(grid, compared(methods, networks < MOST))
    shutil.rmtree(folder.path / PROGRESS, ignore_errors=True)
    folder.write('table.csv', formats.table_csv(entries, methods))
    folder.write('table.md', formats.markdown(entries, methods, grid.how))
    folder.write('table.tex', formats.latex(entries, methods, grid.how))
    folder.write('gains.csv', formats.gains_csv(gains, grid, methods))
    shown = _shown(methods)
    if networks < MOST:
        for metric in grid.metrics:
            _draw_bars(grid, shown, metric, folder.path)
    _draw_strips(grid, [method for method in methods if method.way != PER_DEGRADATION], folder)
    if rows:
        write_shrinkage(folder, parabolas, grid, rows)
    sealed = seal_rows(grid, lines) if lines else []
    if lines:
        folder.write('seal.csv', seal_csv(sealed, lines))
    for part in folder.path.rglob('.*.part'):  # images that were being written when an earlier run was killed
        part.unlink()
    infinite = [score for score in scores if not np.isfinite(score.value)]
    for line in dict.fromkeys(
            f'warning: {one.dataset}: {one.image}: {one.degradation}: '
            f"{'the ground truth is flat' if one.metric in WITHOUT_GAIN else f'{one.method} equals the ground truth'}; "
            'the image is excluded from the means of all methods' for one in infinite):
        print(line, file=sys.stderr)
    folder.finish(
        cells=[{field.name: getattr(entry, field.name) for field in fields(Cell)}
               for entry in entries if entry.degradation != MEAN],
        gains=[{'metric': entry.metric, 'dataset': entry.dataset, 'degradation': entry.degradation,
                'method': entry.method, **asdict(entry.gain), **_beyond_shrinkage(entry)}
               for entry in entries if entry.gain is not None],
        **({'seal': {**asdict(lines), 'rows': [asdict(row) for row in sealed]}} if lines else {}),
        **({'control': [row.described for row in rows]} if rows else {}),
        left_out=[[score.dataset, score.image, score.degradation, score.method] for score in infinite])
    parts = [_text(entries, grid, methods), *([seal_text(sealed, lines)] if lines else []), f'Results: {folder}']
    return '\n\n'.join(parts)


def _text(entries: Sequence[Entry], grid: Grid, methods: Sequence[Method]) -> str:
    """A table for each metric, and the mean gains."""
    parts = [format_table(entries, metric, f"{UNITS[metric] + ', ' if metric in UNITS else ''}{grid.how}",
                          DECIMALS[metric]) for metric in grid.metrics]
    baselines = {method.label: method.baseline for method in methods}
    with_mean = {entry.dataset for entry in entries if entry.degradation == MEAN}
    shrunk = {method.label for method in methods if method.way}
    lines = [f'{entry.metric}, {entry.dataset}: {entry.method} over {baselines[entry.method]}: '
             f'{formats.format_gain(entry.gain, DECIMALS[entry.metric])}{_beyond_text(entry)}'
             for entry in entries
             if entry.gain is not None and (entry.degradation == MEAN or entry.dataset not in with_mean)
             and not (entry.method in shrunk and baselines[entry.method] in shrunk)]
    if lines:
        parts.append('\n'.join(['gain, mean over degradations [95 % interval over images]', *lines]))
    return '\n\n'.join(parts)


def _beyond_text(entry: Entry) -> str:
    """Gains beyond shrinkage of a line of gains, one for each way of choosing α."""
    names = {ONCE: 'beyond shrinkage', PER_DEGRADATION: 'with α per degradation'}
    return ''.join(f"; {names[way]}: {formats.format_gain(gain, DECIMALS[entry.metric]).rpartition(', ')[0]}"
                   for way, gain in entry.beyond.items())


def _beyond_shrinkage(entry: Entry) -> dict[str, Any]:
    return {'beyond_shrinkage': {way: asdict(gain) for way, gain in entry.beyond.items()}} if entry.beyond else {}


def _shown(methods: Sequence[Method]) -> list[Method]:
    """The rows that bars show: without rows of the control where there are too many."""
    shown = [method for method in methods if method.way != PER_DEGRADATION]
    return shown if len(shown) <= MOST else [method for method in shown if method.way is None]


def _draw_bars(grid: Grid, methods: Sequence[Method], metric: str, folder: Path) -> None:
    """Values per degradation (paper Fig. 1), and gains over baselines or, without any, over interpolation."""
    unit, decimals = f' ({UNITS[metric]})' if metric in UNITS else '', DECIMALS[metric]
    suffix = '' if metric == grid.metrics[0] else f'_{metric}'
    panels = {dataset: {method.label: _finite_means(grid.values(metric, method.label, dataset)) for method in methods}
              for dataset in grid.datasets}
    draw_absolute(grid.degradations, panels, folder / f'absolute{suffix}.png', metric_title(metric) + unit,
                  f'{metric_title(metric)} per degradation ({grid.how})', decimals)
    pairs = [(method.baseline, method.label) for method in methods if method.baseline]
    bars = [Bar(f'{method} over {reference}', column, group, gain.mean, gain.low, gain.high, gain.images)
            for _, group, column, method, reference, gain in all_gains(
                grid, pairs or [(methods[0].label, one.label) for one in methods[1:]], [metric])]
    no_mean = {group for group, datasets in grid.groups().items() if len(grid.columns(datasets)) == 1}
    axis, note = f'gain in {metric_title(metric)}{unit}', 'error bars: 95 % bootstrap interval over images'
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
                        f'{dataset}, {image}: {metric_title(metric)} of the whole image below each crop')


def _finite_means(values: np.ndarray) -> np.ndarray:
    """Mean of the finite values of each column; NaN if there are none."""
    return np.array([column[np.isfinite(column)].mean() if np.isfinite(column).any() else np.nan
                     for column in values.T])
