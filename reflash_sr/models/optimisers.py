"""Optimiser of a continued run: settings in the option file override those in the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils import get_root_logger


def follow_file(optimiser: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler,
                section: Mapping[str, Any]) -> None:
    """Give a reloaded optimiser the settings of the option file, and log what has changed.

    A new ``lr`` scales the current learning rate of the schedule. Equal settings keep every value bit for bit.

    Args:
        optimiser: Optimiser with the state of the continued run.
        scheduler: Scheduler of its learning rate.
        section: ``train: optim_g`` of the option file: ``type``, ``lr`` and further settings.
    """
    logger = get_root_logger()
    for group in optimiser.param_groups:
        for key, value in section.items():
            now = 'initial_lr' if key == 'lr' else key
            before = group.get(now, value)
            if (list(before) if isinstance(before, tuple) else before) == value:
                continue
            logger.warning('train: optim_g: %s: %s from here on; it was %s.', key, value, before)
            if key == 'lr':
                group['lr'] = group['lr'] * value / before if before else value
            group[now] = value
    scheduler.base_lrs = [group['initial_lr'] for group in optimiser.param_groups]
