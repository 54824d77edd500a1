"""Optimisers of a continued run: what the option file says of them holds, whatever it said before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils import get_root_logger


def follow_file(optimiser: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler,
                section: Mapping[str, Any]) -> None:
    """Give a reloaded optimiser the settings of the option file, and say what has changed.

    Another ``lr`` scales the learning rate that the schedule has come to. The same settings leave the same bits.

    Args:
        optimiser: With the state of the run that is continued.
        scheduler: Of its learning rate.
        section: ``train: optim_g``: ``type``, ``lr``, and what else it sets.
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
