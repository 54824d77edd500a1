"""Makes the LQ patches of a run before it starts, where its data has a ``pairs_cache``."""

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
    """Make the patches that a run needs and that are not there.

    Runs that start together share the work. Patches that another run is making just now are not waited for: the
    dataset makes them itself where it comes to need them earlier.

    Args:
        dataset: The training set; nothing is done where it has no cache.
        draws: How many the run takes, from the first.
        workers: Processes; 0 for this one.

    Raises:
        UserError: The folder cannot be written to.
    """
    cache: PairsCache | None = getattr(dataset, 'pairs', None)
    if cache is None:
        return
    cache.open()
    count = -(-draws // BLOCK)
    missing = [block for block in range(count) if cache.load(block) is None]
    logger.info('Degraded pairs: %s; %s of %s are there.', cache.folder, f'{(count - len(missing)) * BLOCK:,}',
                f'{count * BLOCK:,}')
    # A generator of its own: from the global one initial weights are drawn next, and a loader would take a number.
    loader = DataLoader(_Blocks(dataset, missing), batch_size=None, num_workers=workers, worker_init_fn=ignore_signals,
                        generator=torch.Generator())
    start = said = time.monotonic()
    for done, trouble in enumerate(loader, 1):
        if trouble is not None:
            raise UserError(trouble)
        now = time.monotonic()
        if now - said > SAY_EVERY_S:
            said = now
            left = datetime.timedelta(seconds=round((now - start) / done * (len(missing) - done)))
            logger.info('Degraded pairs: %s of %s, eta %s', f'{(count - len(missing) + done) * BLOCK:,}',
                        f'{count * BLOCK:,}', left)


class _Blocks(Dataset):
    """Makes and writes whole blocks, in the loader's workers; an item is what went wrong, or None."""

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
                    stream = DrawStream(len(self.dataset), BLOCK, block + 1, block, self.dataset.seed)
                    cache.save(block, np.stack([self._patch(draw) for draw in stream]))
        except UserError as error:  # torch would make several lines of it
            return str(error)
        return None

    def _patch(self, draw: Any) -> np.ndarray:
        lq = self.dataset[draw]['lq'].numpy()
        return np.rint(lq.transpose(1, 2, 0) * 255).astype(np.uint8)
