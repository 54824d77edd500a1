"""Figures of feature clusters: samples in the plane (the paper's Fig. 9a to 9c) and CHI over p (Fig. 9d)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reflash_sr.figures.style import COLOURS, WIDTH, legend_below, new_figure, plain, save, short

MARKERS = 'os^'  # the second round of colours has another shape
COLUMNS = 3  # panels beside each other
TALLEST = 4  # inches, of a panel
BESIDE = 0.025  # of the axis, between models of the same p


@dataclass(frozen=True)
class Panel:
    """The samples of one model.

    Attributes:
        label: Of the model.
        points: (n, 2), t-SNE coordinates of one seed.
        kinds: (n,) number of each sample's degradation.
        chi: (S,) CHI, for each seed.
        chi_pca: CHI in PCA space.
        p: Dropout's p that the model was trained with; None where that is not known.
        group: Models of one group, as all p of one training seed, share a colour and a name in the legend.
    """

    label: str
    points: np.ndarray
    kinds: np.ndarray
    chi: np.ndarray
    chi_pca: float
    p: float | None = None
    group: str = ''

    def spread(self) -> float:
        """Standard deviation of CHI over seeds; 0 with one."""
        return float(np.std(self.chi, ddof=1)) if len(self.chi) > 1 else 0.0


def draw_scatter(panels: Sequence[Panel], degradations: Sequence[str], path: str | os.PathLike,
                 title: str = '') -> None:
    """Draw the samples of each model, coloured by degradation, with CHI over the panel.

    Args:
        panels: A panel for each model.
        degradations: Names, by number.
        path: PNG file to write.
        title: Of the figure: which layer.
    """
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    side = min(WIDTH / columns, TALLEST)
    figure = new_figure(title, height=rows * (side + 0.45) + 0.9)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    seeds = max(len(panel.chi) for panel in panels)
    for axes, panel in zip(grid, panels):
        axes.set_title(f'{short(panel.label)}\nCHI {chi_text(panel)}', size=11)
        _scatter(axes, panel, len(degradations))
    for axes in grid[len(panels):]:
        axes.set_visible(False)
    handles = [Line2D([], [], linestyle='none', markersize=7, **_look(kind), label=name)
               for kind, name in enumerate(degradations)]
    over = f'CHI: mean ± 1 std of {seeds} t-SNE starts, the first is shown; ' if seeds > 1 else ''
    legend_below(figure, handles, f'{over}t-SNE plane, axes without unit')
    save(figure, path)


def draw_chi(panels: Sequence[Panel], path: str | os.PathLike, title: str = '') -> None:
    """Draw CHI over dropout's p: in the t-SNE plane with error bars, and in PCA space.

    The line goes through the mean of the models with the same p; each group has a colour. Models whose p is not known
    are left out.

    Args:
        panels: The models.
        path: PNG file to write.
        title: Of the figure: which layer.
    """
    known = [panel for panel in panels if panel.p is not None]
    seeds = max((len(panel.chi) for panel in known), default=1)
    figure = new_figure(title)
    left, right = figure.subplots(1, 2)
    _over_p(left, known, [float(np.mean(panel.chi)) for panel in known], [panel.spread() for panel in known])
    _over_p(right, known, [panel.chi_pca for panel in known], None)
    left.set_title('t-SNE plane', size=11)
    right.set_title('PCA space', size=11)
    left.set_ylabel('CHI (lower: clusters weaker)')
    note = f'error bars: ± 1 std over {seeds} t-SNE starts' if seeds > 1 else 'one t-SNE start'
    handles = [Line2D([], [], color=colour, marker='o', linestyle='none', label=group or 'a model')
               for group, colour in _colours(known).items()]
    if len({panel.p for panel in known}) < len(known):
        handles.append(Line2D([], [], color='0.6', linewidth=1.4, label='mean of models with the same p'))
    legend_below(figure, handles, note)
    save(figure, path)


def chi_text(panel: Panel) -> str:
    """CHI as mean ± std, the mean with three digits that count, at most five behind the point."""
    mean = float(np.mean(panel.chi))
    if not np.isfinite(mean):
        return '∞'
    digits = int(np.clip(2 - np.floor(np.log10(mean)), 0, 5)) if mean > 0 else 0
    return f'{mean:.{digits}f}' + (f' ± {panel.spread():.{digits}f}' if len(panel.chi) > 1 else '')


def _scatter(axes: Axes, panel: Panel, kinds: int) -> None:
    # Each degradation is smaller than the one before it: samples of one photograph, which often coincide, are a target.
    widest = float(np.clip(220 / np.sqrt(max(len(panel.points), 1)), 6, 14))  # points
    for kind, width in enumerate(widest * np.linspace(1, 0.35, kinds)):
        axes.scatter(*panel.points[panel.kinds == kind].T, s=width**2, **_look(kind), linewidths=0.3,
                     edgecolors='white')
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect('equal', adjustable='datalim')
    axes.set_box_aspect(1)
    axes.spines[:].set_color('0.7')


def _over_p(axes: Axes, panels: Sequence[Panel], values: Sequence[float], spreads: Sequence[float] | None) -> None:
    plain(axes)
    ps = np.array([panel.p for panel in panels], float)
    means = np.array(values, float)
    shown = np.isfinite(means)
    levels = np.unique(ps[shown])
    axes.plot(levels, [means[shown & (ps == p)].mean() for p in levels], color='0.6', linewidth=1.4, zorder=1)
    colours = _colours(panels)
    for i in np.flatnonzero(shown):
        equal = np.flatnonzero(shown & (ps == ps[i]))  # beside each other, or they would hide one another
        x = ps[i] + BESIDE * np.ptp(ps) * (list(equal).index(i) - (len(equal) - 1) / 2)
        axes.errorbar(x, means[i], spreads[i] if spreads else None, marker='o', color=colours[panels[i].group],
                      capsize=4, linestyle='none', zorder=2)
    axes.set_xlabel('dropout p')
    axes.set_xticks(levels)
    axes.margins(x=0.08, y=0.12)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))


def _colours(panels: Sequence[Panel]) -> dict[str, str]:
    """A colour for each group, in the order of the panels."""
    groups = dict.fromkeys(panel.group for panel in panels)
    return {group: COLOURS[i % len(COLOURS)] for i, group in enumerate(groups)}


def _look(kind: int) -> dict[str, str]:
    return {'color': COLOURS[kind % len(COLOURS)], 'marker': MARKERS[kind // len(COLOURS) % len(MARKERS)]}
