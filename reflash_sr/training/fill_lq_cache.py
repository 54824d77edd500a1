"""Fills the LQ cache (``pairs_cache``) of a training set before the run starts."""

from __future__ import annotations

import datetime
import logging
import time
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from reflash_sr.data.draw_stream import DrawStream
from reflash_sr.data.lq_cache import BLOCK, PairsCache
from reflash_sr.errors import UserError
from reflash_sr.system.signals import ignore_signals

SAY_EVERY_S = 30

logger = logging.getLogger('basicsr')


def make_pairs(dataset: Any, draws: int, workers: int) -> None:
    """Make the patches that a run needs and that the cache lacks.

    Runs that start together share the work. Patches that another run is making now are not waited for: the dataset
    makes them itself if it needs them earlier.

    Args:
        dataset: The training set; without a cache nothing is done.
        draws: How many the run takes, from the first.
        workers: Processes; 0 for this one.

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
    logger.info('Degraded pairs: %s; %s of %s are there.', cache.folder, f'{there * BLOCK:,}', wanted)
    # A generator of its own: from the global one initial weights are drawn next, and a loader would take a number.
    loader = DataLoader(_Blocks(dataset, missing), batch_size=None, num_workers=workers, worker_init_fn=ignore_signals,
                        generator=torch.Generator())
    start = said = time.monotonic()
    for done, problem in enumerate(loader, 1):
        if problem is not None:
            raise UserError(problem)
        now = time.monotonic()
        if now - said > SAY_EVERY_S:
            said = now
            left = datetime.timedelta(seconds=round((now - start) / done * (len(missing) - done)))
            logger.info('Degraded pairs: %s of %s, eta %s', f'{(there + done) * BLOCK:,}', wanted, left)


class _Blocks(Dataset):
    """Makes and writes blocks, in the loader's workers; an item is an error message, or None."""

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
                    patches = [self.dataset[draw]['lq'].numpy().transpose(1, 2, 0) * 255 for draw in draws]
                    cache.save(block, np.rint(patches).astype(np.uint8))
        except UserError as error:  # torch would make several lines of it
            return str(error)
        return None
