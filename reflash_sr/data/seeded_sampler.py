"""Reproducible sampling: a training sample depends only on the seed and on its position in the run."""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from reflash_sr.data.images.read_image import read_image
from reflash_sr.errors import UserError


class Draw(int):
    """An index into a dataset, with the position of the sample in the run."""

    number: int  # position in the run, from 0; an attribute of the index, so that DataLoader workers get it

    def __new__(cls, index: int, number: int) -> Draw:
        draw = super().__new__(cls, index)
        draw.number = number
        return draw

    def __reduce__(self) -> tuple:
        return Draw, (int(self), self.number)


def draw_rng(index: int, seed: int) -> np.random.Generator:
    """The random generator of one sample, seeded with the run's ``manual_seed`` and the number of a :class:`Draw`.

    For a plain index of another sampler, the number is drawn from torch's generator, which DataLoader seeds for every
    epoch and worker.
    """
    number = getattr(index, 'number', None)
    return np.random.default_rng([seed, int(torch.randint(2**62, ())) if number is None else number])


@dataclass(eq=False)
class SeededDraws(Dataset):
    """Makes a dataset of another project reproducible: seeds the global generators for every sample.

    A sample whose files cannot be read is replaced by the next one, with a warning, as in our own training datasets.
    """

    dataset: Any  # uses the global generator of random, numpy or torch
    seed: int  # the run's manual_seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        number = int(draw_rng(index, self.seed).integers(2**32))
        for attempt in range(len(self)):
            random.seed(number)
            np.random.seed(number)
            torch.manual_seed(number)
            place = (index + attempt) % len(self) if attempt else index
            try:
                return self.dataset[place]
            except Exception:  # BasicSR's datasets do not say which file it was
                problem = _unreadable_file(self.dataset, place)
                if problem is None:
                    raise
                _warn_once(f'skipped: {problem}')
        raise UserError(f'none of the {len(self)} training images can be read; replace them')


def _unreadable_file(dataset: Any, place: int) -> str | None:
    """What is wrong with a file of a sample of one of BasicSR's datasets; None if nothing is, or if it is unknown."""
    paths = getattr(dataset, 'paths', None)
    if paths is None or 'db_paths' in getattr(dataset, 'io_backend_opt', {}):  # an LMDB
        return None
    for path in paths[place].values() if isinstance(paths[place], dict) else [paths[place]]:
        try:
            read_image(path)
        except UserError as error:
            return str(error)
    return None


@functools.cache
def _warn_once(message: str) -> None:
    logging.getLogger('basicsr').warning(message)


@dataclass(eq=False)
class DrawStream(Sampler):
    """Sampler for a whole run: passes over the dataset without end, each in its own random order.

    The order does not depend on the number of processes: each rank takes its slice of every total batch. A resumed run
    continues the same order.
    """

    size: int  # number of images
    batch_size: int  # samples per rank and iteration
    total_iter: int  # iterations of the whole run
    start_iter: int = 0  # iterations done before, in a resumed run
    seed: int = 0  # the run's manual_seed
    rank: int = 0  # of this process
    world_size: int = 1  # number of ranks

    def __len__(self) -> int:
        return max(0, self.total_iter - self.start_iter) * self.batch_size

    def __iter__(self) -> Iterator[Draw]:
        order, order_of = np.empty(0, int), -1
        for iteration in range(self.start_iter, self.total_iter):
            first = (iteration * self.world_size + self.rank) * self.batch_size
            for number in range(first, first + self.batch_size):
                lap, place = divmod(number, self.size)
                if lap != order_of:
                    order, order_of = np.random.default_rng([self.seed, lap, 1]).permutation(self.size), lap
                yield Draw(int(order[place]), number)

    def epoch(self, iteration: int) -> int:
        """Number of complete passes over the dataset after ``iteration`` iterations."""
        return iteration * self.world_size * self.batch_size // self.size

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: BasicSR's pipeline calls this, but the order does not depend on epochs."""
