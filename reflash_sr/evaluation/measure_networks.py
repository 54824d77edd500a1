"""Measuring networks on test sets, image by image: networks × datasets → scores."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

from reflash_sr.data.test_degradation.benchmark_sets import DegradedSet, PairedSet
from reflash_sr.errors import RunError, UserError
from reflash_sr.evaluation.comparison import BICUBIC, Settings, check
from reflash_sr.evaluation.metrics import bicubic_upscale, measure
from reflash_sr.evaluation.scores import Score
from reflash_sr.evaluation.shrinkage import moments
from reflash_sr.evaluation.shrunk_rows import ShrunkRow, moment_scores
from reflash_sr.evaluation.tiled_inference import CPU, Restorer
from reflash_sr.system import processes
from reflash_sr.system.devices import is_out_of_memory
from reflash_sr.weights.network_from_file import TrainedNetwork

Unit = tuple[str, str]  # dataset, image
Place = tuple[DegradedSet | PairedSet, int]  # dataset, index of an image


class Observer(contextlib.AbstractContextManager):
    """Callbacks of an evaluation, for storing its results. This base class stores nothing.

    Attributes:
        measured: Scores that were stored before, by image; these images are not measured again.
        fitted: The same for the images that the shrinkage control is fitted on.
    """

    def __init__(self) -> None:
        self.measured: dict[Unit, list[Score]] = {}
        self.fitted: dict[Unit, list[Score]] = {}

    def __exit__(self, *error: object) -> None:
        """Called after the last image of this process, or after an error."""

    def lacks(self, dataset: DegradedSet | PairedSet, place: int) -> bool:
        """Whether results other than scores, such as SR images, are missing for an image."""
        return False

    def progress(self, places: Sequence[Place], what: str) -> Sequence[Place]:
        """Show progress through ``places``, as ``tqdm`` does; ``what`` is being done."""
        return places

    def pair(self, dataset: DegradedSet | PairedSet, place: int, degradation: str, lq: np.ndarray,
             gt: np.ndarray) -> Callable[[str, np.ndarray], None]:
        """Called for an image under a degradation; returns a callback for each method's label and SR image.

        All images are (H, W, 3) uint8 RGB.
        """
        return lambda label, sr: None

    def add(self, unit: Unit, scores: Sequence[Score]) -> None:
        """Called with all scores of an image."""

    def add_fitted(self, unit: Unit, scores: Sequence[Score]) -> None:
        """The same for an image that the shrinkage control is fitted on."""

    def store(self, dataset: DegradedSet | PairedSet, place: int, degradation: str, label: str,
              sr: np.ndarray) -> None:
        """Called with an SR image that will be measured later."""

    def stored(self, dataset: DegradedSet | PairedSet, place: int, degradation: str, label: str) -> np.ndarray | None:
        """An SR image given to :meth:`store`, or None; then the network runs again."""
        return None

    def note(self, line: str) -> None:
        """Report a line to the user."""
        warnings.warn(line, stacklevel=3)


def measure_networks(networks: Sequence[TrainedNetwork], datasets: Sequence[DegradedSet | PairedSet],
                     settings: Settings | None = None, device: torch.device = CPU,
                     observer: Observer | None = None, rows: Sequence[ShrunkRow] = ()) -> list[Score]:
    """Measure bicubic interpolation and networks on every image of every dataset.

    With several processes, each measures its share of the images; all return the same scores.

    Args:
        networks: All of one scale; labels are unique.
        datasets: Test sets of the same scale; names are unique.
        settings: How to measure.
        device: The networks are moved there.
        observer: Callbacks. Default: results stay in memory.
        rows: Rows of the shrinkage control; each is made from the result of its network. With them, the scores also
            hold the parabola of each image (:mod:`~reflash_sr.evaluation.shrunk_rows`).

    Returns:
        Scores, ordered by dataset, image, degradation, method and metric. ``pandas.DataFrame(scores)`` has the columns
        ``method``, ``dataset``, ``degradation``, ``image``, ``metric`` and ``value``.

    Raises:
        UserError: Networks and datasets do not fit together, or an image cannot be read or measured.
        RunError: Not enough memory, or the observer cannot write.
    """
    settings, observer = settings or Settings(), observer or Observer()
    check(networks, datasets)
    places = [(dataset, place) for dataset in datasets for place in range(len(dataset))
              if (dataset.name, dataset.names[place]) not in observer.measured or observer.lacks(dataset, place)]
    restorers = restorers_of(networks, settings, device)

    def work(dataset: DegradedSet | PairedSet, place: int) -> list[Score]:
        return measure_image(dataset, place, restorers, settings, observer, rows)

    scores = measure_places(places, work, observer, restorers, 'Evaluating', observer.measured, observer.add)
    return [score for dataset in datasets for name in dataset.names for score in scores[dataset.name, name]]


def restorers_of(networks: Sequence[TrainedNetwork], settings: Settings, device: torch.device) -> dict[str, Restorer]:
    """Networks on a device, by label."""
    return {one.label: Restorer(one.net, one.scale, one.multiple, device, settings.amp, settings.tile,
                                settings.overlap, one.channels) for one in networks}


def measure_places(places: Sequence[Place], work: Callable[[DegradedSet | PairedSet, int], list[Score]],
                   observer: Observer, restorers: Mapping[str, Restorer], what: str, known: Mapping[Unit, list[Score]],
                   add: Callable[[Unit, Sequence[Score]], None]) -> dict[Unit, list[Score]]:
    """Do ``work`` on each image, each process on its share; returns the scores of all, with those ``known`` before."""
    processes.gather(None)  # no process writes before all have checked what is missing
    found: dict[Unit, list[Score]] = {}
    failure: UserError | None = None
    try:
        with observer:
            for dataset, place in observer.progress(places[processes.rank()::processes.world_size()], what):
                unit = dataset.name, dataset.names[place]
                found[unit] = work(dataset, place)
                add(unit, found[unit])
    except UserError as error:
        failure = error
    for label, one in restorers.items():
        if one.forced_tile and failure is None:
            observer.note(f'{label}: whole images did not fit into memory, so tiles down to {one.forced_tile} px were '
                          f'used. If the receptive field is larger than --overlap, {one.overlap} px, numbers differ '
                          'slightly from those of whole images')
    scores = dict(known)
    for part, failed in processes.gather((found, failure)):  # all processes stop for the same reason
        if failed is not None:
            raise failed
        scores.update(part)
    return scores


def measure_image(dataset: DegradedSet | PairedSet, place: int, restorers: Mapping[str, Restorer], settings: Settings,
                  observer: Observer, rows: Sequence[ShrunkRow] = ()) -> list[Score]:
    """Measure one image under every degradation, with every method and metric."""
    scores = []
    how = settings.crop_border, settings.y_channel
    methods = {BICUBIC: lambda lq: bicubic_upscale(lq, dataset.scale),
               **{label: restorer.restore for label, restorer in restorers.items()}}
    for degradation in dataset.degradations:
        lq, gt = dataset.pair(place, degradation)
        keep = observer.pair(dataset, place, degradation, lq, gt)
        where = dataset.name, degradation, dataset.names[place]
        for label, restore in methods.items():
            with explained(dataset, place, label):
                stored = observer.stored(dataset, place, degradation, label)
                sr = restore(lq) if stored is None else stored
                shrunk = [row for row in rows if row.network == label]
                base = shrunk[0].base(lq) if shrunk else sr
                results = {label: sr, **{row.label: row.shrink(sr, base, dataset.name, place, degradation)
                                         for row in shrunk}}
                for name, image in results.items():
                    scores += [Score(name, *where, metric, measure(metric, image, gt, *how))
                               for metric in settings.metrics]
                    keep(name, image)
                if rows:
                    scores += moment_scores(label, *where, moments(sr, base, gt, *how))
    return scores


@contextlib.contextmanager
def explained(dataset: DegradedSet | PairedSet, place: int, label: str) -> Iterator[None]:
    """Name image and method in errors, and turn a lack of memory into ``RunError``."""
    try:
        yield
    except UserError as error:
        raise UserError(f'{dataset.path(place)}: {label}: {error}') from error
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise RunError(f'{dataset.path(place)}: {label}: not enough memory; give a smaller --tile, then repeat the '
                           'command to continue') from error
        raise
