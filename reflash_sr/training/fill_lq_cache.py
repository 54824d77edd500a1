"""Fills the LQ cache (``pairs_cache``) of a training set before the run starts."""

from __future__ import annotations

import datetime
import logging
import time
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from reflash_sr.data.lq_cache import BLOCK, PairsCache
from reflash_sr.data.seeded_sampler import DrawStream
from reflash_sr.data.training_dataset import to_tensor
from reflash_sr.errors import UserError
from reflash_sr.system.signals import workers_start
from reflash_sr.training.progress import for_workers

SAY_EVERY_S = 30

logger = logging.getLogger('basicsr')


def make_pairs(dataset: Any, draws: int, workers: int) -> None:
    """Make the LQ patches of a run that the cache does not contain.

    Runs that start together share the work. This function does not wait for patches that another run is making; the
    dataset makes them itself if it needs them earlier.

    Args:
        dataset: The training set; without a cache, nothing is done.
        draws: Number of draws of the run, from the first.
        workers: Number of worker processes; 0: this process.

    Raises:
        UserError: The folder is not writable.
    """
    cache: PairsCache | None = getattr(dataset, 'pairs', None)
    if cache is None:
        return
    cache.open()
    count = -(-draws // BLOCK)
    missing = [block for block in range(count) if cache.load(block) is None]
    there, wanted = count - len(missing), f'{count * BLOCK:,}'
    logger.info('Degraded pairs: %s; %s of %s exist.', cache.folder, f'{there * BLOCK:,}', wanted)
    # With the global generator, the loader would draw a number and so change the initial weights.
    loader = DataLoader(_Blocks(dataset, missing), batch_size=None, num_workers=workers, worker_init_fn=for_workers(),
                        generator=torch.Generator())
    start = said = time.monotonic()
    with workers_start():
        problems = iter(loader)
    for done, problem in enumerate(problems, 1):
        if problem is not None:
            raise UserError(problem)
        now = time.monotonic()
        if now - said > SAY_EVERY_S:
            said = now
            left = datetime.timedelta(seconds=round((now - start) / done * (len(missing) - done)))
            logger.info('Degraded pairs: %s of %s, eta %s', f'{(there + done) * BLOCK:,}', wanted, left)


class _Blocks(Dataset):
    """Makes and writes blocks in the loader's workers; an item is an error message, or None."""

    def __init__(self, dataset: Any, blocks: list[int]):
        self.dataset = dataset
        self.blocks = blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, place: int) -> str | None:
        block, cache = self.blocks[place], self.dataset.pairs
        try:
            with cache.making(block) as mine:
                if mine:
                    draws = DrawStream(len(self.dataset), BLOCK, block + 1, block, self.dataset.seed)
                    patches = [to_tensor(self.dataset.draw(draw)[1]).numpy().transpose(1, 2, 0) * 255 for draw in draws]
                    cache.save(block, np.rint(patches).astype(np.uint8))
        except UserError as error:  # if raised, torch would turn it into several lines
            return str(error)
        return None
