"""Figures of channel saliency maps (paper Fig. 6 and 7)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from reflash_sr.analysis.saliency import Saliency
from reflash_sr.figures.style import WIDTH, new_figure
from reflash_sr.figures.tiles import TEXT, TILE, ceiling, draw_tiles

COLUMNS = 8
CAPTIONS = 'above each channel: its number, and its score (sum of its saliency)'


def figure_sheet(saliency: Saliency, title: str = '', channels: int = 32) -> Figure:
    """Feature maps above saliency maps of the ``channels`` channels with the highest scores, each kind on one scale."""
    order = np.argsort(-saliency.scores, kind='stable')[:channels]
    rows = -(-len(order) // COLUMNS)
    figure = new_figure(f'{title}\n{CAPTIONS}', WIDTH, min(0.85 + rows * (1.9 * _ratio(saliency) + 0.36), 60))
    _draw(figure, saliency, order, rows)
    return figure


def figure_models(models: Mapping[str, Saliency], title: str = '') -> Figure:
    """The channels with the highest scores of several models, one model below the other, each on its own scale.

    Args:
        models: Saliency of the same layer and image, by label.
    """
    tall = max(map(_ratio, models.values()))
    figure = new_figure(f'{title}\n{CAPTIONS}', WIDTH, 1.0 + len(models) * (1.9 * tall + 0.6))
    parts = figure.subfigures(len(models), 1, squeeze=False).ravel()
    for part, (label, saliency) in zip(parts, models.items()):
        share = saliency.scores / (saliency.scores.sum() or 1)
        order = np.argsort(-saliency.scores, kind='stable')[:COLUMNS]
        part.suptitle(f'{label}: the {len(order)} channels shown have {100 * share[order].sum():.0f}% of the saliency '
                      f'of {len(share)}', size=10)
        _draw(part, saliency, order, 1)
    return figure


def _draw(figure: Figure | SubFigure, saliency: Saliency, order: np.ndarray, rows: int) -> None:
    """Draw rows of features, each above the row of its saliency, with one colour bar for each kind."""
    magnitude = np.abs(saliency.features)
    tall = TILE * min(saliency.maps.shape[1] / saliency.maps.shape[2], 1)
    grid = figure.subplots(2 * rows, 1, height_ratios=[tall + TEXT, tall] * rows)
    for row in range(rows):
        shown = order[row * COLUMNS:(row + 1) * COLUMNS]
        captions = [f'{one}: {saliency.scores[one]:{".0f" if saliency.scores[one] >= 100 else ".3g"}}' for one in shown]
        features = _tiles(grid[2 * row], magnitude, shown, captions, 'magma')
        maps = _tiles(grid[2 * row + 1], saliency.maps, shown, [''] * len(shown), 'viridis')
    for image, label in ((maps, 'saliency, largest of the layer = 1'), (features, '|feature|')):
        bar = figure.colorbar(image, ax=list(grid), shrink=min(4 / len(grid), 1), aspect=25, pad=0.01, extend='max',
                              ticks=MaxNLocator(4))
        bar.set_label(label, size=8)
        bar.ax.tick_params(labelsize=8, pad=2)


def _tiles(axes: Axes, maps: np.ndarray, shown: np.ndarray, captions: list[str], colours: str) -> AxesImage:
    return draw_tiles(axes, maps[shown], COLUMNS, captions, (0, ceiling(maps)), colours)


def _ratio(saliency: Saliency) -> float:
    """Height of a map divided by its width, at most 1.5."""
    return min(saliency.maps.shape[1] / saliency.maps.shape[2], 1.5)
