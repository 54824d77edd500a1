"""What came out of a study: one table of all validations, a summary and two figures, made anew at every call."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reflash_sr.figures import draw_study as figures
from reflash_sr.studies.checks import psnr_metric
from reflash_sr.studies.grid import DROPOUT, Cell, Study, folder_of, status, text_of
from reflash_sr.system.files import atomic_write
from reflash_sr.system.result_folder import versions

COLUMNS = ('cell', 'seed', 'iteration', 'set', 'degradation', 'psnr')


def write(study: Study, folder: Path, failed: Mapping[str, str], root: str | os.PathLike = '.') -> str:
    """Collect the validations of every cell, and write ``table.csv``, ``summary.json``, ``curves.png``, ``bars.png``.

    Args:
        study: The study.
        folder: Where the files go.
        failed: What went wrong, by experiment.
        root: Folder under which ``experiments`` stands.

    Returns:
        The cells' PSNR and their gain over p = 0, as a table to print.
    """
    rows = collect(study, root)
    with atomic_write(folder / 'table.csv', 'w') as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
        writer.writeheader()
        writer.writerows({**row, 'psnr': f"{row['psnr']:.6f}"} for row in rows)
    shown = [row for row in rows if not study.compare_on or row['degradation'] in study.compare_on]
    series = make_series(study, shown)
    means = {name: _summary(one) for name, one in series.items()}
    with atomic_write(folder / 'summary.json', 'w') as file:
        json.dump(_describe(study, means, failed), file, indent=2, ensure_ascii=False)
        file.write('\n')
    what = _what(shown)
    drawn = [one for name, one in series.items() if not _is_reference(one, series)]
    if drawn:
        figures.draw_curves(drawn, folder / 'curves.png', f'{study.name}: {what}')
        figures.draw_bars(drawn, folder / 'bars.png', f'{study.name}: {what}')
    return _format(means, f'PSNR in dB, {what}; gain over p = 0')


def collect(study: Study, root: str | os.PathLike = '.') -> list[dict[str, Any]]:
    """Read the validations of every cell.

    Returns:
        Rows with the keys of :data:`COLUMNS`, ``psnr`` in dB; cells in the order of the study. Cells that were trained
        with other options than the study has now are left out.
    """
    metric = psnr_metric(study.options)
    rows = []
    for cell in study.cells:
        if status(cell, root) not in ('finished', 'begun'):
            continue
        tables = (folder_of(cell, root) / 'validation').glob('iter_*.csv')
        for table in sorted(tables, key=_iteration):
            with open(table, encoding='utf-8', newline='') as file:
                rows += [{'cell': cell.name, 'seed': cell.seed, 'iteration': _iteration(table), 'set': line['dataset'],
                          'degradation': line['degradation'], 'psnr': float(line['value'])}
                         for line in csv.DictReader(file) if line['method'] == 'network' and line['metric'] == metric]
    return rows


def make_series(study: Study, rows: Iterable[Mapping[str, Any]]) -> dict[str, figures.Series]:
    """Average over sets and degradations, and arrange the cells for the figures.

    Args:
        study: The study.
        rows: As :func:`collect` gives them.

    Returns:
        A series for each cell of which there are validations, by the cell's name. Panels are dimensions, groups
        positions, shades values of p; axes of the study's own take the places that are free.
    """
    found: dict[tuple[str, int, int], list[float]] = {}
    for row in rows:
        found.setdefault((row['cell'], row['seed'], row['iteration']), []).append(row['psnr'])
    places = _places(study.axes)
    own = [axis for axis in study.axes if axis not in DROPOUT]
    series: dict[str, figures.Series] = {}
    for cell in study.cells:  # cells with p = 0 come first
        iterations = sorted({iteration for name, _, iteration in found if name == cell.name})
        if not iterations or cell.name in series:
            continue
        psnr = np.array([[np.mean(found.get((cell.name, seed, iteration), [np.nan])) for iteration in iterations]
                         for seed in study.seeds])
        reference = None if cell.is_p0 else next(
            (series[other.name] for other in study.cells
             if other.is_p0 and other.name in series and all(other.values[axis] == cell.values[axis] for axis in own)),
            None)
        labels = {place: _label(cell, axes) for place, axes in places.items()}
        series[cell.name] = figures.Series(cell.name, **labels, iterations=np.array(iterations), psnr=psnr,
                                           total=int(study.options['train']['total_iter']), reference=reference)
    return series


def _places(axes: Iterable[str]) -> dict[str, list[str]]:
    """Say which axes a figure tells apart by panel, by group and by shade."""
    free = [axis for axis in axes if axis not in ('dropout_position', 'dropout_dim', 'dropout_p')]

    def take(axis: str) -> list[str]:
        if axis in axes:
            return [axis]
        return [free.pop(0)] if free else []

    places = {'group': take('dropout_position'), 'shade': take('dropout_p')}
    return {'panel': [axis for axis in ('dropout_dim',) if axis in axes] + free, **places}


def _label(cell: Cell, axes: Iterable[str]) -> str:
    words = {'dropout_position': '{}', 'dropout_dim': '{} dropout', 'dropout_p': 'p = {}', 'dropout_stage': '{} stage'}
    return ', '.join(words.get(axis, axis.split(':')[-1] + ' {}').format(text_of(cell.values[axis]))
                     for axis in axes if axis in cell.values)


def _is_reference(one: figures.Series, series: Mapping[str, figures.Series]) -> bool:
    return any(other.reference is one for other in series.values())


def _summary(one: figures.Series) -> dict[str, Any]:
    gain = np.array([]) if one.gain() is None else one.gain()
    numbers = {'psnr': figures.mean(one.last()), 'psnr_std': figures.std(one.last()),
               'gain': figures.mean(gain), 'gain_std': figures.std(gain)}
    return {'seeds_finished': int(np.isfinite(one.last()).sum()), **{key: _round(v) for key, v in numbers.items()}}


def _round(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(value, 4)


def _describe(study: Study, means: Mapping[str, Any], failed: Mapping[str, str]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for cell in study.cells:
        entry = cells.setdefault(cell.name, {'values': cell.values, 'experiments': [], **means.get(cell.name, {})})
        entry['experiments'].append(f'experiments/{cell.experiment}')
    return {'study': study.name, 'option_file': study.file, 'seeds': study.seeds, 'versions': versions(),
            'cells': cells, 'failed': dict(failed), 'axes': study.axes, 'options': study.options}


def _what(rows: Sequence[Mapping[str, Any]]) -> str:
    sets, degradations = (list(dict.fromkeys(row[key] for row in rows)) for key in ('set', 'degradation'))
    return ', '.join(some[0] if len(some) == 1 else f'mean of {len(some)} {word} ({", ".join(some)})'
                     for some, word in ((sets, 'sets'), (degradations, 'degradations')) if some)


def _format(means: Mapping[str, Mapping[str, Any]], title: str) -> str:
    spread = any(one['psnr_std'] is not None for one in means.values())
    uneven = len({one['seeds_finished'] for one in means.values()}) > 1
    head = ['cell'] + ['seeds'] * uneven + ['PSNR'] + ['± std'] * spread + ['gain'] + ['± std'] * spread
    lines = [head]
    for name, one in means.items():
        numbers = [_two(one['psnr'], '')] + [_two(one['psnr_std'], '')] * spread
        seeds = [str(one['seeds_finished'])] * uneven
        lines.append([name, *seeds, *numbers, _two(one['gain'], '+')] + [_two(one['gain_std'], '')] * spread)
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = ['  '.join([line[0].ljust(widths[0]), *(word.rjust(width) for word, width in zip(line[1:], widths[1:]))])
            for line in lines]
    return '\n'.join([title, *(line.rstrip() for line in text)])


def _two(value: float | None, sign: str) -> str:
    return '' if value is None else f'{value:{sign}.2f}'


def _iteration(table: Path) -> int:
    return int(table.stem.removeprefix('iter_'))
