"""Figures of evaluations: values per degradation (paper Fig. 1), gains, gains over iterations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator

from reflash_sr.figures import style

BICUBIC, BICUBIC_COLOUR = 'bicubic', '0.72'
PANEL = 2.6  # inches: height of each further panel
MOST_TICKS = 5  # up to this number, every measured iteration has a tick
LABELLED = 20  # up to this number of bars in a panel, bars have numbers


@dataclass(frozen=True)
class Bar:
    """A gain.

    Attributes:
        series: Name in the legend; determines the colour.
        group: Name of its group on the x axis.
        panel: Title of its panel; may be empty.
        mean: Mean gain, in the metric's unit.
        low: Lower end of the interval; None: no interval.
        high: Upper end.
        images: Number of images in the mean.
        points: Single results in the mean, drawn as dots, for instance one per seed.
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
    """Gains during training.

    Attributes:
        series: Name in the legend; determines the colour.
        panel: Title of its panel.
        points: Iteration, and the gain of each seed.
    """

    series: str
    panel: str
    points: Sequence[tuple[int, Sequence[float]]]


def draw_absolute(degradations: Mapping[str, Sequence[str]], panels: Mapping[str, Mapping[str, np.ndarray]],
                  path: str | os.PathLike, axis: str, title: str, decimals: int = 2) -> None:
    """Draw a panel for each dataset: a group of bars for each degradation, a bar for each method, bicubic in grey.

    Args:
        degradations: Names, by dataset.
        panels: For each dataset, by method, a value for each degradation.
        axis: Label of the y axis, with the unit.
        decimals: Decimals of the numbers at the bars.
    """
    figure = style.new_figure(title, height=1.6 + PANEL * len(panels))
    methods = list(next(iter(panels.values())))
    looks = _looks(methods)
    width = 0.84 / len(methods)
    for axes, (dataset, values) in zip(style.add_panels(figure, list(panels)), panels.items()):
        everything = np.concatenate(list(values.values()))
        everything = everything[np.isfinite(everything)] if np.isfinite(everything).any() else np.zeros(1)
        low, extent = everything.min(), max(np.ptp(everything), 0.1)
        low = low - 0.15 * extent
        for place, method in enumerate(methods):
            x = np.arange(len(values[method])) - 0.42 + (place + 0.5) * width
            axes.bar(x, values[method] - low, 0.94 * width, low, **looks[method])
            if len(methods) * len(values[method]) <= LABELLED:
                for middle, value in zip(x, values[method]):
                    style.bar_label(axes, middle, value, f'{value:.{decimals}f}', size=8, gap=2)
        axes.set_ylim(low, everything.max() + 0.12 * extent)
        style.plain(axes).set_ylabel(axis)
        style.group_axis(axes, degradations[dataset])
    handles = [Patch(**looks[method], label=style.short(method)) for method in methods]
    style.legend_below(figure, handles, 'the axes do not begin at 0')
    style.save(figure, path)


