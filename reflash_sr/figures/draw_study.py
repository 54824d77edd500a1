"""Figures of a study: results as bars (the paper's Fig. 4) and PSNR over iterations (Fig. 2)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from reflash_sr.figures.style import COLOURS, DASHES, HEIGHT, count_text, legend_below, new_figure, plain, save

MARKED = 20  # validations that are few enough for a dot each
LABELLED = 12  # bars in a panel of half the width, beside which there is room for their gain in figures


@dataclass(frozen=True)
class Series:
    """One cell of a study.

    Attributes:
        name: Of the cell.
        panel: Which panel it belongs to, such as ``'channel dropout'``; may be empty, as the next two.
        group: What its colour, or its group of bars, stands for, such as ``'last-conv'``.
        shade: What is told apart within a group, such as ``'p = 0.3'``.
        iterations: (T,), ascending.
        psnr: (S, T), dB, a row for each seed; NaN where a validation is missing.
        total: Iterations of a whole run: before them, there is no result yet.
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
    """Mean of the values that are there; NaN where none is."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def std(values: np.ndarray) -> float | None:
    """Standard deviation of the values that are there; None where there are fewer than two."""
    return float(np.nanstd(values, ddof=1)) if np.isfinite(values).sum() > 1 else None


def draw_curves(series: Sequence[Series], path: str | os.PathLike, title: str) -> None:
    """Draw PSNR over iterations (the paper's Fig. 2): a line per cell, its mean over seeds, and a band of ± 1 std.

    Args:
        series: The cells; references are drawn along with them.
        path: PNG file to write.
        title: Of the figure: the study, and what its PSNR is measured on.
    """
    figure, panels = _figure(series, title)
    groups, shades = _values(series, 'group'), _values(series, 'shade')
    ramp = _ramp(shades) if len(groups) == 1 < len(shades) else None  # colours are free for the shades
    for axes, name in panels:
        inside = [one for one in series if one.panel == name]
        faint = 0.4 / (2 + len(inside))  # bands lie on one another
        for reference in _references(inside):
            _line(axes, reference, 'black', 'solid', 2.2, faint)
        for one in inside:
            shade = shades.index(one.shade)
            colour = COLOURS[groups.index(one.group) % len(COLOURS)] if ramp is None else ramp[shade]
            _line(axes, one, colour, DASHES[shade % len(DASHES)], 1.6, faint)
        axes.set_xlabel('iteration')
        axes.xaxis.set_major_formatter(StrMethodFormatter('{x:,.0f}'))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    handles = [Line2D([], [], color='black', lw=2.2, label='p = 0')] if _references(series) else []
    handles += [Line2D([], [], color=COLOURS[i % len(COLOURS)], lw=3, label=group)
                for i, group in enumerate(groups) if group and ramp is None]
    handles += [Line2D([], [], color='0.35' if ramp is None else ramp[i], lw=1.6, ls=DASHES[i % len(DASHES)],
                       label=shade if ramp is None or not groups[0] else f'{groups[0]}, {shade}')
                for i, shade in enumerate(shades) if shade]
    legend_below(figure, handles, _seeds(series, 'line: mean of {} seeds, band: ± 1 std'))
    save(figure, path)


def draw_bars(series: Sequence[Series], path: str | os.PathLike, title: str) -> None:
    """Draw the results as bars (the paper's Fig. 4): groups by position, shades by p, the p = 0 line across.

    A bar stands on, or hangs from, the line of its reference: its length is the gain. Error bars are ± 1 std over seeds
    of the gain over p = 0 with the same seed; without a reference, of the PSNR.

    Args:
        series: The cells; cells without a result yet leave a gap.
        path: PNG file to write.
        title: Of the figure: the study, and what its PSNR is measured on.
    """
    groups, shades = _values(series, 'group'), _values(series, 'shade')
    crowded = len(groups) > 4 or len(groups) * len(shades) > LABELLED
    figure, panels = _figure(series, title, columns=1 if crowded else 3)
    colours = _ramp(shades)
    width = 0.8 / len(shades)
    ends = [value for one in series for value in (*_reach(one), _base(one)) if np.isfinite(value)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = max(0.12 * (high - low), 0.02)
    for axes, name in panels:
        inside = [one for one in series if one.panel == name and np.isfinite(_end(one))]
        for one in inside:
            place, shade = groups.index(one.group), shades.index(one.shade)
            x = place - 0.4 + (shade + 0.5) * width
            base, end = _base(one), _end(one)
            if not np.isfinite(base):
                axes.bar(x, end - low + margin, 0.92 * width, low - margin, color=colours[shade], yerr=std(one.last()),
                         ecolor='0.25', capsize=3, zorder=2)
                continue
            spread = std(one.gain())
            axes.bar(x, end - base, 0.92 * width, base, color=colours[shade], yerr=spread, ecolor='0.25', capsize=3,
                     zorder=2)
            axes.hlines(base, place - 0.5, place + 0.5, 'black', linewidth=1.8, zorder=3)
            if not crowded:
                up = end >= base
                axes.annotate(f'{end - base:+.2f}', (x, end + (spread or 0) * (1 if up else -1)), (0, 3 if up else -3),
                              textcoords='offset points', ha='center', va='bottom' if up else 'top', size=8.5)
        axes.set_xticks(range(len(groups)), groups)
        spare = max(0, 3 - len(groups)) / 2  # one or two groups do not become as wide as the figure
        axes.set_xlim(-0.5 - spare, len(groups) - 0.5 + spare)
        axes.set_ylim(low - margin, high + margin)
        axes.grid(visible=False, axis='x')
    handles = [Line2D([], [], color='black', lw=1.8, label='p = 0')] if _references(series) else []
    handles += [Patch(color=colours[i], label=shade) for i, shade in enumerate(shades) if shade]
    of_what = ' of the gain over p = 0' if _references(series) else ''
    legend_below(figure, handles, _seeds(series, f'mean of {{}} seeds, error bars: ± 1 std{of_what}'))
    save(figure, path)


def _figure(series: Sequence[Series], title: str, columns: int = 3) -> tuple[Figure, list[tuple[Axes, str]]]:
    names = _values(series, 'panel')
    columns = min(len(names), columns)
    rows = -(-len(names) // columns)
    figure = new_figure(title, height=HEIGHT * (1 + 0.75 * (rows - 1)))
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, name in zip(grid, names):
        plain(axes).set_title(name, size=11)
    for axes in grid[::columns]:
        axes.set_ylabel('PSNR (dB)')
    for axes in grid[len(names):]:
        axes.set_visible(False)
    return figure, list(zip(grid, names))


def _line(axes: Axes, one: Series, colour: str, dashes: object, width: float, faint: float) -> None:
    middle = np.array([mean(column) for column in one.psnr.T])
    spread = np.array([std(column) or 0.0 for column in one.psnr.T])
    axes.plot(one.iterations, middle, color=colour, linestyle=dashes, linewidth=width,
              marker='o' if len(middle) <= MARKED else None, markersize=3)
    if spread.any():
        axes.fill_between(one.iterations, middle - spread, middle + spread, color=colour, alpha=faint, linewidth=0)


def _ramp(shades: Sequence[str]) -> np.ndarray:
    """Colours from light to dark: (n, 4)."""
    return colormaps['viridis'](np.linspace(0.85, 0.15, len(shades)) if len(shades) > 1 else [0.4])


def _values(series: Sequence[Series], key: str) -> list[str]:
    return list(dict.fromkeys(getattr(one, key) for one in series))


def _references(series: Sequence[Series]) -> list[Series]:
    return list({id(one.reference): one.reference for one in series if one.reference is not None}.values())


def _reach(one: Series) -> tuple[float, float]:
    """How far a bar goes with its error bar."""
    spread = std(one.last() if one.reference is None else one.gain()) or 0.0
    return _end(one) - spread, _end(one) + spread


def _end(one: Series) -> float:
    """Where a bar ends: at the gain of the seeds that both have, above its reference."""
    return mean(one.last()) if one.reference is None else _base(one) + mean(one.gain())


def _base(one: Series) -> float:
    return mean(one.reference.last()) if one.reference is not None else np.nan


def _seeds(series: Sequence[Series], note: str) -> str:
    counts = {int(np.isfinite(one.psnr).any(axis=1).sum()) for one in series} - {0}
    return note.format(count_text(counts)) if max(counts, default=1) > 1 else 'one seed'
