"""Measuring networks on test sets: images × degradations × networks → scores."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from reflash_sr.data.test_degradation.benchmark_sets import DegradedSet, PairedSet
from reflash_sr.errors import RunError, UserError
from reflash_sr.evaluation.comparison import BICUBIC, Settings, check
from reflash_sr.evaluation.metrics import bicubic_upscale, measure
from reflash_sr.evaluation.scores import Key, Score
from reflash_sr.evaluation.shrinkage import moments
from reflash_sr.evaluation.shrunk_rows import MOMENTS, ShrunkRow, moment_scores
from reflash_sr.evaluation.tiled_inference import CPU, Restorer
from reflash_sr.system import processes
from reflash_sr.system.devices import is_out_of_memory
from reflash_sr.system.work_queue import Queue
from reflash_sr.weights.network_from_file import TrainedNetwork


class Task(NamedTuple):
    """One method on one image under one degradation."""

    dataset: DegradedSet | PairedSet
    place: int  # index of the image
    degradation: str
    method: str

    @property
    def where(self) -> tuple[str, str, str]:
        """Dataset, degradation and image, by name."""
        return self.dataset.name, self.degradation, self.dataset.names[self.place]


class Observer(contextlib.AbstractContextManager):
    """Callbacks of an evaluation, for storing its results. This base class stores nothing.

    Attributes:
        measured: Scores that were stored before; they are not measured again.
        fitted: The same for the images that the shrinkage control is fitted on.
    """

    def __init__(self) -> None:
        self.measured: dict[Key, Score] = {}
        self.fitted: dict[Key, Score] = {}

    def __exit__(self, *error: object) -> None:
        """Called after the last task of this process, or after an error."""

    def lacks(self, task: Task, labels: Iterable[str]) -> bool:
        """Whether results other than scores, such as SR images, are missing for one of a task's rows."""
        return False

    def progress(self, queue: Queue[Task], what: str) -> Iterable[Task]:
        """Show progress through a queue, as ``tqdm`` does; ``what`` is being done."""
        return queue

    def keep(self, task: Task, results: Mapping[str, np.ndarray], lq: np.ndarray, gt: np.ndarray) -> None:
        """Called with a task's SR images by label of their row; all images are (H, W, 3) uint8 RGB."""

    def add(self, scores: Sequence[Score]) -> None:
        """Called with all scores of a task."""

    def add_fitted(self, scores: Sequence[Score]) -> None:
        """The same for an image that the shrinkage control is fitted on."""

    def store(self, task: Task, sr: np.ndarray) -> None:
        """Called with an SR image that will be measured later."""

    def stored(self, task: Task) -> np.ndarray | None:
        """An SR image given to :meth:`store`, or None; then the network runs again."""
        return None

    def note(self, line: str) -> None:
        """Report a line to the user."""
        warnings.warn(line, stacklevel=3)


