"""Figures of channel saliency maps (paper Fig. 6 and 7)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reflash_sr.analysis.saliency import Saliency
from reflash_sr.figures.style import WIDTH, new_figure
from reflash_sr.figures.tiles import TEXT, TILE, ceiling, draw_tiles

COLUMNS = 8
CAPTIONS = 'above each channel: its number, and its score (sum of its saliency)'


def figure_sheet(saliency: Saliency, title: str = '', channels: int = 32) -> Figure:
    """Feature map above saliency map, for the channels with the highest scores; each kind on one common scale.

    Args:
        saliency: Of one layer.
        title: Of the figure.
        channels: How many at most.
    """
    order = np.argsort(-saliency.scores, kind='stable')[:channels]
    rows = -(-len(order) // COLUMNS)
    tall = min(saliency.maps.shape[1] / saliency.maps.shape[2], 1.5)
    figure = new_figure(f'{title}\n{CAPTIONS}', WIDTH, min(0.85 + rows * (1.9 * tall + 0.36), 60))
    pairs = figure.subplots(2 * rows, 1, height_ratios=_heights(saliency) * rows)
    for row in range(rows):
        _pair(figure, pairs[2 * row:2 * row + 2], saliency, order[row * COLUMNS:(row + 1) * COLUMNS])
    _bars(figure, pairs, saliency)
    return figure


def figure_models(models: Mapping[str, Saliency], title: str = '') -> Figure:
    """The channels with the highest scores of several models, one model below the other.

    Args:
        models: By label, of the same layer and image; each model is on its own scale.
        title: Of the figure.
    """
    tall = max(min(one.maps.shape[1] / one.maps.shape[2], 1.5) for one in models.values())
    figure = new_figure(f'{title}\n{CAPTIONS}', WIDTH, 1.0 + len(models) * (1.9 * tall + 0.6))
    for part, (label, saliency) in zip(np.atleast_1d(figure.subfigures(len(models), 1)), models.items()):
        share = saliency.scores / (saliency.scores.sum() or 1)
        order = np.argsort(-saliency.scores, kind='stable')[:COLUMNS]
        part.suptitle(f'{label}: the {len(order)} channels shown have {100 * share[order].sum():.0f}% of the saliency '
                      f'of {len(share)}', size=10)
        pair = part.subplots(2, 1, height_ratios=_heights(saliency))
        _pair(part, pair, saliency, order)
        _bars(part, pair, saliency)
    return figure


def _pair(figure: Figure, pair: np.ndarray, saliency: Saliency, order: np.ndarray) -> None:
    """One row of features above one row of their saliency."""
    magnitude = np.abs(saliency.features)
    empty = [''] * len(order)
    _row(pair[0], magnitude[order], [_caption(channel, saliency.scores[channel]) for channel in order],
         ceiling(magnitude), 'magma')
    _row(pair[1], saliency.maps[order], empty, ceiling(saliency.maps), 'viridis')


def _row(axes: Axes, maps: np.ndarray, captions: list[str], top: float, colours: str) -> None:
    missing = COLUMNS - len(maps)
    maps = np.concatenate((maps, np.full((missing, *maps.shape[1:]), np.nan, maps.dtype)))
    axes.image = draw_tiles(axes, maps, COLUMNS, [*captions, *[''] * missing], (0, top), colours)


def _bars(figure: Figure, axes: np.ndarray, saliency: Saliency) -> None:
    """One colour bar for all rows of features, one for all rows of saliency."""
    for first, label in ((1, 'saliency, largest of the layer = 1'), (0, '|feature|')):
        bar = figure.colorbar(axes[first].image, ax=list(axes), shrink=min(4 / len(axes), 1), aspect=25, pad=0.01,
                              extend='max', ticks=MaxNLocator(4))
        bar.set_label(label, size=8)
        bar.ax.tick_params(labelsize=8, pad=2)


def _heights(saliency: Saliency) -> list[float]:
    """Of a row of features, with captions, and of a row of saliency."""
    tall = TILE * min(saliency.maps.shape[1] / saliency.maps.shape[2], 1)
    return [tall + TEXT, tall]


def _caption(channel: int, score: float) -> str:
    return f'{channel}: {score:.0f}' if score >= 100 else f'{channel}: {score:.3g}'
