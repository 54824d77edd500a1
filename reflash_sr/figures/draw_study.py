"""Figures of a study: results as bars (paper Fig. 4) and PSNR over iterations (Fig. 2)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reflash_sr.figures import style

MARKED = 20  # up to this number of validations, each has a dot
LABELLED = 12  # up to this number of bars, bars have numbers and panels are side by side


@dataclass(frozen=True)
class Series:
    """One cell of a study.

    Attributes:
        name: Name of the cell.
        panel: Title of its panel, such as ``'channel dropout'``; may be empty, like the next two.
        group: Name of its colour or its group of bars, such as ``'last-conv'``.
        shade: Name within the group, such as ``'p = 0.3'``.
        iterations: (T,), ascending.
        psnr: (S, T), dB, a row for each seed; NaN where a validation is missing.
        total: Iterations of a complete run; only PSNR at this iteration is a result.
        reference: The same cell without dropout.
    """

    name: str
    panel: str
    group: str
    shade: str
    iterations: np.ndarray
    psnr: np.ndarray
    total: int
    reference: Series | None = None

    def last(self) -> np.ndarray:
        """Results: (S,), dB; NaN for a seed that is not finished."""
        done = self.iterations == self.total
        return self.psnr[:, done][:, 0] if done.any() else np.full(len(self.psnr), np.nan)

    def gain(self) -> np.ndarray | None:
        """Gains over the reference of the same seed: (S,), dB."""
        return None if self.reference is None else self.last() - self.reference.last()


def mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if no value is finite."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def std(values: np.ndarray) -> float | None:
    """Standard deviation of the values that are not NaN; None if fewer than two values are finite."""
    return float(np.nanstd(values, ddof=1)) if np.isfinite(values).sum() > 1 else None


def draw_curves(series: Sequence[Series], path: str | os.PathLike, title: str, reference: str = 'p = 0') -> None:
    """Draw PSNR over iterations (paper Fig. 2): for each cell and its reference, the mean over seeds ± 1 std."""
    figure, panels = _figure(series, title)
    groups, shades = style.values_of(series, 'group'), style.values_of(series, 'shade')
    ramp = _ramp(shades) if len(groups) == 1 and shades[0] else None  # with one group, colours show the shades
    for axes, name in panels:
        inside = [cell for cell in series if cell.panel == name]
        faint = 0.4 / (2 + len(inside))  # bands overlap
        for one in _references(inside):
            _line(axes, one, 'black', 'solid', 2.2, faint)
        for one in inside:
            shade = shades.index(one.shade)
            own = style.colour(groups.index(one.group)) if ramp is None else ramp[shade]
            _line(axes, one, own, style.dash(shade), 1.6, faint)
        style.iteration_axis(axes, MaxNLocator(5, integer=True))
    handles = [Line2D([], [], color='black', lw=2.2, label=reference)] if _references(series) else []
    handles += [Line2D([], [], color=style.colour(i), lw=3, label=group)
                for i, group in enumerate(groups) if group and ramp is None]
    handles += [Line2D([], [], color='0.35' if ramp is None else ramp[i], lw=1.6, ls=style.dash(i),
                       label=shade if ramp is None or not groups[0] else f'{groups[0]}, {shade}')
                for i, shade in enumerate(shades) if shade]
    style.legend_below(figure, handles, _seeds(series, 'line: mean of {} seeds, band: ± 1 std'))
    style.save(figure, path)


def draw_bars(series: Sequence[Series], path: str | os.PathLike, title: str, reference: str = 'p = 0') -> None:
    """Draw the results as bars (paper Fig. 4): groups by position, shades by p, and a line for the reference.

    A bar starts at the line of its reference, so its length is the gain. Error bars are ± 1 std over seeds of the gain
    over the reference with the same seed, or of the PSNR without a reference. Cells without a result leave a gap.
    """
    groups, shades = style.values_of(series, 'group'), style.values_of(series, 'shade')
    crowded = len(groups) > 4 or len(groups) * len(shades) > LABELLED
    figure, panels = _figure(series, title, columns=1 if crowded else 3)
    colours = _ramp(shades)
    width = 0.8 / len(shades)
    bars = [(cell, *_bar(cell)) for cell in series]
    ends = [value for _, base, end, spread in bars for value in (base, end - (spread or 0), end + (spread or 0))
            if np.isfinite(value)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = max(0.12 * (high - low), 0.02)
    for axes, name in panels:
        for one, base, end, spread in bars:
            if one.panel != name or not np.isfinite(end):
                continue
            place, shade = groups.index(one.group), shades.index(one.shade)
            x = place - 0.4 + (shade + 0.5) * width
            foot = low - margin if one.reference is None else base
            axes.bar(x, end - foot, 0.92 * width, foot, color=colours[shade], yerr=spread, ecolor='0.25', capsize=3,
                     zorder=2)
            if one.reference is not None:
                axes.hlines(base, place - 0.5, place + 0.5, 'black', linewidth=1.8, zorder=3)
                if not crowded:
                    up = end >= base
                    style.bar_label(axes, x, end + (spread or 0) * (1 if up else -1), f'{end - base:+.2f}', up)
        axes.set_ylim(low - margin, high + margin)
        style.group_axis(axes, groups, side=0.5, fewest=3)
    handles: list[Any] = [Line2D([], [], color='black', lw=1.8, label=reference)] if _references(series) else []
    of_what = f' of the gain over {reference}' if handles else ''
    handles += [Patch(color=colours[i], label=shade) for i, shade in enumerate(shades) if shade]
    style.legend_below(figure, handles, _seeds(series, f'mean of {{}} seeds, error bars: ± 1 std{of_what}'))
    style.save(figure, path)


def _figure(series: Sequence[Series], title: str, columns: int = 3) -> tuple[Figure, list[tuple[Axes, str]]]:
    names = style.values_of(series, 'panel')
    columns = min(len(names), columns)
    figure = style.new_figure(title, height=style.HEIGHT * (1 + 0.75 * ((len(names) - 1) // columns)))
    panels = [style.plain(axes) for axes in style.add_panels(figure, names, columns, sharey=True)]
    for axes in panels[::columns]:
        axes.set_ylabel('PSNR (dB)')
    return figure, list(zip(panels, names))


def _line(axes: Axes, one: Series, colour: Any, dashes: Any, width: float, faint: float) -> None:
    middle = np.array([mean(column) for column in one.psnr.T])
    spread = np.array([std(column) or 0.0 for column in one.psnr.T])
    axes.plot(one.iterations, middle, color=colour, linestyle=dashes, linewidth=width,
              marker='o' if len(middle) <= MARKED else None, markersize=3)
    style.band(axes, one.iterations, middle - spread, middle + spread, colour, faint)


def _ramp(shades: Sequence[str]) -> np.ndarray:
    """Colours from light to dark: (n, 4)."""
    return colormaps['viridis'](np.linspace(0.85, 0.15, len(shades)) if len(shades) > 1 else [0.4])


def _references(series: Sequence[Series]) -> list[Series]:
    return list({id(cell.reference): cell.reference for cell in series if cell.reference is not None}.values())


def _bar(one: Series) -> tuple[float, float, float | None]:
    """Base, end and error bar; the base is NaN without a reference, the end NaN without a result."""
    gain = one.gain()
    if gain is None or one.reference is None:
        return np.nan, mean(one.last()), std(one.last())
    base = mean(one.reference.last())  # the gain is the mean over the seeds that both cells have
    return base, base + mean(gain), std(gain)


def _seeds(series: Sequence[Series], note: str) -> str:
    counts = {int(np.isfinite(cell.psnr).any(axis=1).sum()) for cell in series} - {0}
    return note.format(style.count_text(counts)) if max(counts, default=1) > 1 else 'one seed'
