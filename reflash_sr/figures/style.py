"""What every figure shares: size, colours, axes, and writing a PNG file whole or not at all."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from reflash_sr.system.files import atomic_write

# Okabe and Ito's colours, told apart with every kind of colour vision; yellow is too faint for a line.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7f7f7f', '#8c510a')
DASHES = ('solid', (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
DPI = 120
LONGEST = 32  # letters of a name in a figure
TITLE_LETTER, LEGEND_LETTER, HANDLE = 0.095, 0.08, 0.75  # inches of a letter, and of a handle with its space
WIDTH, HEIGHT = 9, 4.2  # inches: 10 pt is then legible where the image is shown 900 px wide


def new_figure(title: str = '', width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """Make an empty figure with a title, whose lines are broken where they are too long; sizes in inches."""
    figure = Figure((width, height), dpi=DPI, layout='constrained')
    FigureCanvasAgg(figure)
    if title:
        letters = int(width / TITLE_LETTER)
        figure.suptitle('\n'.join(textwrap.fill(line, letters) for line in title.splitlines()), size=12)
    return figure


def plain(axes: Axes) -> Axes:
    """Give axes the look of all our charts: a faint grid behind the data, no box."""
    axes.grid(color='0.9', linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    return axes


def legend_below(figure: Figure, handles: Sequence, note: str = '') -> None:
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
    """A name, cut where it is too long for a legend."""
    return label if len(label) <= longest else f'{label[:longest - 1]}…'
