"""Figures of channel ablation (paper Fig. 6 and 8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reflash_sr.figures.style import WIDTH, band, colour, dash, legend_below, new_figure, plain, short
from reflash_sr.figures.tiles import ceiling, draw_tiles


def figure_in_turn(curves: Mapping[str, Mapping[str, np.ndarray]], title: str = '',
                   over: str = 'images and random orders') -> Figure:
    """PSNR over the number of channels removed: one panel for each order, one line for each model.

    Args:
        curves: By order, then by model: (images or seeds, C + 1), dB.
        over: What the rows of a curve are.
    """
    figure = new_figure(title, WIDTH, 4.4)
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    several = False
    for axes, (order, models) in zip(panels, curves.items()):
        plain(axes).set_title(order.replace('-', ' ') + ('' if 'first' in order else ' order'), size=10)
        for psnr, style in zip(models.values(), _styles(models)):
            psnr = np.where(np.isfinite(psnr), psnr, np.nan)
            psnr = psnr[np.isfinite(psnr).all(1)] if np.isfinite(psnr).all(1).any() else psnr
            mean, spread, removed = psnr.mean(0), (psnr - psnr[:, :1]).std(0), np.arange(psnr.shape[1])
            several |= len(psnr) > 1
            band(axes, removed, mean - spread, mean + spread, style['color'])
            axes.axhline(mean[0], color=style['color'], linewidth=0.8, alpha=0.5)
            axes.plot(removed, mean, **style)
        axes.set_xlim(0, max(psnr.shape[1] for psnr in models.values()) - 1)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel('channels removed')
    panels[0].set_ylabel('PSNR, dB')
    note = 'thin: nothing removed'
    note += f'; band: standard deviation of what is lost, over {over}' if several else ''
    legend_below(figure, _lines(next(iter(curves.values()))), note)
    return figure


def figure_single(drops: Mapping[str, np.ndarray], title: str = '') -> Figure:
    """PSNR lost without each channel, sorted: one line for each model; ``drops`` by model: (images, C), dB."""
    figure = new_figure(title)
    axes = plain(figure.subplots())
    axes.axhline(0, color='0.6', linewidth=0.9)
    for lost, style in zip(drops.values(), _styles(drops)):
        ranked = np.sort(np.nan_to_num(lost, posinf=0, neginf=0), axis=1)[:, ::-1]
        mean, spread, rank = ranked.mean(0), ranked.std(0), np.arange(1, lost.shape[1] + 1)
        band(axes, rank, mean - spread, mean + spread, style['color'])
        axes.plot(rank, mean, **style, marker='.', markersize=5)
    axes.set_xlim(0.5, max(lost.shape[1] for lost in drops.values()) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel('channel, the most important first in every image')
    axes.set_ylabel('PSNR lost without it, dB')
    several = any(len(lost) > 1 for lost in drops.values())
    legend_below(figure, _lines(drops), 'band: standard deviation over images' if several else '')
    return figure


def figure_features(features: np.ndarray, drops: np.ndarray, title: str = '', columns: int = 8) -> Figure:
    """The feature maps of a layer's channels, the most important first.

    Args:
        features: (C, H, W); the magnitude is drawn.
        drops: (C,): PSNR lost without each channel, dB.
        columns: Maps per row.
    """
    order = np.argsort(-np.nan_to_num(drops), kind='stable')
    rows = -(-len(order) // columns)
    ratio = features.shape[1] / features.shape[2]
    title += '\nabove each: its number, and the PSNR lost without it'
    figure = new_figure(title, WIDTH, min(0.75 + rows * (min(ratio, 1.5) + 0.2), 60))
    axes = figure.subplots()
    magnitude = np.abs(features[order])
    # + 0 turns -0 into 0.
    captions = [f'{channel}: {round(float(drops[channel]), 2) + 0:.2f} dB'.replace('-', '−') for channel in order]
    image = draw_tiles(axes, magnitude, columns, captions, (0, ceiling(magnitude)), 'magma')
    bar = figure.colorbar(image, ax=axes, shrink=min(4 / rows, 0.9), aspect=40, pad=0.01, extend='max')
    bar.set_label('|feature|', size=9)
    return figure


def figure_layers(values: Mapping[str, Mapping[str, Sequence[float]]], layers: Sequence[str],
                  title: str = '') -> Figure:
    """Values over layers: one panel for each quantity, one line for each model.

    Args:
        values: By axis label, then by model: a number for each layer.
    """
    figure = new_figure(title, WIDTH, 2.2 + 2.4 * len(values))
    panels = figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (what, models) in zip(panels, values.items()):
        plain(axes).set_ylabel(what)
        for numbers, style in zip(models.values(), _styles(models)):
            axes.plot(range(len(layers)), numbers, **style, marker='.')
    flat = max(map(len, layers)) < 6
    panels[-1].set_xticks(range(len(layers)), layers, size=9, rotation=0 if flat else 30,
                          ha='center' if flat else 'right')
    panels[-1].set_xlabel('layer')
    legend_below(figure, _lines(next(iter(values.values()))))
    return figure


def _styles(models: Iterable[str]) -> list[dict[str, Any]]:
    """Line style of each model, for the axes and the legend."""
    return [{'color': colour(place), 'linestyle': dash(place), 'linewidth': 1.8} for place, _ in enumerate(models)]


def _lines(models: Iterable[str]) -> list[Line2D]:
    return [Line2D([], [], **style, label=short(label)) for label, style in zip(models, _styles(models))]
