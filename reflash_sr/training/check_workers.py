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
from reflash_sr.training.preflight import draw_one

OPTION = 'datasets: train: num_worker_per_gpu'
FEWER = 'write num_worker_per_gpu: 0'
AHEAD = 2  # batches that DataLoader lets a worker make in advance


def check_workers(section: Mapping[str, Any], dataset: Any) -> None:
    """Check that the workers can start, and that the shared memory has room for a batch; warn if not for all.

    Args:
        section: ``datasets: train`` of the expanded options.
        dataset: The training set. The size of a batch is that of its first sample, which is a mapping.

    Raises:
        UserError: No worker can start, or no batch can be handed over.
    """
    workers, free = section['num_worker_per_gpu'], worker_processes.free_shared_memory()
    if not workers:
        return
    worker_processes.check_start(OPTION, FEWER)
    if free is None:
        return
    sample = draw_one(type(dataset), dataset, 'datasets: train')
    values = sample.values() if isinstance(sample, Mapping) else ()
    batch = section['batch_size_per_gpu'] * sum(value.nbytes for value in values
                                                if isinstance(value, (torch.Tensor, np.ndarray)))
    ranks = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    where = f'{OPTION}: {workers}: {worker_processes.SHARED_MEMORY} has {free / 1e6:,.1f} MB of shared memory free'
    if batch > free:
        raise UserError(f'{where}, and a batch takes {batch / 1e6:,.1f} MB; {FEWER}, or '
                        f'{worker_processes.MORE_SHARED_MEMORY}')
    if ranks * workers * AHEAD * batch > free:
        logging.getLogger('basicsr').warning(
            '%s, and the workers may fill %.1f MB (%d workers × %d batches × %.1f MB); if the run ends for want of it, '
            '%s, or %s', where, ranks * workers * AHEAD * batch / 1e6, ranks * workers, AHEAD, batch / 1e6, FEWER,
            worker_processes.MORE_SHARED_MEMORY)
