"""Figure of the shrinkage control: PSNR over α."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.lines import Line2D

from reflash_sr.figures import style

BICUBIC = 'bicubic'
GREY = '0.45'
PANEL = 2.6  # inches: height of each further row of panels
DEPTH = 1.5  # dB: how far the axis goes below the best value, at least


@dataclass(frozen=True)
class ShrinkageCurve:
    """PSNR over α, mean over degradations.

    Attributes:
        series: Label of the network, or ``bicubic``, whose curve is a level.
        panel: Name of the dataset.
        alphas: α.
        psnr: dB, for each α.
        fitted: α fitted on other images, drawn as dots.
    """

    series: str
    panel: str
    alphas: Sequence[float] | np.ndarray
    psnr: Sequence[float] | np.ndarray
    fitted: Sequence[float]


def draw_shrinkage(curves: Sequence[ShrinkageCurve], path: str | os.PathLike, title: str, source: str) -> None:
    """Draw a panel for each dataset: a line for each network, bicubic interpolation as a grey level.

    Args:
        source: Where the α of the dots come from, for the legend.
    """
    panels = style.values_of(curves, 'panel')
    networks = [name for name in style.values_of(curves, 'series') if name != BICUBIC]
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = style.new_figure(title, height=style.HEIGHT if rows == 1 else 1.6 + PANEL * rows)
    for axes, panel in zip(style.add_panels(figure, panels, columns), panels):
        style.plain(axes).set(xlabel='α (0: interpolation, 1: the network as it is)', ylabel='PSNR (dB)')
        inside = [curve for curve in curves if curve.panel == panel]
        shown = []  # values that lie inside the axes
        for curve in inside:
            if curve.series == BICUBIC:
                axes.axhline(curve.psnr[0], color=GREY, linewidth=1.2, linestyle=style.dash(1))
                shown.append(curve.psnr[0])
                continue
            place = networks.index(curve.series)
            axes.plot(curve.alphas, curve.psnr, color=style.colour(place), linestyle=style.dash(place // 8),
                      linewidth=1.8)
            levels = np.interp([1, *curve.fitted], curve.alphas, curve.psnr)
            axes.plot(1, levels[0], 'o', color=style.colour(place), markerfacecolor='white', markersize=6)
            axes.plot(curve.fitted, levels[1:], 'o', color=style.colour(place), markersize=6)
            shown += [*levels, curve.psnr[0], max(curve.psnr)]
        axes.axvline(1, color='0.6', linewidth=0.9)
        low, high = min(*shown, max(shown) - DEPTH), max(shown)
        axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
        axes.set_xlim(0, 2)
    handles = [Line2D([], [], color=style.colour(place), linestyle=style.dash(place // 8), lw=2,
                      label=style.short(name)) for place, name in enumerate(networks)]
    handles.append(Line2D([], [], color=GREY, linestyle=style.dash(1), lw=1.2, label=BICUBIC))
    style.legend_below(figure, handles, f'mean over degradations and images; dot: α {source}; ring: α = 1')
    style.save(figure, path)
