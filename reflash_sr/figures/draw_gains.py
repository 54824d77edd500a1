"""Figures of evaluations: absolute values per degradation (the paper's Fig. 1), gains, gains over time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, StrMethodFormatter

from reflash_sr.figures.style import (
    COLOURS,
    HEIGHT,
    LONGEST,
    count_text,
    legend_below,
    new_figure,
    plain,
    save,
    short,
)

BICUBIC_COLOUR = '0.72'
PANEL = 2.6  # inches: height of each further panel
MOST_TICKS = 5  # of iterations that were measured, on the axis of a panel
LABELLED = 20  # bars in a panel, beside which there is room for figures


@dataclass(frozen=True)
class Bar:
    """A gain.

    Attributes:
        series: What its colour stands for.
        group: Where it stands on the axis.
        panel: Which panel it is in; may be empty.
        mean: In the metric's unit.
        low: Lower end of its interval; None where there is none.
        high: Upper end.
        images: How many images it rests on.
        points: Single results behind the mean, drawn as dots: seeds, for instance.
    """

    series: str
    group: str
    panel: str
    mean: float
    low: float | None
    high: float | None
    images: int
    points: tuple[float, ...] = ()


@dataclass(frozen=True)
class Curve:
    """Gains while networks were trained.

    Attributes:
        series: What its colour stands for.
        panel: Which panel it is in.
        points: Iteration, and the gain of each seed.
    """

    series: str
    panel: str
    points: Sequence[tuple[int, Sequence[float]]]


def draw_absolute(degradations: Mapping[str, Sequence[str]], panels: Mapping[str, Mapping[str, np.ndarray]],
                  path: str | os.PathLike, axis: str, title: str, decimals: int = 2) -> None:
    """Draw a panel for each set: groups of bars for degradations, a bar for each method, bicubic in grey.

    Args:
        degradations: Names, by set.
        panels: For each set, by method, a value for each degradation.
        path: PNG file to write.
        axis: What is drawn, with its unit.
        title: Of the figure.
        decimals: Of the values beside the bars.
    """
    figure = new_figure(title, height=1.6 + PANEL * len(panels))
    grid = figure.subplots(len(panels), 1, squeeze=False).ravel()
    methods = list(next(iter(panels.values())))
    colours = _colours(methods)
    for axes, (dataset, values) in zip(grid, panels.items()):
        plain(axes).set_title(dataset, size=11)
        width = 0.84 / len(methods)
        everything = np.concatenate(list(values.values()))
        everything = everything[np.isfinite(everything)] if np.isfinite(everything).any() else np.zeros(1)
        low = everything.min() - 0.15 * max(np.ptp(everything), 0.1)
        for place, method in enumerate(methods):
            x = np.arange(len(values[method])) - 0.42 + (place + 0.5) * width
            axes.bar(x, values[method] - low, 0.94 * width, low, color=colours[method])
            if len(methods) * len(values[method]) <= LABELLED:
                for left, value in zip(x, values[method]):
                    axes.annotate(f'{value:.{decimals}f}', (left, value), (0, 2), textcoords='offset points',
                                  ha='center', va='bottom', size=8)
        axes.set_xticks(range(len(degradations[dataset])), degradations[dataset])
        spare = max(0, 4 - len(degradations[dataset])) / 2
        axes.set_xlim(-0.6 - spare, len(degradations[dataset]) - 0.4 + spare)
        axes.set_ylim(low, everything.max() + 0.12 * max(np.ptp(everything), 0.1))
        axes.set_ylabel(axis)
        axes.grid(visible=False, axis='x')
    handles = [Patch(color=colours[method], label=short(method)) for method in methods]
    legend_below(figure, handles, 'the axes do not begin at 0')
    save(figure, path)


def draw_gains(bars: Sequence[Bar], path: str | os.PathLike, axis: str, title: str, note: str,
               decimals: int = 2, sharey: bool = False) -> None:
    """Draw gains as bars from 0, with their intervals; the number of images stands in the panel's title.

    Without a gain there is no figure: every image of every set may have been restored without error somewhere.

    Args:
        bars: The gains.
        path: PNG file to write.
        axis: What is drawn, with its unit.
        title: Of the figure.
        note: What the error bars are.
        decimals: Of the values beside the bars.
        sharey: Whether all panels have one scale.
    """
    if not bars:
        return
    panels, series = (list(dict.fromkeys(getattr(bar, key) for bar in bars)) for key in ('panel', 'series'))
    figure = new_figure(title, height=HEIGHT if len(panels) == 1 else 1.6 + PANEL * len(panels))
    colours = _colours(series)
    width = 0.84 / len(series)
    several = any(len(bar.points) > 1 for bar in bars)
    for axes, panel in zip(figure.subplots(len(panels), 1, sharey=sharey, squeeze=False).ravel(), panels):
        inside = [bar for bar in bars if bar.panel == panel]
        groups = list(dict.fromkeys(bar.group for bar in inside))
        counts = {group: max(bar.images for bar in inside if bar.group == group) for group in groups}
        same = len(set(counts.values())) == 1
        plain(axes)
        axes.set_title(' '.join([panel, f'(n = {counts[groups[0]]})' if same else '']).strip(), size=11)
        for bar in inside:
            x = groups.index(bar.group) - 0.42 + (series.index(bar.series) + 0.5) * width
            error = None if bar.low is None else [[bar.mean - bar.low], [bar.high - bar.mean]]
            axes.bar(x, bar.mean, 0.94 * width, color=colours[bar.series], yerr=error, ecolor='0.25', capsize=3)
            if bar.points and several:
                beside = x + np.linspace(-0.2, 0.2, len(bar.points)) * width
                axes.plot(beside, bar.points, 'o', color='black', markersize=2.5)
            elif len(inside) <= LABELLED:
                end = bar.mean if bar.low is None else (bar.high if bar.mean >= 0 else bar.low)
                axes.annotate(f'{bar.mean:+.{decimals}f}', (x, end), (0, 3 if bar.mean >= 0 else -3), ha='center',
                              va='bottom' if bar.mean >= 0 else 'top', textcoords='offset points', size=8.5)
        axes.axhline(0, color='black', linewidth=1.2)
        axes.set_xticks(range(len(groups)), groups if same else [f'{one}\n(n = {counts[one]})' for one in groups])
        spare = max(0, 4 - len(groups)) / 2
        axes.set_xlim(-0.6 - spare, len(groups) - 0.4 + spare)
        axes.margins(y=0.16)
        axes.set_ylabel(axis)
        axes.grid(visible=False, axis='x')
    legend_below(figure, [Patch(color=colours[name], label=short(name, 3 * LONGEST)) for name in series], note)
    save(figure, path)


def draw_gain_curves(curves: Sequence[Curve], path: str | os.PathLike, axis: str, title: str) -> None:
    """Draw gains over iterations: the mean over seeds, and a band from the least to the largest.

    Args:
        curves: The gains.
        path: PNG file to write.
        axis: What is drawn, with its unit.
        title: Of the figure.
    """
    panels, series = (list(dict.fromkeys(getattr(curve, key) for curve in curves)) for key in ('panel', 'series'))
    figure = new_figure(title)
    colours = _colours(series)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
    measured = sorted({iteration for curve in curves for iteration, _ in curve.points})
    ticks = FixedLocator(measured) if len(measured) <= MOST_TICKS else MaxNLocator(4, integer=True)
    for axes, panel in zip(grid, panels):
        plain(axes).set_title(panel, size=11)
        for curve in (one for one in curves if one.panel == panel):
            iterations = [iteration for iteration, _ in curve.points]
            low, middle, high = (np.array([kind(gains) for _, gains in curve.points]) for kind in (min, np.mean, max))
            axes.plot(iterations, middle, 'o-', color=colours[curve.series], markersize=3.5)
            if (high > low).any():
                axes.fill_between(iterations, low, high, color=colours[curve.series], alpha=0.15, linewidth=0)
        axes.axhline(0, color='black', linewidth=1.2)
        axes.set_xlabel('iteration')
        axes.xaxis.set_major_formatter(StrMethodFormatter('{x:,.0f}'))
        axes.xaxis.set_major_locator(ticks)
    grid[0].set_ylabel(axis)
    counts = {len(gains) for curve in curves for _, gains in curve.points}
    note = f'line: mean of {count_text(counts)} seeds, band: from the least to the largest'
    note = note if max(counts) > 1 else 'one seed'
    legend_below(figure, [Line2D([], [], color=colours[name], lw=2, label=name) for name in series], note)
    save(figure, path)


def _colours(names: Sequence[str]) -> dict[str, str]:
    others = [name for name in names if name != 'bicubic']
    return {'bicubic': BICUBIC_COLOUR, **{name: COLOURS[place % len(COLOURS)] for place, name in enumerate(others)}}
