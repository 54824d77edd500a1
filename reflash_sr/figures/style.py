"""Shared parts of the figures: size, colours, panels, bands, axes, legend, and writing a PNG file atomically."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import Locator, StrMethodFormatter

from reflash_sr.figures.fonts import fit_letters
from reflash_sr.system.files import atomic_write

# Okabe and Ito's colours, which are safe for colour blindness, without yellow, which is too light for a line.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7f7f7f', '#8c510a')
DASHES: tuple[Any, ...] = ('solid', (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
DPI = 120
LONGEST = 32  # largest number of letters of a name in a figure
TITLE_LETTER, LEGEND_LETTER, HANDLE = 0.095, 0.08, 0.75  # inches: width of a letter, and of a handle with its space
WIDTH, HEIGHT = 9, 4.2  # inches: text of 10 pt is legible if the figure is shown 900 px wide


def colour(place: int) -> str:
    """The colour of a series by its index."""
    return COLOURS[place % len(COLOURS)]


def dash(place: int) -> Any:
    """The line style of a series by its index."""
    return DASHES[place % len(DASHES)]


def new_figure(title: str = '', width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """Make an empty figure; sizes in inches. Long lines of the title are wrapped."""
    figure = Figure((width, height), dpi=DPI, layout='constrained')
    FigureCanvasAgg(figure)
    if title:
        letters = int(width / TITLE_LETTER)
        figure.suptitle('\n'.join(textwrap.fill(line, letters) for line in title.splitlines()), size=12)
    return figure


def add_panels(figure: Figure, titles: Sequence[str], columns: int = 1, sharey: bool = False) -> list[Axes]:
    """Add axes to a figure, row by row, one for each title; unused axes of the last row are hidden."""
    rows = -(-len(titles) // columns)
    grid = figure.subplots(rows, columns, sharey=sharey, squeeze=False).ravel()
    for axes, title in zip(grid, titles):
        axes.set_title(title, size=11)
    for axes in grid[len(titles):]:
        axes.set_visible(False)
    return list(grid[:len(titles)])


def plain(axes: Axes) -> Axes:
    """Style axes like all charts: a light grid behind the data, no box."""
    axes.grid(color='0.9', linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    return axes


def band(axes: Axes, x: Sequence[float] | np.ndarray, low: np.ndarray, high: np.ndarray, colour: str,
         alpha: float = 0.15) -> None:
    """Shade the range between two curves."""
    axes.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0)


def group_axis(axes: Axes, names: Sequence[str], side: float = 0.6, fewest: int = 4) -> None:
    """Name the groups of a bar chart, at x = 0, 1, …; there is room for at least ``fewest`` groups."""
    spare = side + max(0, fewest - len(names)) / 2
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-spare, len(names) - 1 + spare)
    axes.grid(visible=False, axis='x')


def bar_label(axes: Axes, x: float, y: float, text: str, up: bool = True, size: float = 8.5, gap: float = 3) -> None:
    """Write a number above the end of a bar, or below it if not ``up``; ``gap`` and ``size`` in pt."""
    axes.annotate(text, (x, y), (0, gap if up else -gap), textcoords='offset points', ha='center',
                  va='bottom' if up else 'top', size=size)


def iteration_axis(axes: Axes, ticks: Locator) -> None:
    """Label the x axis, with thousands separators."""
    axes.set_xlabel('iteration')
    axes.xaxis.set_major_formatter(StrMethodFormatter('{x:,.0f}'))
    axes.xaxis.set_major_locator(ticks)


def legend_below(figure: Figure, handles: Sequence[Any], note: str = '') -> None:
    """Put the legend below a figure, with a note on error bars and bands."""
    if handles:
        widest = HANDLE + LEGEND_LETTER * max(len(handle.get_label()) for handle in handles)
        columns = max(1, min(len(handles), 7, int(figure.get_figwidth() / widest)))
        figure.legend(handles=handles, loc='outside lower center', ncols=columns, frameon=False,
                      title=note or None, title_fontsize=9, fontsize=10, handlelength=2.6)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure as PNG, atomically; ``$`` in names does not begin a formula, and names have any script."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    fit_letters(figure)
    with atomic_write(path) as file:
        figure.savefig(file, format='png', metadata={'Software': None})


def count_text(counts: Iterable[int]) -> str:
    """Counts as text: ``3`` if all are equal, else ``1 to 3``."""
    counts = set(counts)
    return f'{min(counts)} to {max(counts)}' if len(counts) > 1 else f'{max(counts, default=0)}'


def short(label: str, longest: int = LONGEST) -> str:
    """A name; if it is too long for a legend, its middle is left out: names of a study differ at their ends."""
    end = longest // 3 + 1
    return label if len(label) <= longest else f'{label[:longest - end - 1]}…{label[-end:]}'


def values_of(items: Iterable[Any], key: str) -> list[str]:
    """The different values of an attribute, in order of appearance."""
    return list(dict.fromkeys(getattr(item, key) for item in items))
