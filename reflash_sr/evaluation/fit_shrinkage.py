"""The shrinkage control: α of each network, fitted on other images than those that are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.data.images.read_image import read_image
from reflash_sr.data.test_degradation.benchmark_sets import DegradedSet, PairedSet
from reflash_sr.data.test_degradation.degradations import EIGHT
from reflash_sr.errors import UserError
from reflash_sr.evaluation.comparison import Settings, check_images, describe
from reflash_sr.evaluation.measure_networks import Observer, Task, do_tasks, last_pair, restorers_of, tasks_of
from reflash_sr.evaluation.own_interpolation import Base, find_base
from reflash_sr.evaluation.same_image import Fingerprint
from reflash_sr.evaluation.scores import Key, Score
from reflash_sr.evaluation.shrinkage import LARGEST, best_alpha, moments
from reflash_sr.evaluation.shrunk_rows import (
    MOMENTS,
    ONCE,
    PER_DEGRADATION,
    SHRUNK,
    Part,
    ShrunkRow,
    moment_scores,
)
from reflash_sr.evaluation.tiled_inference import CPU
from reflash_sr.weights.network_from_file import TrainedNetwork

PHOTOS, SETS, HALVES = 'photos:train', 'sets', 'halves'
CONTROL = 'shrink'
Dataset = DegradedSet | PairedSet
Place = tuple[Dataset, int]  # dataset, index of an image


@dataclass(frozen=True)
class Control:
    """The shrinkage control as asked for.

    Attributes:
        fit_on: Folders of GT images, which are degraded as the test sets are; or :data:`SETS`: the other test sets;
            or :data:`HALVES`: the other half of each test set.
        alpha: α given by hand; then nothing is fitted.
    """

    fit_on: tuple[str, ...] = (PHOTOS,)
    alpha: float | None = None

    @classmethod
    def parse(cls, control: str | None, fit_on: Sequence[str] | None = None) -> Control | None:
        """Parse ``shrink`` or ``shrink:0.5``, and what to fit on; None if no control is asked for.

        Raises:
            UserError: Something else is asked for, α is out of its range, or the two do not fit together.
        """
        if control is None:
            if fit_on:
                raise UserError(f'fit_on: is for the control; give --control {CONTROL} too')
            return None
        kind, colon, number = control.partition(':')
        if kind != CONTROL:
            raise UserError(f"control: '{control}' is not known; write {CONTROL}, or {CONTROL}:0.5")
        alone = next((word for word in (SETS, HALVES) if word in (fit_on or ()) and len(fit_on or ()) > 1), None)
        if alone is not None:
            raise UserError(f"fit_on: '{alone}' stands alone; leave out the others (a folder of this name: ./{alone})")
        if not colon:
            return cls(tuple(fit_on or (PHOTOS,)))
        try:
            alpha = float(number)
        except ValueError:
            alpha = float('nan')
        if not 0 <= alpha <= LARGEST:
            raise UserError(f"control: '{control}': α must be a number from 0 to {LARGEST:g}, as in {CONTROL}:0.5")
        if fit_on:
            raise UserError(f"fit_on: nothing is fitted with '{control}'; leave one of the two out")
        return cls((), alpha)


@dataclass(frozen=True)
class _Group:
    """Images of a dataset that share their α, and those that it is fitted on."""

    dataset: Dataset
    places: range
    fitting: Sequence[Place]


class Fit:
    """Which images α is fitted on, for which images; and its fit.

    Raises:
        UserError: There are no images to fit on, or a network is called as the shrunk row of another is.
    """

    def __init__(self, control: Control, networks: Sequence[TrainedNetwork], datasets: Sequence[Dataset],
                 settings: Settings):
        self.control, self.networks, self.datasets, self.settings = control, networks, datasets, settings
        _check_labels([network.label for network in networks])
        self.on_measured = control.fit_on in ((SETS,), (HALVES,))
        self.others: list[Dataset] = []  # that are only fitted on
        if control.fit_on and not self.on_measured:
            degraded = [one for one in datasets if isinstance(one, DegradedSet)]
            kinds = list(dict.fromkeys(name for one in degraded for name in one.degradations)) or EIGHT
            source = ImageSource({'dataroot_gt': list(control.fit_on)})
            self.others = [DegradedSet(', '.join(control.fit_on), source, kinds, datasets[0].scale,
                                       degraded[0].seed if degraded else settings.seed)]
        self._groups = [group for one in datasets for group in self._groups_of(one)]

    def _groups_of(self, one: Dataset) -> list[_Group]:
        everything = range(len(one))
        if self.control.fit_on == (HALVES,):
            if len(one) < 2:
                raise UserError(f'--fit_on {HALVES}: {one.name} has {len(one)} image; it needs two; fit on a folder')
            halves = everything[::2], everything[1::2]
            return [_Group(one, mine, [(one, place) for place in other]) for mine, other in (halves, halves[::-1])]
        others: Sequence[Dataset] = self.others
        if self.control.fit_on == (SETS,):
            others = [other for other in self.datasets if other is not one and isinstance(other, type(one))]
            if not others:
                kind = 'pairs' if isinstance(one, PairedSet) else 'GT images'
                raise UserError(f'--fit_on {SETS}: {one.name} is the only set of {kind}; give another, or --fit_on '
                                f'{HALVES}')
        return [_Group(one, everything, [(other, place) for other in others for place in range(len(other))])]

    @property
    def described(self) -> dict[str, Any]:
        """For the settings in the summary."""
        return {'alpha': self.control.alpha, 'fit_on': list(self.control.fit_on),
                'sets': [describe(one) for one in self.others]}

    def check(self) -> None:
        """Decode all images; raises ``UserError`` for one that is broken, or fitted on and measured."""
        check_images(self.others, self.settings)
        known: dict[Any, Fingerprint] = {}
        for group in self._groups:
            for place in ((group.dataset, index) for index in group.places) if group.fitting else ():
                mine = _content(known, place)
                same = next((other for other in group.fitting if mine.is_same(_content(known, other))), None)
                if same is not None:
                    given = ' '.join(self.control.fit_on)
                    what = (f'{_path(same)} is measured, too' if _path(same) == _path(place) else
                            f'{_path(same)} is the same image as {_path(place)}, which is measured')
                    raise UserError(f'--fit_on {given}: {what}; fit on other images')

    def run(self, device: torch.device = CPU, observer: Observer | None = None) -> list[ShrunkRow]:
        """Fit α of every network: once for all degradations and, if a dataset has several, for each degradation.

        Raises:
            UserError, RunError: As for :func:`~reflash_sr.evaluation.measure_networks.measure_networks`.
        """
        bases = {network.label: find_base(network) for network in self.networks}
        found = self._measure(bases, device, observer or Observer())
        rows = []
        ways = [ONCE]
        if self.control.alpha is None and any(len(one.degradations) > 1 for one in self.datasets):
            ways.append(PER_DEGRADATION)
        for way in ways:
            for label, base in bases.items():
                parts = [Part(group.dataset.name, group.places, self._alphas(label, group, found, way == ONCE))
                         for group in self._groups]
                rows.append(ShrunkRow(label, way, base, self._fitted_on, parts))
        return rows

    @property
    def _fitted_on(self) -> str | None:
        if self.control.alpha is not None:
            return None
        if self.on_measured:
            return 'the other test sets' if self.control.fit_on == (SETS,) else 'the other half of each test set'
        [one] = self.others
        counts = ((len(one), 'image'), (len(one.degradations), 'degradation'))
        return f"{one.name} ({' × '.join(f'{count} {word}' + 's' * (count != 1) for count, word in counts)})"

    def _measure(self, bases: Mapping[str, Base], device: torch.device,
                 observer: Observer) -> dict[tuple[str, str, str, str], np.ndarray]:
        """Parabolas of all images that are fitted on, by method, dataset, degradation and image."""
        datasets = self.datasets if self.on_measured else self.others
        if not datasets:
            return {}
        restorers = restorers_of(self.networks, self.settings, device)
        pairs = last_pair()

        def work(task: Task) -> list[Score]:
            lq, gt = pairs(task)
            sr = restorers[task.method].restore(lq)
            if self.on_measured:
                observer.store(task, sr)
            return moment_scores(task.method, *task.where, moments(
                sr, bases[task.method](lq), gt, self.settings.crop_border, self.settings.y_channel))

        def keys(task: Task) -> list[Key]:
            return [(task.method, *task.where, moment) for moment in MOMENTS]

        tasks = tasks_of(datasets, restorers)
        missing = [task for task in tasks if any(key not in observer.fitted for key in keys(task))]
        scores = do_tasks(missing, work, observer, restorers, 'Fitting', observer.fitted, observer.add_fitted)
        observer.fitted = {key: scores[key] for task in tasks for key in keys(task)}
        return {(task.method, *task.where): np.array([scores[key].value for key in keys(task)]) for task in tasks}

    def _alphas(self, label: str, group: _Group, found: Mapping[tuple[str, str, str, str], np.ndarray],
                once: bool) -> dict[str, float]:
        """α by degradation; for a degradation that no image is fitted on under it, that of all."""
        names = group.dataset.degradations
        if self.control.alpha is not None:
            return dict.fromkeys(names, self.control.alpha)
        there: dict[str, list[np.ndarray]] = {}
        for dataset, place in group.fitting:
            for degradation in dataset.degradations:
                there.setdefault(degradation, []).append(found[label, dataset.name, degradation, dataset.names[place]])
        of_all = best_alpha(np.concatenate([np.stack(some) for some in there.values()]))
        return {name: of_all if once or name not in there else best_alpha(np.stack(there[name])) for name in names}


def _check_labels(labels: Sequence[str]) -> None:
    for label in labels:
        if any(label.startswith(other + SHRUNK) for other in labels):
            raise UserError(f"'{label}' may be the name of a shrunk row too; give other --labels")


def _unit(place: Place) -> tuple[str, str]:
    return place[0].name, place[0].names[place[1]]


def _path(place: Place) -> str:
    return f'{place[0].path(place[1])}'


def _content(known: dict[Any, Fingerprint], place: Place) -> Fingerprint:
    """Fingerprint of a GT image."""
    key = _unit(place), place[0].path(place[1])
    if key not in known:
        dataset, index = place
        path = dataset.path(index)
        pixels = dataset.source.read(index) if isinstance(dataset, DegradedSet) else read_image(path)
        known[key] = Fingerprint.of(pixels)
    return known[key]