def draw_gains(bars: Sequence[Bar], path: str | os.PathLike, axis: str, title: str, note: str,
               decimals: int = 2, sharey: bool = False) -> None:
    """Draw gains as bars from 0, with their intervals; the panel's title has the number of images.

    Without bars, no figure is written: no gain is finite if every dataset has an image restored without error.

    Args:
        bars: The gains.
        axis: Label of the y axis, with the unit.
        note: Meaning of the error bars.
        decimals: Decimals of the numbers at the bars.
        sharey: Whether all panels share the y axis.
    """
    if not bars:
        return
    panels, series = style.values_of(bars, 'panel'), style.values_of(bars, 'series')
    figure = style.new_figure(title, height=style.HEIGHT if len(panels) == 1 else 1.6 + PANEL * len(panels))
    looks = _looks(series)
    width = 0.84 / len(series)
    several = any(len(bar.points) > 1 for bar in bars)
    for axes, panel in zip(style.add_panels(figure, panels, sharey=sharey), panels):
        inside = [bar for bar in bars if bar.panel == panel]
        groups = style.values_of(inside, 'group')
        counts = {group: max(bar.images for bar in inside if bar.group == group) for group in groups}
        same = len(set(counts.values())) == 1
        axes.set_title(' '.join([panel, f'(n = {counts[groups[0]]})' if same else '']).strip(), size=11)
        for bar in inside:
            x = groups.index(bar.group) - 0.42 + (series.index(bar.series) + 0.5) * width
            low, high = (bar.mean if end is None else end for end in (bar.low, bar.high))
            error = None if bar.low is None else [[bar.mean - low], [high - bar.mean]]
            axes.bar(x, bar.mean, 0.94 * width, **looks[bar.series], yerr=error, ecolor='0.25', capsize=3)
            if bar.points and several:
                beside = x + np.linspace(-0.2, 0.2, len(bar.points)) * width
                axes.plot(beside, bar.points, 'o', color='black', markersize=2.5)
            elif len(inside) <= LABELLED:
                up = bar.mean >= 0
                style.bar_label(axes, x, high if up else low, f'{bar.mean:+.{decimals}f}', up)
        axes.axhline(0, color='black', linewidth=1.2)
        axes.margins(y=0.16)
        style.plain(axes).set_ylabel(axis)
        style.group_axis(axes, groups if same else [f'{one}\n(n = {counts[one]})' for one in groups])
    handles = [Patch(**looks[name], label=style.short(name, 3 * style.LONGEST)) for name in series]
    style.legend_below(figure, handles, note)
    style.save(figure, path)


def draw_gain_curves(curves: Sequence[Curve], path: str | os.PathLike, axis: str, title: str) -> None:
    """Draw gains over iterations: the mean over seeds, and a band from the smallest to the largest gain."""
    panels, series = style.values_of(curves, 'panel'), style.values_of(curves, 'series')
    figure = style.new_figure(title)
    looks = _looks(series)
    measured = sorted({iteration for curve in curves for iteration, _ in curve.points})
    ticks = FixedLocator(measured) if len(measured) <= MOST_TICKS else MaxNLocator(4, integer=True)
    grid = style.add_panels(figure, panels, len(panels), sharey=True)
    for axes, panel in zip(grid, panels):
        style.plain(axes)
        for curve in (curve for curve in curves if curve.panel == panel):
            iterations = [iteration for iteration, _ in curve.points]
            low, mean, high = (np.array([kind(gains) for _, gains in curve.points]) for kind in (min, np.mean, max))
            line = _line(looks[curve.series])
            axes.plot(iterations, mean, marker='o', **line, markersize=3.5)
            style.band(axes, iterations, low, high, line['color'])
        axes.axhline(0, color='black', linewidth=1.2)
        style.iteration_axis(axes, ticks)
    grid[0].set_ylabel(axis)
    counts = {len(gains) for curve in curves for _, gains in curve.points}
    note = f'line: mean of {style.count_text(counts)} seeds, band: from the least to the largest'
    note = note if max(counts) > 1 else 'one seed'
    style.legend_below(figure, [Line2D([], [], **_line(looks[name]), lw=2, label=name) for name in series], note)
    style.save(figure, path)


def _looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How to fill bars: a colour for each name; ``NAME, MORE`` has that of ``NAME`` if there is one, hatched."""
    of = {name: max((other for other in names if name.startswith(f'{other}, ')), key=len, default=name)
          for name in names if name != BICUBIC}
    colours = {name: style.colour(place) for place, name in enumerate(one for one in of if of[one] == one)}
    plain = {name: {'facecolor': colour, 'edgecolor': colour} for name, colour in colours.items()}
    return {BICUBIC: {'facecolor': BICUBIC_COLOUR, 'edgecolor': BICUBIC_COLOUR}} | {
        name: plain[name] if other == name else {**plain[_first(other, of)], 'facecolor': 'white', 'hatch': '/////'}
        for name, other in of.items()}


def _first(name: str, of: Mapping[str, str]) -> str:
    """The name with a colour of its own: another one's, and more, has that of the other."""
    return name if of[name] == name else _first(of[name], of)


def _line(look: Mapping[str, Any]) -> dict[str, Any]:
    """How to draw a line in the colour of bars; dashed where they are hatched."""
    return {'color': look['edgecolor'], 'linestyle': '--' if 'hatch' in look else '-'}
