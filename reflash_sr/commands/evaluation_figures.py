"""Which figures an evaluation gets, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reflash_sr.commands.analysis_inputs import folder_names
from reflash_sr.evaluation.comparison_table import Grid, Method
from reflash_sr.evaluation.metrics import DECIMALS, UNITS
from reflash_sr.evaluation.scores import MEAN
from reflash_sr.figures.draw_gains import Bar, draw_absolute, draw_gains
from reflash_sr.figures.draw_strips import draw_strips

GT, LQ = 'GT', 'LQ'  # among labels written *GT and *LQ: a network may be called GT
CROPS, IMAGES = 'crops', 'images'


class Places:
    """Where the images of an evaluation lie: names of methods, sets and images made safe, and no two alike.

    Args:
        folder: The results' folder.
        labels: Of the methods.
        images: Names of the images, by set.
        degradations: By set.
    """

    def __init__(self, folder: Path, labels: Sequence[str], images: Mapping[str, Sequence[str]],
                 degradations: Mapping[str, Sequence[str]]):
        self.folder = folder
        self._labels = _named([GT, LQ, *labels], [f'*{GT}', f'*{LQ}', *labels])
        self._sets = _named(list(images))
        self._images = {one: _named(list(names)) for one, names in images.items()}
        self._degradations = {one: _named(list(names)) for one, names in degradations.items()}

    def crop(self, dataset: str, image: str, degradation: str, label: str) -> Path:
        """A crop of an image; of the ground truth and the LQ image with ``*GT`` and ``*LQ`` as labels."""
        return (self.folder / CROPS / self._sets[dataset] / self._images[dataset][image]
                / self._degradations[dataset][degradation] / f'{self._labels[label]}.png')

    def image(self, dataset: str, image: str, degradation: str, label: str) -> Path:
        """An SR image."""
        return (self.folder / IMAGES / self._labels[label] / self._sets[dataset]
                / self._degradations[dataset][degradation] / f'{self._images[dataset][image]}.png')

    def strip(self, dataset: str, image: str) -> Path:
        """The crops of an image side by side."""
        return self.folder / 'strips' / self._sets[dataset] / f'{self._images[dataset][image]}.png'


def _named(labels: Sequence[str], keys: Sequence[str] | None = None) -> dict[str, str]:
    return dict(zip(keys or labels, folder_names(labels)))


def draw_all(grid: Grid, methods: Sequence[Method], places: Places, settings: Any, bars: bool = True) -> None:
    """Strips (the paper's Fig. 5) and, with ``bars``, absolute values (Fig. 1) and gains by degradation and set."""
    folder = places.folder
    for metric in grid.metrics if bars else ():
        axis = f'{metric.upper()} ({UNITS[metric]})' if metric in UNITS else metric.upper()
        suffix = '' if metric == grid.metrics[0] else f'_{metric}'
        panels = {dataset: {method.label: _finite_means(grid.values(metric, method.label, dataset))
                            for method in methods} for dataset in grid.datasets}
        draw_absolute({dataset: grid.degradations[dataset] for dataset in panels}, panels,
                      folder / f'absolute{suffix}.png', axis, f'{metric.upper()} per degradation ({settings})',
                      DECIMALS[metric])
        _draw_gains(grid, methods, metric, folder, suffix, settings)
    _draw_strips(grid, methods, places, settings)


def _draw_gains(grid: Grid, methods: Sequence[Method], metric: str, folder: Path, suffix: str, settings: Any) -> None:
    """Gains over baselines; without any, over the first method, interpolation."""
    pairs = [(one.label, one.baseline) for one in methods if one.baseline]
    pairs = pairs or [(one.label, methods[0].label) for one in methods[1:]]
    axis = f'gain in {metric.upper()} ({UNITS[metric]})' if metric in UNITS else f'gain in {metric.upper()}'
    by_degradation, by_set = [], []
    for label, reference in pairs:
        name = f'{label} over {reference}'
        for group, sets in grid.groups().items():
            for column, places in grid.columns(sets).items():
                gain = grid.gain(metric, label, reference, sets, places, settings.seed)
                if gain is None:
                    continue
                bar = Bar(name, column, group, gain.mean, gain.low, gain.high, gain.images)
                by_degradation.append(bar)
                if column == MEAN or len(grid.columns(sets)) == 1:
                    by_set.append(Bar(name, group, '', gain.mean, gain.low, gain.high, gain.images))
    note = 'error bars: 95 % bootstrap interval over images'
    draw_gains(by_degradation, folder / f'gain_per_degradation{suffix}.png', axis, f'Gain per degradation ({settings})',
               note, DECIMALS[metric])
    draw_gains(by_set, folder / f'gain_per_set{suffix}.png', axis,
               f'Gain per set, mean over its degradations ({settings})', note, DECIMALS[metric])


def _draw_strips(grid: Grid, methods: Sequence[Method], places: Places, settings: Any) -> None:
    metric = grid.metrics[0]
    for dataset in grid.datasets:
        for place, image in enumerate(grid.images[dataset][:settings.strips]):
            rows = []
            for column, degradation in enumerate(grid.degradations[dataset]):
                cells = [(label, _read_crop(places.crop(dataset, image, degradation, f'*{label}')), '')
                         for label in (GT, LQ)]
                for method in methods:
                    value = grid.values(metric, method.label, dataset)[place, column]
                    unit = f' {UNITS[metric]}' if metric in UNITS else ''
                    cells.append((method.label, _read_crop(places.crop(dataset, image, degradation, method.label)),
                                  f'{value:.{DECIMALS[metric]}f}{unit}'))
                rows.append((degradation, cells))
            draw_strips(rows, places.strip(dataset, image),
                        f'{dataset}, {image}: {metric.upper()} of the whole image below each crop')


def _finite_means(values: np.ndarray) -> np.ndarray:
    return np.array([column[np.isfinite(column)].mean() if np.isfinite(column).any() else np.nan
                     for column in values.T])


def _read_crop(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))

