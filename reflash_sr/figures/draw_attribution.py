"""The figure of local attribution maps: what each network looks at for one window of the SR image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reflash_sr.analysis.attribution import Attribution, contribution_area
from reflash_sr.figures.style import WIDTH, new_figure, short

COLUMNS = ('LQ and window', 'attribution (from 1/1000 to 1)', 'area of contribution', 'SR and window')
DECADES = 3  # of the scale of attributions
LETTERS = 24  # of a label beside a square picture
AREA, BOX = np.array((0.84, 0.15, 0.1)), '#00b7ff'  # red over grey; a blue that shows on both


def figure_attribution(lq: np.ndarray, models: Mapping[str, Attribution], title: str = '') -> Figure:
    """A row for each network: the LQ image, the attribution, the area of contribution, the SR image.

    The label of a row has the diffusion index (DI). Attributions are divided by the largest of their map and drawn on
    a logarithmic scale: on a linear one, as in the paper, a hundredth of the largest cannot be seen.

    Args:
        lq: (H, W, 3) in [0, 1].
        models: Attribution of the same window, by label.
    """
    tall = min(lq.shape[0] / lq.shape[1], 1.5)
    figure = new_figure(title, WIDTH, 0.6 + len(models) * ((WIDTH - 0.6) / len(COLUMNS) * tall + 0.06))
    grid = figure.subplots(len(models), len(COLUMNS), squeeze=False)
    grey = np.repeat(lq.mean(2, keepdims=True), 3, 2)
    for row, (label, one) in zip(grid, models.items()):
        sizes, area = np.abs(one.map), contribution_area(one.map)[..., None] * 0.8
        shown = np.log10(np.maximum(sizes / (sizes.max() or 1), 10.0**-DECADES))
        sr = np.clip(one.sr[..., :3], 0, 1)
        for axes, picture in zip(row, (lq, shown, grey * (1 - area) + AREA * area, sr)):
            axes.imshow(picture, cmap='magma', vmin=-DECADES, vmax=0, interpolation='nearest')
            axes.set(xticks=(), yticks=())
            axes.spines[:].set_visible(False)
            _frame(axes, one, len(picture) / len(one.sr))
        index = one.diffusion_index
        name = short(label, max(int(LETTERS * tall), 8))
        row[0].set_ylabel(f'{name}\nDI {"-" if index is None else f"{index:.2f}"}', size=9)
    for axes, name in zip(grid[0], COLUMNS):
        axes.set_title(name, size=9)
    return figure


def _frame(axes: Axes, one: Attribution, ratio: float) -> None:
    """Frame the window in a picture that has ``ratio`` pixels for each pixel of the SR image."""
    corner = (one.left * ratio - 0.5, one.top * ratio - 0.5)
    axes.add_patch(Rectangle(corner, one.side * ratio, one.side * ratio, fill=False, edgecolor=BOX, linewidth=1.2))
