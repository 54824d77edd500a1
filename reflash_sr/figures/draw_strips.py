"""Crops side by side (paper Fig. 5)."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence

import numpy as np

from reflash_sr.figures import style

LETTERS = 100  # letters of 9 pt that fit into the width of a figure, with space between columns
TITLE, LINE, SIDE, GAP = 0.4, 0.2, 0.3, 0.06  # inches: title, a line of text, names of rows, space between crops


def draw_strips(rows: Sequence[tuple[str, Sequence[tuple[str, np.ndarray, str]]]], path: str | os.PathLike,
                title: str) -> None:
    """Draw rows of crops: names of the columns above the first row, a caption below each crop.

    Args:
        rows: Name of the row, and its cells: name of the column, (H, W, 3) uint8, caption.
    """
    columns = len(rows[0][1])
    cell = (style.WIDTH - SIDE) / columns
    heads = [heading(column, LETTERS // columns) for column, _, _ in rows[0][1]]
    top = TITLE + LINE * max(head.count('\n') + 1 for head in heads)
    step = cell + LINE
    height = top + len(rows) * step
    figure = style.new_figure(height=height)
    figure.set_layout_engine('none')
    axes = figure.add_axes((0, 0, 1, 1))  # data units: inches from the top left; separate axes would take seconds
    axes.set(xlim=(0, style.WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    axes.text(style.WIDTH / 2, TITLE / 2, title, size=12, ha='center', va='center')
    for row, (name, cells) in enumerate(rows):
        y = top + row * step
        axes.text(SIDE / 2, y + cell / 2, name, size=10, rotation=90, ha='center', va='center')
        for place, (_, image, below) in enumerate(cells):
            x = SIDE + place * cell
            tall, wide = np.array(image.shape[:2]) / max(image.shape[:2]) * (cell - GAP)
            left, upper = x + (cell - wide) / 2, y + (cell - tall) / 2
            box = (left, left + wide, upper + tall, upper)
            axes.imshow(image, interpolation='nearest', extent=box, aspect='auto')
            axes.text(x + cell / 2, y + cell, below, size=9, ha='center', va='top')
            if row == 0:
                axes.text(x + cell / 2, y, heads[place], size=9, ha='center', va='bottom')
    axes.set(xlim=(0, style.WIDTH), ylim=(height, 0))  # imshow changes the limits
    style.save(figure, path)


def heading(name: str, letters: int) -> str:
    """Break a name into lines of at most ``letters`` letters, after an underscore rather than within a word."""
    lines = textwrap.wrap(name.replace('_', '_ '), letters)
    return '\n'.join(line.replace('_ ', '_') for line in lines)
