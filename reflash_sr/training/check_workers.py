"""A check of the shared memory through which the workers of the training set hand over their batches."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from reflash_sr.errors import UserError
from reflash_sr.system import workers as worker_processes

OPTION = 'datasets: train: num_worker_per_gpu'
FEWER = 'write num_worker_per_gpu: 0'
AHEAD = 2  # batches that DataLoader lets a worker make in advance


def check_workers(section: Mapping[str, Any], sample: Any) -> None:
    """Check that the workers can start, and that the shared memory has room for a batch; warn if not for all.

    Args:
        section: ``datasets: train`` of the expanded options.
        sample: A sample of the training set, which gives the size of a batch if it is a mapping.

    Raises:
        UserError: No worker can start, or no batch can be handed over.
    """
    workers, free = section['num_worker_per_gpu'], worker_processes.free_shared_memory()
    if not workers:
        return
    worker_processes.check_start(OPTION, FEWER)
    if free is None:
        return
    values = sample.values() if isinstance(sample, Mapping) else ()
    batch = section['batch_size_per_gpu'] * sum(value.nbytes for value in values
                                                if isinstance(value, (torch.Tensor, np.ndarray)))
    ranks = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    waiting = section.get('num_prefetch_queue', 1) + 1 if section.get('prefetch_mode') == 'cpu' else 0
    most = ranks * (workers * AHEAD + waiting + 1)  # one is in use
    where = f'{OPTION}: {workers}: {worker_processes.SHARED_MEMORY} has {free / 1e6:,.1f} MB of shared memory free'
    if batch > free:
        raise UserError(f'{where}, and a batch takes {batch / 1e6:,.1f} MB; {FEWER}, or '
                        f'{worker_processes.MORE_SHARED_MEMORY}')
    if most * batch > free and os.environ.get('LOCAL_RANK', '0') == '0':  # once on each machine
        logging.getLogger('basicsr').warning(
            '%s, and the run may fill %.1f MB (%d batches × %.1f MB: %d for each worker, and those that wait or are in '
            'use); if it ends for want of it, %s, or %s', where, most * batch / 1e6, most, batch / 1e6, AHEAD, FEWER,
            worker_processes.MORE_SHARED_MEMORY)
