"""The evaluation grid: sets × degradations, in one table."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from reflash_sr.system.files import atomic_write

MEAN = 'mean'  # over the degradations of a set


@dataclass(frozen=True)
class Score:
    """One number: a metric of one image.

    Attributes:
        method: What made the SR image, such as ``'network'`` or ``'bicubic'``.
        dataset: Name of the set.
        degradation: Name of the degradation.
        image: Name of the image.
        metric: Name of the metric, such as ``'psnr'``.
        value: Its value; PSNR in dB.
    """

    method: str
    dataset: str
    degradation: str
    image: str
    metric: str
    value: float


@dataclass(frozen=True)
class Cell:
    """The mean of a metric over the images of one set and degradation."""

    method: str
    dataset: str
    degradation: str
    metric: str
    value: float
    images: int


def mean_cells(scores: Iterable[Score]) -> list[Cell]:
    """Average scores over images.

    Args:
        scores: In the order in which sets, degradations, metrics and methods are to be listed.

    Returns:
        One cell for each method, set, degradation and metric. A value that is not finite (an image equal to its ground
        truth has an infinite PSNR) is left out of the mean, and ``images`` does not count it.
    """
    groups: dict[tuple[str, str, str, str], list[float]] = {}
    for score in scores:
        groups.setdefault((score.method, score.dataset, score.degradation, score.metric), []).append(score.value)
    return [Cell(*key, *_finite_mean(values)) for key, values in groups.items()]


def _finite_mean(values: list[float]) -> tuple[float, int]:
    finite = [value for value in values if math.isfinite(value)]
    return (sum(finite) / len(finite), len(finite)) if finite else (values[0], 0)


def format_table(cells: Sequence[Cell], metric: str, note: str, decimals: int = 2) -> str:
    """Lay out the cells of one metric: a row per set and method, a column per degradation, and their mean.

    Args:
        cells: As :func:`mean_cells` gives them. Those whose degradation is :data:`MEAN` are the means of their rows;
            other rows have the mean of what stands in them.
        metric: Which metric.
        note: What the numbers are (unit, colour space, border), for the first line.
        decimals: Digits behind the point.

    Returns:
        Lines of text, aligned.
    """
    chosen = [cell for cell in cells if cell.metric == metric]
    columns = [name for name in dict.fromkeys(cell.degradation for cell in chosen) if name != MEAN]
    values = {(cell.dataset, cell.method, cell.degradation): cell.value for cell in chosen}
    rows = list(dict.fromkeys((cell.dataset, cell.method) for cell in chosen))
    head = ['set', 'method', *columns] + ([MEAN] if len(columns) > 1 else [])
    lines = [head]
    for dataset, method in rows:
        row = [values.get((dataset, method, column)) for column in columns]
        there = [value for value in row if value is not None and math.isfinite(value)]
        if len(columns) > 1:
            row.append(values.get((dataset, method, MEAN), sum(there) / len(there) if there else math.nan))
        lines.append([dataset, method] + ['' if value is None else f'{value:.{decimals}f}' for value in row])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = ['  '.join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths)))
            for line in lines]
    return '\n'.join([f'{metric}: {note}', *(line.rstrip() for line in text)])


def write_csv(cells: Iterable[Cell], path: str | os.PathLike) -> None:
    """Write cells as CSV, one line a cell, whole or not at all."""
    with atomic_write(path, 'w') as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Cell)], lineterminator='\n')
        writer.writeheader()
        writer.writerows({**asdict(cell), 'value': f'{cell.value:.6f}'} for cell in cells)
