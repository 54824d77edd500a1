"""Figures of many methods: the mean gain of each with its interval, and the gains under every degradation."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reflash_sr.figures import style
from reflash_sr.figures.draw_gains import Bar

ROW = 0.3  # inches: height of a method
LETTERS = 80  # of a panel's title that is as wide as the figure


def draw_methods(bars: Sequence[Bar], path: str | os.PathLike, axis: str, title: str, note: str) -> None:
    """Draw a row for each method: its mean gain, the interval, and the seeds; a column of panels for each kind.

    Args:
        bars: The gains; ``series`` is the method, ``panel`` the panel's title, ``group`` is not shown.
        axis: Label of the x axis, with the unit.
        note: Meaning of the lines.
    """
    if not bars:
        return
    panels, methods = style.values_of(bars, 'panel'), style.values_of(bars, 'series')
    columns, names = 2 if len(panels) % 2 == 0 else 1, [style.short(name) for name in methods]
    figure = style.new_figure(title, height=1.2 + len(panels) / columns * (1.0 + ROW * len(methods)))
    for place, (axes, panel) in enumerate(zip(style.add_panels(figure, panels, columns), panels)):
        style.plain(axes).axvline(0, color='black', linewidth=1.2)
        axes.set_title(textwrap.fill(panel, LETTERS // columns), size=11)
        for bar in (bar for bar in bars if bar.panel == panel):
            y = methods.index(bar.series)
            colour = style.colour(0 if bar.mean >= 0 else 1)
            if bar.low is not None and bar.high is not None:
                axes.plot([bar.low, bar.high], [y, y], color=colour, linewidth=2)
            axes.plot([bar.mean], [y], 'o', color=colour, markersize=6)
            if len(bar.points) > 1:
                axes.plot(bar.points, [y] * len(bar.points), '|', color='black', markersize=7)
        axes.set_yticks(range(len(methods)), names if place % columns == 0 else [''] * len(methods))
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.set_xlabel(axis)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    handles = [Line2D([], [], color=style.colour(0), marker='o', lw=2, label='better'),
               Line2D([], [], color=style.colour(1), marker='o', lw=2, label='worse')]
    style.legend_below(figure, handles, note)
    style.save(figure, path)


def draw_by_degradation(bars: Sequence[Bar], path: str | os.PathLike, axis: str, title: str, decimals: int = 2) -> None:
    """Draw a table of coloured cells for each panel: a row for each method, a column for each degradation.

    Args:
        bars: The gains; ``series`` is the method, ``group`` the degradation.
        axis: What the cells show, with the unit.
        decimals: Decimals of the numbers in the cells.
    """
    if not bars:
        return
    panels, methods = style.values_of(bars, 'panel'), style.values_of(bars, 'series')
    figure = style.new_figure(title, height=1.1 + sum(
        0.7 + ROW * len({bar.series for bar in bars if bar.panel == panel}) for panel in panels))
    for axes, panel in zip(style.add_panels(figure, panels), panels):
        inside = [bar for bar in bars if bar.panel == panel]
        groups, there = style.values_of(inside, 'group'), style.values_of(inside, 'series')
        rows = [name for name in methods if name in there]
        values = np.full((len(rows), len(groups)), np.nan)
        for bar in inside:
            values[rows.index(bar.series), groups.index(bar.group)] = bar.mean
        most = max(np.nanmax(np.abs(values)), 10.0**-decimals)
        axes.imshow(values, cmap='RdBu', norm=TwoSlopeNorm(0, -most, most), aspect='auto')
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                axes.text(column, row, f'{value:+.{decimals}f}', ha='center', va='center', size=8.5,
                          color='white' if abs(value) > 0.6 * most else 'black')
        axes.set_xticks(range(len(groups)), groups)
        axes.set_yticks(range(len(rows)), [style.short(name) for name in rows])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    style.legend_below(figure, [Line2D([], [], linestyle='none', label=axis)])
    style.save(figure, path)
