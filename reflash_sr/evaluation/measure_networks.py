"""Measuring networks on test sets, image by image: networks × datasets → scores."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from reflash_sr.data.test_degradation.benchmark_sets import DegradedSet, PairedSet
from reflash_sr.errors import RunError, UserError
from reflash_sr.evaluation.comparison import BICUBIC, Settings, check
from reflash_sr.evaluation.metrics import bicubic_upscale, measure
from reflash_sr.evaluation.scores import Score
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
    """

    def __init__(self) -> None:
        self.measured: dict[Unit, list[Score]] = {}

    def __exit__(self, *error: object) -> None:
        """Called after the last image of this process, or after an error."""

    def lacks(self, dataset: DegradedSet | PairedSet, place: int) -> bool:
        """Whether results other than scores, such as SR images, are missing for an image."""
        return False

    def progress(self, places: Sequence[Place]) -> Sequence[Place]:
        """Show progress through ``places``, as ``tqdm`` does."""
        return places

    def pair(self, dataset: DegradedSet | PairedSet, place: int, degradation: str, lq: np.ndarray,
             gt: np.ndarray) -> Callable[[str, np.ndarray], None]:
        """Called for an image under a degradation; returns a callback for each method's label and SR image.

        All images are (H, W, 3) uint8 RGB.
        """
        return lambda label, sr: None

    def add(self, unit: Unit, scores: Sequence[Score]) -> None:
        """Called with all scores of an image."""

    def note(self, line: str) -> None:
        """Report a line to the user."""
        warnings.warn(line, stacklevel=3)


def measure_networks(networks: Sequence[TrainedNetwork], datasets: Sequence[DegradedSet | PairedSet],
                     settings: Settings | None = None, device: torch.device = CPU,
                     observer: Observer | None = None) -> list[Score]:
    """Measure bicubic interpolation and networks on every image of every dataset.

    With several processes, each measures its share of the images; all return the same scores.

    Args:
        networks: All of one scale; labels are unique.
        datasets: Test sets of the same scale; names are unique.
        settings: How to measure.
        device: The networks are moved there.
        observer: Callbacks. Default: results stay in memory.

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
    processes.gather(None)  # no process writes before all have checked what is missing
    restorers = {one.label: Restorer(one.net, one.scale, one.multiple, device, settings.amp, settings.tile,
                                     settings.overlap, one.channels) for one in networks}
    found: dict[Unit, list[Score]] = {}
    failure: UserError | None = None
    try:
        with observer:
            for dataset, place in observer.progress(places[processes.rank()::processes.world_size()]):
                unit = dataset.name, dataset.names[place]
                found[unit] = measure_image(dataset, place, restorers, settings, observer)
                observer.add(unit, found[unit])
    except UserError as error:
        failure = error
    for label, one in restorers.items():
        if one.forced_tile and failure is None:
            observer.note(f'{label}: whole images did not fit into memory, so tiles down to {one.forced_tile} px were '
                          f'used. If the receptive field is larger than --overlap, {one.overlap} px, numbers differ '
                          'slightly from those of whole images')
    scores = dict(observer.measured)
    for part, failed in processes.gather((found, failure)):  # all processes stop for the same reason
        if failed is not None:
            raise failed
        scores.update(part)
    return [score for dataset in datasets for name in dataset.names for score in scores[dataset.name, name]]


def measure_image(dataset: DegradedSet | PairedSet, place: int, restorers: Mapping[str, Restorer], settings: Settings,
                  observer: Observer) -> list[Score]:
    """Measure one image under every degradation, with every method and metric."""
    scores = []
    methods = {BICUBIC: lambda lq: bicubic_upscale(lq, dataset.scale),
               **{label: restorer.restore for label, restorer in restorers.items()}}
    for degradation in dataset.degradations:
        lq, gt = dataset.pair(place, degradation)
        keep = observer.pair(dataset, place, degradation, lq, gt)
        for label, restore in methods.items():
            try:
                sr = restore(lq)
                values = {metric: measure(metric, sr, gt, settings.crop_border, settings.y_channel)
                          for metric in settings.metrics}
            except UserError as error:
                raise UserError(f'{dataset.path(place)}: {label}: {error}') from error
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise RunError(f'{dataset.path(place)}: {label}: not enough memory; give a smaller --tile, then '
                                   'repeat the command to continue') from error
                raise
            scores += [Score(label, dataset.name, degradation, dataset.names[place], metric, value)
                       for metric, value in values.items()]
            keep(label, sr)
    return scores
