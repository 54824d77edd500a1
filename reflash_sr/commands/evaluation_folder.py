"""The result folder of an evaluation; it stores finished scores and images, so that the evaluation can continue."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image

from reflash_sr.commands.analysis_inputs import folder_names
from reflash_sr.data.images.read_image import read_image
from reflash_sr.data.test_degradation.benchmark_sets import DegradedSet, PairedSet
from reflash_sr.errors import RunError, UserError
from reflash_sr.evaluation.comparison import BICUBIC, Settings, describe
from reflash_sr.evaluation.detail_crop import crop_box
from reflash_sr.evaluation.measure_networks import Observer, Task
from reflash_sr.evaluation.scores import Key, Score
from reflash_sr.evaluation.shrunk_rows import ONCE, ShrunkRow
from reflash_sr.system import processes
from reflash_sr.system.files import atomic_write
from reflash_sr.system.result_folder import ResultFolder
from reflash_sr.system.work_queue import Queue, progress
from reflash_sr.weights.network_from_file import TrainedNetwork, network_settings

TOOL = 'evaluate_degradations'
PROGRESS = '.progress'
FITTING = 'fitting'  # in PROGRESS: logs of the images that the shrinkage control is fitted on; its result: fitting.csv
SCORES, PARABOLAS, FITTED = 'scores.csv', 'parabolas.csv', f'{FITTING}.csv'
GT, LQ = '*GT', '*LQ'  # labels of crops; the asterisk, because a network may be called GT


class EvaluationFolder(ResultFolder, Observer):
    """Stores scores in ``.progress``, crops of the first images in ``crops`` and, optionally, SR images in ``images``.

    Names of methods, datasets and images become valid and unique file names.

    Args:
        networks: As for :func:`~reflash_sr.evaluation.measure_networks.measure_networks`, like ``datasets`` and
            ``settings``.
        overwrite: Whether to rename a folder with other results.
        control: Settings of the shrinkage control, if there is one.

    Raises:
        UserError: The folder holds another run or cannot be written.
    """

    def __init__(self, path: str | os.PathLike, networks: Sequence[TrainedNetwork],
                 datasets: Sequence[DegradedSet | PairedSet], settings: Settings, device: torch.device,
                 overwrite: bool = False, control: Mapping[str, Any] | None = None):
        described = {'networks': network_settings(networks), 'sets': [describe(dataset) for dataset in datasets],
                     **({} if control is None else {'control': control})}
        inputs = [*(network.path for network in networks), *(root for dataset in datasets for root in dataset.roots),
                  *(root for one in (control or {}).get('sets', ()) for root in one['roots'])]
        super().__init__(path, TOOL, {**described, **asdict(settings), 'device': device.type}, overwrite, inputs)
        names = SCORES, *([] if control is None else [PARABOLAS])
        self.measured = load_scores(self.path, names)
        self.fitted = load_scores(self.path, [FITTED], FITTING)
        labels = [BICUBIC, *(network.label for network in networks)]
        self._labels = _safe(['GT', 'LQ', *labels], [GT, LQ, *labels])
        self._shown = [GT, LQ, *labels]  # in crops
        self._datasets = _safe([dataset.name for dataset in datasets])
        self._images = {dataset.name: _safe(dataset.names) for dataset in datasets}
        self._degradations = {dataset.name: _safe(dataset.degradations) for dataset in datasets}
        self._logs: dict[str, IO[str]] = {}

    def add_rows(self, rows: Sequence[ShrunkRow]) -> None:
        """Take in the rows of the shrinkage control; crops are kept of those with one α for all degradations."""
        labels = [*list(self._labels)[2:], *(row.label for row in rows)]
        self._labels = _safe(['GT', 'LQ', *labels], [GT, LQ, *labels])
        self._shown += [row.label for row in rows if row.way == ONCE]

    def crop(self, dataset: str, image: str, degradation: str, label: str) -> Path:
        """Path of a crop; ``label`` is the label of a method, or :data:`GT` or :data:`LQ`."""
        return (self.path / 'crops' / self._datasets[dataset] / self._images[dataset][image]
                / self._degradations[dataset][degradation] / f'{self._labels[label]}.png')

    def image(self, dataset: str, image: str, degradation: str, label: str) -> Path:
        """Path of an SR image."""
        return (self.path / 'images' / self._labels[label] / self._datasets[dataset]
                / self._degradations[dataset][degradation] / f'{self._images[dataset][image]}.png')

    def strip(self, dataset: str, image: str) -> Path:
        """Path of the figure with the crops of an image."""
        return self.path / 'strips' / self._datasets[dataset] / f'{self._images[dataset][image]}.png'

    def lacks(self, task: Task, labels: Iterable[str]) -> bool:
        """Whether image files that belong to the scores are missing."""
        return not all(path.is_file() for paths in self._files(task, labels) for path in paths.values())

    def progress(self, queue: Queue[Task], what: str) -> Iterable[Task]:
        """Show a progress bar on rank 0."""
        return progress(queue, what, processes.rank() == 0)

    def keep(self, task: Task, results: Mapping[str, np.ndarray], lq: np.ndarray, gt: np.ndarray) -> None:
        """Write the crops and SR images of a task; bicubic interpolation's has the crops of GT and LQ too."""
        crops, images = self._files(task, results)
        for label, path in images.items():
            write_png(results[label], path)
        if crops:
            box, scale = crop_box(gt, task.dataset.scale), task.dataset.scale
            small = lq[tuple(slice(part.start // scale, part.stop // scale) for part in box)]
            parts = {GT: gt[box], LQ: small.repeat(scale, 0).repeat(scale, 1),
                     **{label: sr[box] for label, sr in results.items()}}
            for label, path in crops.items():
                write_png(parts[label], path)

    def _files(self, task: Task, labels: Iterable[str]) -> tuple[dict[str, Path], dict[str, Path]]:
        """Paths of the crops, and of the whole SR images, that are kept of a task, by label."""
        dataset, degradation, image = task.where
        labels = list(labels)
        pair = [GT, LQ] if task.method == BICUBIC else []
        crops = [label for label in (*pair, *labels) if label in self._shown and task.place < self.settings['strips']]
        images = labels if self.settings['save_images'] and task.method != BICUBIC else []
        return ({label: self.crop(dataset, image, degradation, label) for label in crops},
                {label: self.image(dataset, image, degradation, label) for label in images})

    def add(self, scores: Sequence[Score]) -> None:
        """Append the scores of a task to the log of this process."""
        self._append('', scores)

    def add_fitted(self, scores: Sequence[Score]) -> None:
        """The same for an image that the shrinkage control is fitted on."""
        self._append(FITTING, scores)

    def _append(self, part: str, scores: Sequence[Score]) -> None:
        if part not in self._logs:
            path = self.path / PROGRESS / part / f'{processes.rank()}_{os.getpid()}.jsonl'
            path.parent.mkdir(parents=True, exist_ok=True)
            self._logs[part] = path.open('a', encoding='utf-8')
        rows = [(score.method, score.degradation, score.metric, score.value) for score in scores]
        self._logs[part].write(json.dumps([scores[0].dataset, scores[0].image, rows]) + '\n')
        self._logs[part].flush()

    def store(self, task: Task, sr: np.ndarray) -> None:
        """Write an SR image that will be measured later."""
        write_png(sr, self._stored(task), fast=True)

    def stored(self, task: Task) -> np.ndarray | None:
        """Read such an image; None if it is not there."""
        path = self._stored(task)
        return read_image(path) if path.is_file() else None

    def _stored(self, task: Task) -> Path:
        dataset, degradation, image = task.where
        return self.path / PROGRESS / self.image(dataset, image, degradation, task.method).relative_to(self.path)

    def note(self, line: str) -> None:
        """Print a note on standard error."""
        print(f'note: {line}', file=sys.stderr)

    def __exit__(self, *raised: object) -> None:
        error = raised[1]
        for log in self._logs.values():
            try:
                log.close()
            except OSError as closing:  # it writes what it still has
                error = error or closing
        self._logs = {}
        if isinstance(error, OSError):
            raise RunError(f'{self}: results cannot be written ({error.strerror}); free disk space, then repeat the '
                           'command to continue') from error


def load_scores(folder: Path, names: Iterable[str] = (SCORES,), part: str = '') -> dict[Key, Score]:
    """What was measured, from CSV files and from the logs of an interrupted run.

    Args:
        names: The CSV files.
        part: Folder of the logs, inside of that of an interrupted run.

    Raises:
        UserError: A CSV file is damaged. An incomplete last line of a log is ignored.
    """
    found: dict[Key, Score] = {}
    for path in (folder / name for name in names if (folder / name).is_file()):
        try:
            with open(path, encoding='utf-8', newline='') as file:
                for row in csv.DictReader(file):
                    score = Score(value=float(row.pop('value')), **row)
                    if score.key in found:
                        raise ValueError(f"the score of {', '.join(score.key)} occurs twice")
                    found[score.key] = score
        except (ValueError, TypeError, KeyError, csv.Error) as error:
            what = 'a line is incomplete, or a column differs' if isinstance(error, TypeError) else error
            raise UserError(f'{path}: is damaged ({what}); remove it to measure again') from error
    for log in sorted((folder / PROGRESS / part).glob('*.jsonl')):
        for line in log.read_text(encoding='utf-8').splitlines():
            try:
                dataset, image, rows = json.loads(line)
                scores = [Score(method, dataset, degradation, image, metric, float(value))
                          for method, degradation, metric, value in rows]
            except (ValueError, TypeError, RecursionError):
                continue
            found.update((score.key, score) for score in scores)
    return found


def write_png(pixels: np.ndarray, path: Path, fast: bool = False) -> None:
    """Write (H, W, 3) uint8 as PNG, atomically; ``fast``: with less compression."""
    with atomic_write(path) as file:
        Image.fromarray(pixels).save(file, format='PNG', compress_level=1 if fast else 6)


def _safe(labels: Sequence[str], keys: Sequence[str] | None = None) -> dict[str, str]:
    return dict(zip(keys or labels, folder_names(labels)))
