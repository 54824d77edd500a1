"""One stream of draws for a whole run: a sample depends on the seed and its place in the stream alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler


class Draw(int):
    """An index into a dataset that also says which draw of the run it is.

    Attributes:
        number: Place in the stream, from 0. It travels to the loader's workers with the index.
    """

    number: int

    def __new__(cls, index: int, number: int) -> Draw:
        draw = super().__new__(cls, index)
        draw.number = number
        return draw

    def __reduce__(self) -> tuple:
        return Draw, (int(self), self.number)


def draw_rng(index: int, seed: int) -> np.random.Generator:
    """The randomness of one sample.

    Args:
        index: A :class:`Draw`; or a plain index, as another project's sampler gives it: then the numbers come from
            torch's generator, which a loader seeds anew for every epoch and worker.
        seed: The run's ``manual_seed``.
    """
    number = getattr(index, 'number', None)
    if number is None:
        number = int(torch.randint(2**62, ()))
    return np.random.default_rng([seed, number])


class SeededDraws(Dataset):
    """Makes another project's dataset depend on seed and draw alone, by seeding the generators that it may use.

    Args:
        dataset: Draws from ``random``, numpy's or torch's global generator.
        seed: The run's ``manual_seed``.
    """

    def __init__(self, dataset: Dataset, seed: int):
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        number = int(draw_rng(index, self.seed).integers(2**32))
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        return self.dataset[index]


class DrawStream(Sampler):
    """Sampler for a whole run: pass after pass over the dataset, each in an order of its own.

    The stream is that of one process with the total batch; each process takes its slice of every batch. A run that is
    continued starts in the middle of the stream.

    Args:
        size: Number of images.
        batch_size: Samples per process and iteration.
        total_iter: Iterations of the whole run.
        start_iter: Iterations that are done already.
        seed: The run's ``manual_seed``.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(self,
                 size: int,
                 batch_size: int,
                 total_iter: int,
                 start_iter: int = 0,
                 seed: int = 0,
                 rank: int = 0,
                 world_size: int = 1):
        self.size = size
        self.batch_size = batch_size
        self.total_iter = total_iter
        self.start_iter = start_iter
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return max(0, self.total_iter - self.start_iter) * self.batch_size

    def __iter__(self) -> Iterator[Draw]:
        order, order_of = None, None
        for iteration in range(self.start_iter, self.total_iter):
            first = (iteration * self.world_size + self.rank) * self.batch_size
            for number in range(first, first + self.batch_size):
                lap, place = divmod(number, self.size)
                if lap != order_of:
                    order, order_of = np.random.default_rng([self.seed, lap, 1]).permutation(self.size), lap
                yield Draw(int(order[place]), number)

    def epoch(self, iteration: int) -> int:
        """Passes over the dataset that are complete after ``iteration`` iterations."""
        return iteration * self.world_size * self.batch_size // self.size

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: BasicSR's pipeline announces epochs, and this sampler needs none."""
