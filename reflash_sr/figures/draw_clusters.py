"""Figures of feature clusters: t-SNE scatter plots (paper Fig. 9a to 9c) and CHI over p (Fig. 9d)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reflash_sr.figures import style

MARKERS = 'os^'  # when all colours are used, they repeat with the next shape
COLUMNS = 3  # panels per row
TALLEST = 4  # inches: largest height of a panel
BESIDE = 0.025  # distance between models of the same p, as a share of the axis


@dataclass(frozen=True)
class Panel:
    """The samples of one model.

    Attributes:
        points: (n, 2), t-SNE coordinates of one seed.
        kinds: (n,) index of each sample's degradation.
        chi: (S,) CHI, for each seed.
        chi_pca: CHI in PCA space.
        p: Dropout probability in training; None if unknown.
        group: Models of one group, such as all p of one training seed, share a colour and a name in the legend.
        srga: Mean SRGA of the degradations; None: not shown.
    """

    label: str
    points: np.ndarray
    kinds: np.ndarray
    chi: np.ndarray
    chi_pca: float
    p: float | None = None
    group: str = ''
    srga: float | None = None

    def spread(self) -> float:
        """Standard deviation of CHI over seeds; 0 with one."""
        return float(np.std(self.chi, ddof=1)) if len(self.chi) > 1 else 0.0


def draw_scatter(panels: Sequence[Panel], degradations: Sequence[str], path: str | os.PathLike,
                 title: str = '') -> None:
    """Draw the samples of each model, coloured by degradation, with CHI and SRGA above the panel.

    Args:
        panels: One for each model.
        degradations: Names; their indices are :attr:`Panel.kinds`.
    """
    columns = min(len(panels), COLUMNS)
    side = min(style.WIDTH / columns, TALLEST)
    figure = style.new_figure(title, height=-(-len(panels) // columns) * (side + 0.45) + 0.9)
    titles = [f'{style.short(panel.label)}\nCHI {chi_text(panel)}'
              + ('' if panel.srga is None else f', SRGA {panel.srga:.2f}') for panel in panels]
    for axes, panel in zip(style.add_panels(figure, titles, columns), panels):
        _scatter(axes, panel, len(degradations))
    handles = [Line2D([], [], linestyle='none', markersize=7, **_look(kind), label=name)
               for kind, name in enumerate(degradations)]
    seeds = max(len(panel.chi) for panel in panels)
    over = f'CHI: mean ± 1 std of {seeds} t-SNE starts, the first is shown; ' if seeds > 1 else ''
    style.legend_below(figure, handles, f'{over}t-SNE plane, axes without unit')
    style.save(figure, path)


def draw_chi(panels: Sequence[Panel], path: str | os.PathLike, title: str = '') -> None:
    """Draw CHI over dropout's p: in the t-SNE plane with error bars, and in PCA space.

    The line connects the means of the models with the same p; each group has a colour. Models of unknown p are not
    drawn.
    """
    known = [panel for panel in panels if panel.p is not None]
    seeds = max((len(panel.chi) for panel in known), default=1)
    figure = style.new_figure(title)
    left, right = style.add_panels(figure, ('t-SNE plane', 'PCA space'), 2)
    _over_p(left, known, [float(np.mean(panel.chi)) for panel in known], [panel.spread() for panel in known])
    _over_p(right, known, [panel.chi_pca for panel in known], None)
    left.set_ylabel('CHI (lower: clusters weaker)')
    handles = [Line2D([], [], color=style.colour(place), marker='o', linestyle='none', label=group or 'a model')
               for place, group in enumerate(style.values_of(known, 'group'))]
    if len({panel.p for panel in known}) < len(known):
        handles.append(Line2D([], [], color='0.6', linewidth=1.4, label='mean of models with the same p'))
    note = f'error bars: ± 1 std over {seeds} t-SNE starts' if seeds > 1 else 'one t-SNE start'
    style.legend_below(figure, handles, note)
    style.save(figure, path)


def chi_text(panel: Panel) -> str:
    """CHI as mean ± std: three significant digits of the mean, but at most five decimals."""
    mean = float(np.mean(panel.chi))
    if not np.isfinite(mean):
        return '∞'
    digits = int(np.clip(2 - np.floor(np.log10(mean)), 0, 5)) if mean > 0 else 0
    return f'{mean:.{digits}f}' + (f' ± {panel.spread():.{digits}f}' if len(panel.chi) > 1 else '')


def _scatter(axes: Axes, panel: Panel, kinds: int) -> None:
    # Samples of one photograph often coincide, so each degradation is drawn smaller than the previous one.
    widest = float(np.clip(220 / np.sqrt(max(len(panel.points), 1)), 6, 14))  # points
    for kind, width in enumerate(widest * np.linspace(1, 0.35, kinds)):
        x, y = panel.points[panel.kinds == kind].T
        axes.scatter(x, y, s=width**2, **_look(kind), linewidths=0.3, edgecolors='white')
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect('equal', adjustable='datalim')
    axes.set_box_aspect(1)
    axes.spines[:].set_color('0.7')


def _over_p(axes: Axes, panels: Sequence[Panel], values: Sequence[float], spreads: Sequence[float] | None) -> None:
    style.plain(axes)
    ps = np.array([panel.p for panel in panels], float)
    means = np.array(values, float)
    shown = np.isfinite(means)
    levels = np.unique(ps[shown])
    axes.plot(levels, [means[shown & (ps == p)].mean() for p in levels], color='0.6', linewidth=1.4, zorder=1)
    groups = style.values_of(panels, 'group')
    for i in np.flatnonzero(shown).tolist():
        equal = np.flatnonzero(shown & (ps == ps[i])).tolist()  # drawn side by side, not on top of each other
        x = ps[i] + BESIDE * np.ptp(ps) * (equal.index(i) - (len(equal) - 1) / 2)
        axes.errorbar(x, means[i], spreads[i] if spreads else None, marker='o', capsize=4, linestyle='none', zorder=2,
                      color=style.colour(groups.index(panels[i].group)))
    axes.set_xlabel('dropout p')
    axes.set_xticks(levels)
    axes.margins(x=0.08, y=0.12)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))


def _look(kind: int) -> dict[str, Any]:
    return {'color': style.colour(kind), 'marker': MARKERS[kind // len(style.COLOURS) % len(MARKERS)]}
