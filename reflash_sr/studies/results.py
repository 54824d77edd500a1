"""The results of a study: a table of all validations, a summary and two figures; every call rewrites them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reflash_sr.figures import draw_study as figures
from reflash_sr.studies.check_cells import psnr_metric
from reflash_sr.studies.grid import DROPOUT, PRESET, Cell, Study, folder_of, name_of, status, text_of
from reflash_sr.system.files import atomic_write
from reflash_sr.system.result_folder import versions

LENGTH = 'train:total_iter'  # as an axis, the curves join the ends of runs of several lengths
COLUMNS = ('cell', 'seed', 'iteration', 'set', 'degradation', 'psnr')


def write(study: Study, folder: Path, failed: Mapping[str, str], root: str | os.PathLike = '.') -> str:
    """Collect the validations of every cell, and write ``table.csv``, ``summary.json``, ``curves.png``, ``bars.png``.

    Args:
        folder: Folder for the files.
        failed: Error messages, by experiment.
        root: Parent folder of ``experiments``.

    Returns:
        PSNR and gain over p = 0 of every cell, as a table to print.
    """
    table = collect(study, root)
    with atomic_write(folder / 'table.csv', 'w') as file:
        table.to_csv(file, index=False, float_format='%.6f', na_rep='nan', lineterminator='\n')
    shown = table[table['degradation'].isin(study.compare_on)] if study.compare_on else table
    series = make_series(study, shown)
    means = {name: _summary(one) for name, one in series.items()}
    cells: dict[str, Any] = {}
    for cell in study.cells:
        entry = cells.setdefault(cell.name, {'values': cell.values, 'experiments': [], **means.get(cell.name, {})})
        entry['experiments'].append(f'experiments/{cell.experiment}')
    summary = {'study': study.name, 'option_file': study.file, 'seeds': study.seeds, 'versions': versions(),
               'cells': cells, 'failed': dict(failed), 'axes': study.axes, 'options': study.options}
    with atomic_write(folder / 'summary.json', 'w') as file:
        file.write(json.dumps(summary, indent=2, ensure_ascii=False) + '\n')
    names = [(shown[key].unique(), word) for key, word in (('set', 'datasets'), ('degradation', 'degradations'))]
    what = ', '.join(some[0] if len(some) == 1 else f'mean of {len(some)} {word} ({", ".join(some)})'
                     for some, word in names if len(some))
    if series:
        lines = make_series(*join_lengths(study, shown)) if LENGTH in study.axes else series
        figures.draw_curves(_drawn(lines), folder / 'curves.png', f'{study.name}: {what}', study.reference)
        figures.draw_bars(_drawn(series), folder / 'bars.png', f'{study.name}: {what}', study.reference)
    return _format(means, f'PSNR in dB, {what}; gain over {study.reference}')


def collect(study: Study, root: str | os.PathLike = '.') -> pd.DataFrame:
    """Read the validations of every cell.

    Returns:
        A table with the columns :data:`COLUMNS`, ``psnr`` in dB; cells in the order of the study. Cells that were
        trained with other options than those of the study are skipped.
    """
    metric = psnr_metric(study.options)
    rows: list[tuple] = []
    for cell in study.cells:
        if status(cell, root) not in ('finished', 'begun'):
            continue
        files = {int(file.stem.removeprefix('iter_')): file
                 for file in (folder_of(cell, root) / 'validation').glob('iter_*.csv')}
        for iteration, path in sorted(files.items()):
            with open(path, encoding='utf-8', newline='') as file:
                rows += [(cell.name, cell.seed, iteration, line['dataset'], line['degradation'], float(line['value']))
                         for line in csv.DictReader(file) if line['method'] == 'network' and line['metric'] == metric]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def make_series(study: Study, table: pd.DataFrame) -> dict[str, figures.Series]:
    """Average over datasets and degradations, and arrange the cells for the figures.

    Args:
        table: From :func:`collect`.

    Returns:
        A series for each cell with validations, by the cell's name. Panels show dimensions, groups positions, shades
        values of p; other axes use the free ones.
    """
    means = table.groupby(['cell', 'seed', 'iteration'])['psnr'].mean()
    places = _places(study.axes)
    own = [axis for axis in study.axes if axis not in (*DROPOUT, PRESET)]
    series: dict[str, figures.Series] = {}
    for cell in study.cells:  # the references come first
        if cell.name in series or cell.name not in means.index:
            continue
        psnr = means[cell.name].unstack().reindex(study.seeds)  # a row for each seed, a column for each iteration
        reference = None if study.is_reference(cell) else next(
            (series[other.name] for other in study.cells
             if study.is_reference(other) and other.name in series
             and all(other.values[axis] == cell.values[axis] for axis in own)),
            None)
        labels = {place: _label(cell, axes) for place, axes in places.items()}
        series[cell.name] = figures.Series(cell.name, **labels, iterations=psnr.columns.to_numpy(),
                                           psnr=psnr.to_numpy(), total=int(cell.options['train']['total_iter']),
                                           reference=reference)
    return series


def join_lengths(study: Study, table: pd.DataFrame) -> tuple[Study, pd.DataFrame]:
    """Make one cell of those that differ in the length of the run alone; its validations are those at their ends.

    Args:
        table: From :func:`collect`.
    """
    names, ends, joined = {}, {}, {}
    for cell in study.cells:
        values = {axis: value for axis, value in cell.values.items() if axis != LENGTH}
        names[cell.name], ends[cell.name] = name_of(values), int(cell.options['train']['total_iter'])
        joined[names[cell.name], cell.seed] = replace(cell, name=names[cell.name], values=values)
    axes = {axis: values for axis, values in study.axes.items() if axis != LENGTH}
    at_end = table[table['iteration'] == table['cell'].map(ends)]
    return replace(study, axes=axes, cells=[*joined.values()]), at_end.assign(cell=at_end['cell'].map(names))


def _drawn(series: Mapping[str, figures.Series]) -> list[figures.Series]:
    """All but those that are drawn as the references of others."""
    references = [id(one.reference) for one in series.values()]
    return [one for one in series.values() if id(one) not in references]


def _places(axes: Iterable[str]) -> dict[str, list[str]]:
    """Choose the axes that a figure shows by panel, by group and by shade."""
    usual = {'panel': 'dropout_dim', 'group': 'dropout_position', 'shade': 'dropout_p'}
    free = [axis for axis in axes if axis not in usual.values()]
    places = {place: [axis] if axis in axes else [] for place, axis in usual.items()}
    for place in ('group', 'shade'):
        if not places[place] and free:
            places[place].append(free.pop(0))
    places['panel'] += free
    return places


def _label(cell: Cell, axes: Iterable[str]) -> str:
    words = {'dropout_position': '{}', 'dropout_dim': '{} dropout', 'dropout_p': 'p = {}', 'dropout_stage': '{} stage',
             PRESET: '{}', LENGTH: '{} iterations'}
    return ', '.join(words.get(axis, axis.split(':')[-1] + ' {}').format(text_of(cell.values[axis]))
                     for axis in axes if axis in cell.values)


def _summary(one: figures.Series) -> dict[str, Any]:
    last, gain = one.last(), one.gain()
    gain = np.array([]) if gain is None else gain
    numbers = {'psnr': figures.mean(last), 'psnr_std': figures.std(last),
               'gain': figures.mean(gain), 'gain_std': figures.std(gain)}
    return {'seeds_finished': int(np.isfinite(last).sum()),
            **{key: None if value is None or not np.isfinite(value) else round(value, 4)
               for key, value in numbers.items()}}


def _format(means: Mapping[str, Mapping[str, Any]], title: str) -> str:
    """Format the means as an aligned table; without seeds if all cells have the same number, without std for one."""
    columns = {'seeds_finished': ('seeds', ''), 'psnr': ('PSNR', '.2f'), 'psnr_std': ('± std', '.2f'),
               'gain': ('gain', '+.2f'), 'gain_std': ('± std', '.2f')}
    if len({one['seeds_finished'] for one in means.values()}) < 2:
        del columns['seeds_finished']
    if all(one['psnr_std'] is None for one in means.values()):
        del columns['psnr_std'], columns['gain_std']
    lines = [['cell', *(name for name, _ in columns.values())]]
    lines += [[name, *('' if one[key] is None else f'{one[key]:{form}}' for key, (_, form) in columns.items())]
              for name, one in means.items()]
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = ['  '.join([line[0].ljust(widths[0]), *(word.rjust(width) for word, width in zip(line[1:], widths[1:]))])
            for line in lines]
    return '\n'.join([title, *(line.rstrip() for line in text)])