def measure_networks(networks: Sequence[TrainedNetwork], datasets: Sequence[DegradedSet | PairedSet],
                     settings: Settings | None = None, device: torch.device = CPU,
                     observer: Observer | None = None, rows: Sequence[ShrunkRow] = ()) -> list[Score]:
    """Measure bicubic interpolation and networks on every image of every dataset.

    Several processes take images, degradations and networks from a common queue; all return the same scores.

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
    restorers = restorers_of(networks, settings, device)
    made_of = {method: [row for row in rows if row.network == method] for method in (BICUBIC, *restorers)}
    parabola = MOMENTS if rows else ()

    def keys(task: Task) -> list[Key]:
        dataset, degradation, image = task.where
        found = [(label, metric) for label in (task.method, *(row.label for row in made_of[task.method]))
                 for metric in settings.metrics] + [(task.method, metric) for metric in parabola]
        return [(label, dataset, degradation, image, metric) for label, metric in found]

    def work(task: Task) -> list[Score]:
        return _measure(task, pairs(task), restorers, settings, observer, made_of[task.method], bool(rows))

    pairs = last_pair()
    tasks = tasks_of(datasets, made_of)
    missing = [task for task in tasks if any(key not in observer.measured for key in keys(task))
               or observer.lacks(task, [task.method, *(row.label for row in made_of[task.method])])]
    scores = do_tasks(missing, work, observer, restorers, 'Evaluating', observer.measured, observer.add)
    return [scores[key] for task in tasks for key in keys(task)]


def tasks_of(datasets: Iterable[DegradedSet | PairedSet], methods: Iterable[str]) -> list[Task]:
    """Everything that there is to do, image by image: neighbours share their pair of images."""
    methods = list(methods)
    return [Task(dataset, place, degradation, method) for dataset in datasets for place in range(len(dataset))
            for degradation in dataset.degradations for method in methods]


def last_pair() -> Callable[[Task], tuple[np.ndarray, np.ndarray]]:
    """A function that makes LQ and GT of a task, or has them still, if the last task had the same."""
    last: list = [None, None]

    def pair(task: Task) -> tuple[np.ndarray, np.ndarray]:
        if last[0] != task.where:
            last[:] = task.where, task.dataset.pair(task.place, task.degradation)
        return last[1]

    return pair


def restorers_of(networks: Sequence[TrainedNetwork], settings: Settings, device: torch.device) -> dict[str, Restorer]:
    """Networks on a device, by label."""
    return {one.label: Restorer(one.net, one.scale, one.multiple, device, settings.amp, settings.tile,
                                settings.overlap, one.channels) for one in networks}


def do_tasks(tasks: Sequence[Task], work: Callable[[Task], list[Score]], observer: Observer,
             restorers: Mapping[str, Restorer], what: str, known: Mapping[Key, Score],
             add: Callable[[Sequence[Score]], None]) -> dict[Key, Score]:
    """Do ``work`` on each task, each process on its part; returns the scores of all, with those ``known`` before."""
    queue = Queue(tasks)  # no process writes before all have checked what is missing
    found: list[Score] = []
    failure: UserError | None = None
    try:
        with observer:
            for task in observer.progress(queue, what):
                with _explained(task):
                    scores = work(task)
                add(scores)
                found += scores
    except UserError as error:
        failure = error
    finally:
        queue.close()
    for label, one in restorers.items():
        if one.forced_tile and failure is None:
            observer.note(f'{label}: whole images did not fit into memory, so tiles down to {one.forced_tile} px were '
                          f'used. If the receptive field is larger than --overlap, {one.overlap} px, numbers differ '
                          'slightly from those of whole images')
    scores_of_all = dict(known)
    for part, failed in processes.gather((found, failure)):  # all processes stop for the same reason
        if failed is not None:
            raise failed
        scores_of_all.update((score.key, score) for score in part)
    return scores_of_all


def _measure(task: Task, pair: tuple[np.ndarray, np.ndarray], restorers: Mapping[str, Restorer], settings: Settings,
             observer: Observer, rows: Sequence[ShrunkRow], with_parabola: bool) -> list[Score]:
    """Measure one result, and what the rows of the control make of it, with every metric."""
    lq, gt = pair
    how = settings.crop_border, settings.y_channel
    if task.method == BICUBIC:
        sr = bicubic_upscale(lq, task.dataset.scale)
    else:
        stored = observer.stored(task)
        sr = restorers[task.method].restore(lq) if stored is None else stored
    base = rows[0].base(lq) if rows else sr
    results = {task.method: sr, **{row.label: row.shrink(sr, base, task.dataset.name, task.place, task.degradation)
                                   for row in rows}}
    scores = [Score(label, *task.where, metric, measure(metric, image, gt, *how))
              for label, image in results.items() for metric in settings.metrics]
    if with_parabola:
        scores += moment_scores(task.method, *task.where, moments(sr, base, gt, *how))
    observer.keep(task, results, lq, gt)
    return scores


@contextlib.contextmanager
def _explained(task: Task) -> Iterator[None]:
    """Name image and method in errors, and turn a lack of memory into ``RunError``."""
    try:
        yield
    except UserError as error:
        raise UserError(f'{task.dataset.path(task.place)}: {task.method}: {error}') from error
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise RunError(f'{task.dataset.path(task.place)}: {task.method}: not enough memory; give a smaller --tile, '
                           'then repeat the command to continue') from error
        raise
