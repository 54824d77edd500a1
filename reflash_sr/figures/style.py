"""What figures share: size, colours, panels, bands, axes, legend, and writing a PNG file whole or not at all."""

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

from reflash_sr.system.files import atomic_write

# Okabe and Ito's colours, told apart with every kind of colour vision; yellow is too faint for a line.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7f7f7f', '#8c510a')
DASHES: tuple[Any, ...] = ('solid', (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
DPI = 120
LONGEST = 32  # letters of a name in a figure
TITLE_LETTER, LEGEND_LETTER, HANDLE = 0.095, 0.08, 0.75  # inches of a letter, and of a handle with its space
WIDTH, HEIGHT = 9, 4.2  # inches: 10 pt is then legible where the image is shown 900 px wide


def colour(place: int) -> str:
    """The colour of the series at a place, from 0."""
    return COLOURS[place % len(COLOURS)]


def dash(place: int) -> Any:
    """The line style of the series at a place, from 0."""
    return DASHES[place % len(DASHES)]


def new_figure(title: str = '', width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """Make an empty figure; sizes in inches. Lines of the title that are too long are broken."""
    figure = Figure((width, height), dpi=DPI, layout='constrained')
    FigureCanvasAgg(figure)
    if title:
        letters = int(width / TITLE_LETTER)
        figure.suptitle('\n'.join(textwrap.fill(line, letters) for line in title.splitlines()), size=12)
    return figure


def add_panels(figure: Figure, titles: Sequence[str], columns: int = 1, sharey: bool = False) -> list[Axes]:
    """Add axes to a figure, row by row, one for each title; places of the last row that stay free are hidden."""
    rows = -(-len(titles) // columns)
    grid = figure.subplots(rows, columns, sharey=sharey, squeeze=False).ravel()
    for axes, title in zip(grid, titles):
        axes.set_title(title, size=11)
    for axes in grid[len(titles):]:
        axes.set_visible(False)
    return list(grid[:len(titles)])


def plain(axes: Axes) -> Axes:
    """Give axes the look of all charts: a faint grid behind the data, no box."""
    axes.grid(color='0.9', linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    return axes


def band(axes: Axes, x: Sequence[float] | np.ndarray, low: np.ndarray, high: np.ndarray, colour: str,
         alpha: float = 0.15) -> None:
    """Shade the range between two curves."""
    axes.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0)


def group_axis(axes: Axes, names: Sequence[str], side: float = 0.6, fewest: int = 4) -> None:
    """Name the groups of a bar chart, at x = 0, 1, …; fewer than ``fewest`` groups do not fill the width."""
    spare = side + max(0, fewest - len(names)) / 2
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-spare, len(names) - 1 + spare)
    axes.grid(visible=False, axis='x')


def bar_label(axes: Axes, x: float, y: float, text: str, up: bool = True, size: float = 8.5, gap: float = 3) -> None:
    """Write a number above the end of a bar, or below one that hangs down; ``gap`` and ``size`` in pt."""
    axes.annotate(text, (x, y), (0, gap if up else -gap), textcoords='offset points', ha='center',
                  va='bottom' if up else 'top', size=size)


def iteration_axis(axes: Axes, ticks: Locator) -> None:
    """Name the x axis and write its numbers with commas."""
    axes.set_xlabel('iteration')
    axes.xaxis.set_major_formatter(StrMethodFormatter('{x:,.0f}'))
    axes.xaxis.set_major_locator(ticks)


def legend_below(figure: Figure, handles: Sequence[Any], note: str = '') -> None:
    """Put the legend, and what error bars and bands stand for, below a figure."""
    if handles:
        widest = HANDLE + LEGEND_LETTER * max(len(handle.get_label()) for handle in handles)
        columns = max(1, min(len(handles), 7, int(figure.get_figwidth() / widest)))
        figure.legend(handles=handles, loc='outside lower center', ncols=columns, frameon=False,
                      title=note or None, title_fontsize=9, fontsize=10, handlelength=2.6)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure as PNG, whole or not at all. Names are written as they are: ``$`` does not begin a formula."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with atomic_write(path) as file:
        figure.savefig(file, format='png', metadata={'Software': None})


def count_text(counts: Iterable[int]) -> str:
    """How many there are: ``3``, or ``1 to 3`` where that differs."""
    counts = set(counts)
    return f'{min(counts)} to {max(counts)}' if len(counts) > 1 else f'{max(counts, default=0)}'


def short(label: str, longest: int = LONGEST) -> str:
    """A name, cut if it is too long for a legend."""
    return label if len(label) <= longest else f'{label[:longest - 1]}…'


def values_of(items: Iterable[Any], key: str) -> list[str]:
    """The different values of an attribute, in order of appearance."""
    return list(dict.fromkeys(getattr(one, key) for one in items))
