"""The paper's Table 1 from scores: methods × degradations × datasets, gains with intervals, what beats what."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from reflash_sr.evaluation.bootstrap import Gain, paired_gain
from reflash_sr.evaluation.metrics import LOWER_IS_BETTER, WITHOUT_GAIN
from reflash_sr.evaluation.scores import MEAN, Cell, Score


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    label: str
    parameters: int | None = None  # their number; None for bicubic interpolation
    dropout_p: float | None = 0  # dropout probability in training; 0 for none, None if unknown
    baseline: str | None = None  # label of the method that its gain is measured against
    note: str = ''  # for the legend, such as how long it was trained
    shrunk_from: str | None = None  # of a row of the shrinkage control: label of its network
    way: str | None = None  # of such a row: how its α was chosen
    fitted: bool = True  # of such a row: whether its α was fitted, rather than given by hand

    def may_beat(self, other: Method) -> bool:
        """Whether this network has dropout and fewer parameters, and the other network has no dropout."""
        return (self.parameters is not None and other.parameters is not None and bool(self.dropout_p)
                and other.dropout_p == 0 and self.parameters < other.parameters and self.way == other.way)


@dataclass(frozen=True)
class Entry(Cell):
    """A cell of the table; its dataset may be a mean over datasets, its degradation :data:`MEAN`."""

    gain: Gain | None  # over the baseline, in the metric's unit
    beats: tuple[str, ...]  # labels of the networks without dropout that are larger, but worse than this one
    beyond: Mapping[str, Gain] = field(default_factory=dict)  # gain beyond shrinkage, by the way of choosing α


class Grid:
    """Scores as matrices: one (images, degradations) for each metric, method and dataset.

    Args:
        scores: Every metric on every image and degradation of a dataset, for each method measured on this dataset.
        seed: Seed of the bootstrap intervals.
        how: How the scores were measured, for titles.
    """

    def __init__(self, scores: Iterable[Score], seed: int = 0, how: str = ''):
        self.seed, self.how = seed, how
        found: dict[tuple[str, str, str], dict[tuple[str, str], float]] = {}
        for score in scores:
            cell = found.setdefault((score.metric, score.method, score.dataset), {})
            cell[score.image, score.degradation] = score.value
        self.metrics, self.methods, self.datasets = (list(dict.fromkeys(names)) for names in zip(*found))
        self.images: dict[str, list[str]] = {}
        self.degradations: dict[str, list[str]] = {}
        self._values: dict[tuple[str, str, str], np.ndarray] = {}
        for key, cell in found.items():
            images, degradations = (names.setdefault(key[2], list(dict.fromkeys(some)))
                                    for names, some in zip((self.images, self.degradations), zip(*cell)))
            self._values[key] = np.array([[cell[image, one] for one in degradations] for image in images])
        self._exclude_infinite()
        self._gains: dict[tuple, Gain | None] = {}

    def _exclude_infinite(self) -> None:
        """Set an image that some method restores without error (infinite PSNR) to NaN for all methods, in that cell."""
        for metric in self.metrics:
            for dataset in self.datasets:
                found = [values for key, values in self._values.items() if (key[0], key[2]) == (metric, dataset)]
                infinite = ~np.isfinite(found).all(axis=0)
                for values in found:
                    values[infinite] = np.nan

    def values(self, metric: str, method: str, dataset: str) -> np.ndarray:
        """(images, degradations); NaN for excluded images."""
        return self._values[metric, method, dataset]

    def has(self, method: str, datasets: Iterable[str]) -> bool:
        """Whether a method was measured on all of these datasets."""
        return {key[2] for key in self._values if key[1] == method}.issuperset(datasets)

    def groups(self, common: Collection[str] = ()) -> dict[str, list[str]]:
        """Datasets by the name of their row: each dataset, then the mean over datasets with the same degradations.

        The last rows are the same means over the datasets ``common`` only, if they differ.
        """
        groups = {dataset: [dataset] for dataset in self.datasets}
        for chosen in (self.datasets, [dataset for dataset in self.datasets if dataset in common]):
            by_degradations: dict[tuple[str, ...], list[str]] = {}
            for dataset in chosen:
                by_degradations.setdefault(tuple(self.degradations[dataset]), []).append(dataset)
            groups |= {f"mean of {', '.join(names)}": names for names in by_degradations.values() if len(names) > 1}
        return groups

    def columns(self, datasets: Sequence[str]) -> dict[str, list[int]]:
        """Indices of the degradations in each column: one column for each, and their mean if there are several."""
        names = self.degradations[datasets[0]]
        columns = {name: [place] for place, name in enumerate(names)}
        return columns | ({MEAN: list(range(len(names)))} if len(names) > 1 else {})

    def differences(self, metric: str, method: str, reference: str, datasets: Sequence[str],
                    places: Sequence[int]) -> list[np.ndarray]:
        """Method minus reference for each dataset, (images, degradations); positive means that the method is better."""
        sign = -1 if metric in LOWER_IS_BETTER else 1
        return [sign * (self.values(metric, method, one) - self.values(metric, reference, one))[:, places]
                for one in datasets]

    def gain(self, metric: str, method: str, reference: str, datasets: Sequence[str],
             places: Sequence[int]) -> Gain | None:
        """Gain of a method over a reference, on datasets and degradations; positive if the method is better."""
        key = (metric, method, reference, *datasets, *places)
        if key not in self._gains:  # tables and figures need the same gains
            self._gains[key] = paired_gain(self.differences(metric, method, reference, datasets, places), self.seed)
        return self._gains[key]

    def mean(self, metric: str, method: str, datasets: Sequence[str], places: Sequence[int]) -> tuple[float, int]:
        """Mean of cells (dataset × degradation), each the mean over its images, and the number of images.

        An image that is excluded under one of the degradations is excluded under all, as in :meth:`gain`.
        """
        rows = [self.values(metric, method, dataset)[:, places] for dataset in datasets]
        rows = [values[np.isfinite(values).all(axis=1)] for values in rows]
        cells = [values.mean(axis=0) for values in rows if len(values)]
        return float(np.concatenate(cells).mean()) if cells else float('nan'), sum(map(len, rows))


def make_table(grid: Grid, methods: Sequence[Method]) -> list[Entry]:
    """Compute the cells of the table, ordered by metric, dataset, method and degradation."""
    entries = []
    for metric in grid.metrics:
        sign = -1 if metric in LOWER_IS_BETTER else 1
        for group, datasets in grid.groups().items():
            for method in methods:
                for column, places in grid.columns(datasets).items():
                    value, images = grid.mean(metric, method.label, datasets, places)
                    if metric in WITHOUT_GAIN:
                        entries.append(Entry(method.label, group, column, metric, value, images, None, ()))
                        continue
                    gain = None
                    if method.baseline is not None:
                        gain = grid.gain(metric, method.label, method.baseline, datasets, places)
                    beats = tuple(other.label for other in methods if method.may_beat(other)
                                  and sign * value > sign * grid.mean(metric, other.label, datasets, places)[0])
                    beyond = beyond_shrinkage(grid, methods, metric, group, column, method.label, method.baseline)
                    entries.append(Entry(method.label, group, column, metric, value, images, gain, beats, beyond))
    return entries


def ways_of(methods: Sequence[Method]) -> list[str]:
    """Ways of fitting α; an α that was given by hand does not say what is gained beyond shrinkage."""
    return list(dict.fromkeys(method.way for method in methods if method.way and method.fitted))


def beyond_shrinkage(grid: Grid, methods: Sequence[Method], metric: str, group: str, column: str, method: str,
                     reference: str | None) -> dict[str, Gain]:
    """Gain of a method over a reference with both shrunk, by the way of choosing α; empty without such rows."""
    datasets = grid.groups()[group]
    found: dict[str, Gain] = {}
    for way in ways_of(methods):
        shrunk = {one.shrunk_from: one.label for one in methods if one.way == way}
        if method in shrunk and reference in shrunk:
            gain = grid.gain(metric, shrunk[method], shrunk[reference], datasets, grid.columns(datasets)[column])
            found |= {way: gain} if gain is not None else {}
    return found


def compared(methods: Sequence[Method], every: bool) -> list[tuple[str, str]]:
    """Pairs of rows that are compared: (reference, method).

    Args:
        methods: Rows; bicubic interpolation is the first.
        every: Whether to compare every network with every network before it, not only with interpolation and its
            baseline. Rows of the shrinkage control are compared with their network, their baseline, and interpolation.
    """
    first = methods[0].label
    pairs = list(combinations([one.label for one in methods if one.way is None], 2)) if every else []
    for one in methods[1:]:
        others = (first, one.shrunk_from, one.baseline)
        pairs += [(other, one.label) for other in others if other and (one.way or not every)]
    return list(dict.fromkeys(pairs))


def all_gains(grid: Grid, pairs: Sequence[tuple[str, str]] | None = None,
              metrics: Sequence[str] | None = None) -> list[tuple[str, str, str, str, str, Gain]]:
    """Compare methods; each result is (metric, dataset, degradation, method, reference, gain).

    Args:
        pairs: (reference, method). Default: every method with every method before it.
        metrics: Default: all. Of metrics without a better there is no gain.
    """
    pairs = list(combinations(grid.methods, 2)) if pairs is None else pairs
    return [(metric, group, column, method, reference, gain)
            for metric in metrics or grid.metrics if metric not in WITHOUT_GAIN
            for group, datasets in grid.groups().items()
            for reference, method in pairs
            for column, places in grid.columns(datasets).items()
            if (gain := grid.gain(metric, method, reference, datasets, places)) is not None]
