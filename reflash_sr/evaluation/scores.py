"""Scores of single images, their means over images, and a text table of means."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields

from reflash_sr.system.files import atomic_write, csv_text

TABLE_DECIMALS = 6  # of the values in a CSV
MEAN = 'mean'  # over the degradations of a dataset
Key = tuple[str, str, str, str, str]  # method, dataset, degradation, image, metric


@dataclass(frozen=True)
class Score:
    """A metric of one image."""

    method: str  # such as 'network' or 'bicubic'
    dataset: str
    degradation: str
    image: str
    metric: str  # such as 'psnr'
    value: float  # PSNR in dB

    @property
    def key(self) -> Key:
        """What was measured."""
        return self.method, self.dataset, self.degradation, self.image, self.metric


@dataclass(frozen=True)
class Cell:
    """The mean of a metric over the images of one dataset and degradation; ``images`` is their number."""

    method: str
    dataset: str
    degradation: str
    metric: str
    value: float
    images: int


def mean_cells(scores: Iterable[Score]) -> list[Cell]:
    """Average scores over images.

    Args:
        scores: Their order is the order of the cells.

    Returns:
        One cell for each method, dataset, degradation and metric. A value that is not finite (an image equal to its
        ground truth has an infinite PSNR) is excluded from the mean, and ``images`` does not count it.
    """
    groups: dict[tuple[str, str, str, str], list[float]] = {}
    for score in scores:
        groups.setdefault((score.method, score.dataset, score.degradation, score.metric), []).append(score.value)
    cells = []
    for key, values in groups.items():
        finite = [value for value in values if math.isfinite(value)]
        cells.append(Cell(*key, sum(finite) / len(finite) if finite else values[0], len(finite)))
    return cells


def format_table(cells: Sequence[Cell], metric: str, note: str, decimals: int = 2) -> str:
    """Lay out the cells of one metric: a row per dataset and method, a column per degradation, and their mean.

    Args:
        cells: From :func:`mean_cells`. Cells whose degradation is :data:`MEAN` are the means of their rows; other rows
            get the mean of their columns.
        metric: Name of the metric.
        note: Unit, colour space and border, for the first line.
    """
    chosen = [cell for cell in cells if cell.metric == metric]
    columns = [name for name in dict.fromkeys(cell.degradation for cell in chosen) if name != MEAN]
    values = {(cell.dataset, cell.method, cell.degradation): cell.value for cell in chosen}
    lines = [['dataset', 'method', *columns] + [MEAN] * (len(columns) > 1)]
    for key in dict.fromkeys((cell.dataset, cell.method) for cell in chosen):
        row = [values.get((*key, column)) for column in columns]
        if len(columns) > 1:
            finite = [value for value in row if value is not None and math.isfinite(value)]
            row.append(values.get((*key, MEAN), sum(finite) / len(finite) if finite else math.nan))
        lines.append([*key, *('' if value is None else f'{value:.{decimals}f}' for value in row)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = ['  '.join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths)))
            for line in lines]
    return '\n'.join([f'{metric}: {note}', *(line.rstrip() for line in text)])


def read_csv(path: str | os.PathLike) -> list[Cell]:
    """Read the cells that :func:`write_csv` has written; values have :data:`TABLE_DECIMALS`.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: It holds something else.
    """
    with open(path, encoding='utf-8', newline='') as file:
        try:
            return [Cell(row['method'], row['dataset'], row['degradation'], row['metric'], float(row['value']),
                         int(row['images'])) for row in csv.DictReader(file)]
        except (KeyError, TypeError, csv.Error) as error:
            raise ValueError(f'not a table of a validation ({error})') from error


def write_csv(cells: Iterable[Cell], path: str | os.PathLike) -> None:
    """Write cells as CSV, one line per cell, atomically."""
    with atomic_write(path, 'w') as file:
        file.write(csv_text([field.name for field in fields(Cell)], (
            [f'{value:.{TABLE_DECIMALS}f}' if isinstance(value, float) else value for value in astuple(cell)]
            for cell in cells)))
