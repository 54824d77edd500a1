"""The paper's Table 1 from scores: methods × degradations × sets, gains with intervals, what beats what."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from reflash_sr.evaluation.bootstrap import Gain, paired_gain
from reflash_sr.evaluation.metrics import LOWER_IS_BETTER
from reflash_sr.evaluation.scores import MEAN, Score


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        label: Its name.
        parameters: How many it has; None for bicubic interpolation.
        dropout_p: The p it was trained with; 0 for none, None where that is not known.
        baseline: Label of the method its gain is counted from.
        note: What a reader should know of it, such as how long it was trained.
    """

    label: str
    parameters: int | None = None
    dropout_p: float | None = 0
    baseline: str | None = None
    note: str = ''


@dataclass(frozen=True)
class Entry:
    """A cell of the table.

    Attributes:
        metric: Name of the metric.
        dataset: Name of the set, or of a mean over sets.
        degradation: Name of the degradation, or :data:`MEAN`.
        method: Label of the method.
        value: Mean over images, or over the cells of the row.
        images: How many images it rests on.
        gain: How far the method is ahead of its baseline, in the metric's unit; None without a baseline.
        beats: Larger networks without dropout that this smaller one, with dropout, is better than in this cell.
    """

    metric: str
    dataset: str
    degradation: str
    method: str
    value: float
    images: int
    gain: Gain | None
    beats: tuple[str, ...]


class Grid:
    """Scores, arranged: metric, method and set give a matrix (images, degradations).

    Args:
        scores: Of full grids: every metric on every image and degradation of a set, for each method that has the set.
    """

    def __init__(self, scores: Iterable[Score]):
        found: dict[tuple[str, str, str], dict[tuple[str, str], float]] = {}
        for score in scores:
            cell = found.setdefault((score.metric, score.method, score.dataset), {})
            cell[score.image, score.degradation] = score.value
        self.metrics, self.methods, self.datasets = (list(dict.fromkeys(key[i] for key in found)) for i in range(3))
        self.images: dict[str, list[str]] = {}
        self.degradations: dict[str, list[str]] = {}
        self._values: dict[tuple[str, str, str], np.ndarray] = {}
        for key, cell in found.items():
            images, degradations = (names.setdefault(key[2], list(dict.fromkeys(pair[i] for pair in cell)))
                                    for i, names in enumerate((self.images, self.degradations)))
            self._values[key] = np.array([[cell[image, one] for one in degradations] for image in images])
        self._leave_out_endless()

    def _leave_out_endless(self) -> None:
        """An image that one method restores without error has no finite PSNR: it becomes NaN for all, in that cell."""
        for metric in self.metrics:
            for dataset in self.datasets:
                found = [values for key, values in self._values.items() if (key[0], key[2]) == (metric, dataset)]
                endless = ~np.isfinite(found).all(axis=0)
                for values in found:
                    values[endless] = np.nan

    def values(self, metric: str, method: str, dataset: str) -> np.ndarray:
        """(images, degradations); NaN where the image is left out."""
        return self._values[metric, method, dataset]

    def has(self, method: str, datasets: Iterable[str]) -> bool:
        """Whether a method was measured on all of these sets."""
        measured = {key[2] for key in self._values if key[1] == method}
        return measured.issuperset(datasets)

    def groups(self, common: Collection[str] = ()) -> dict[str, list[str]]:
        """Sets by the name of their row: each on its own, then the mean over those that have the same degradations.

        The same mean over the sets ``common`` alone follows, where it is another.
        """
        groups = {dataset: [dataset] for dataset in self.datasets}
        for chosen in (self.datasets, [dataset for dataset in self.datasets if dataset in common]):
            alike: dict[tuple[str, ...], list[str]] = {}
            for dataset in chosen:
                alike.setdefault(tuple(self.degradations[dataset]), []).append(dataset)
            groups |= {f"mean of {', '.join(sets)}": sets for sets in alike.values() if len(sets) > 1}
        return groups

    def columns(self, sets: Sequence[str]) -> dict[str, list[int]]:
        """Degradations of a group of sets, each with its place; and their mean, where there are several."""
        names = self.degradations[sets[0]]
        columns = {name: [place] for place, name in enumerate(names)}
        return columns | ({MEAN: list(range(len(names)))} if len(names) > 1 else {})

    def gain(self, metric: str, method: str, reference: str, sets: Sequence[str], places: Sequence[int],
             seed: int) -> Gain | None:
        """How far a method is ahead of another, over sets and degradations; positive is better."""
        return paired_gain(self.differences(metric, method, reference, sets, places), seed)

    def differences(self, metric: str, method: str, reference: str, sets: Sequence[str],
                    places: Sequence[int]) -> list[np.ndarray]:
        """Method minus reference, positive is better: for each set (images, degradations)."""
        sign = -1 if metric in LOWER_IS_BETTER else 1
        return [sign * (self.values(metric, method, one) - self.values(metric, reference, one))[:, places]
                for one in sets]

    def mean(self, metric: str, method: str, sets: Sequence[str], places: Sequence[int]) -> tuple[float, int]:
        """Mean of cells (set × degradation), each the mean over its images; and the number of images.

        An image that is left out under one of the degradations is left out under all, as in :meth:`gain`.
        """
        rows = [self.values(metric, method, one)[:, places] for one in sets]
        rows = [values[np.isfinite(values).all(axis=1)] for values in rows]
        cells = [values.mean(axis=0) for values in rows if len(values)]
        return float(np.concatenate(cells).mean()) if cells else float('nan'), sum(map(len, rows))


def make_table(grid: Grid, methods: Sequence[Method], seed: int = 0) -> list[Entry]:
    """Lay out the table.

    Args:
        grid: The scores.
        methods: Its rows.
        seed: Of the intervals.

    Returns:
        Entries by metric, set, method and degradation.
    """
    entries = []
    for metric in grid.metrics:
        for group, sets in grid.groups().items():
            for method in methods:
                for column, places in grid.columns(sets).items():
                    value, images = grid.mean(metric, method.label, sets, places)
                    gain = None
                    if method.baseline is not None:
                        gain = grid.gain(metric, method.label, method.baseline, sets, places, seed)
                    beats = tuple(other.label for other in methods if _may_beat(method, other) and _is_better(
                        metric, value, grid.mean(metric, other.label, sets, places)[0]))
                    entries.append(Entry(metric, group, column, method.label, value, images, gain, beats))
    return entries


def all_gains(grid: Grid, seed: int = 0,
              pairs: Sequence[tuple[str, str]] | None = None) -> list[tuple[str, str, str, str, str, Gain]]:
    """Compare every method with every one before it.

    Args:
        grid: All scores.
        seed: Of the resampling.
        pairs: Reference and method, where not all are wanted.

    Returns:
        Metric, set, degradation, method, reference and gain.
    """
    found = []
    for metric in grid.metrics:
        for group, sets in grid.groups().items():
            for reference, method in combinations(grid.methods, 2) if pairs is None else pairs:
                for column, places in grid.columns(sets).items():
                    gain = grid.gain(metric, method, reference, sets, places, seed)
                    if gain is not None:
                        found.append((metric, group, column, method, reference, gain))
    return found


def _may_beat(method: Method, other: Method) -> bool:
    return (method.parameters is not None and other.parameters is not None and bool(method.dropout_p)
            and other.dropout_p == 0 and method.parameters < other.parameters)


def _is_better(metric: str, value: float, other: float) -> bool:
    return value < other if metric in LOWER_IS_BETTER else value > other
