"""Optimiser of a continued run: settings in the option file override those in the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from basicsr.utils import get_root_logger

OF_SCHEDULERS = ('max_lr', 'min_lr', 'max_momentum', 'base_momentum')  # entries that a cyclic scheduler adds
CYCLED = ('momentum', 'betas')  # what such a scheduler changes in every step


def follow_file(optimiser: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler,
                section: Mapping[str, Any], as_in_file: Sequence[Mapping[str, Any]]) -> None:
    """Give a reloaded optimiser the settings of the option file, and log what has changed.

    A new ``lr`` scales the current learning rate of the schedule. Equal settings keep every value bit for bit.

    Args:
        optimiser: Optimiser with the state of the continued run.
        scheduler: Scheduler of its learning rate, with its progress.
        section: ``train: optim_g`` of the option file: ``type``, ``lr`` and further settings.
        as_in_file: Parameter groups of the optimiser as the option file builds them, before the state was loaded.
    """
    logger = get_root_logger()
    cycled = CYCLED if getattr(scheduler, 'cycle_momentum', False) else ()
    for place, (group, fresh) in enumerate(zip(optimiser.param_groups, as_in_file)):
        for key in dict.fromkeys([*section, *OF_SCHEDULERS]):
            now = 'initial_lr' if key == 'lr' else key
            value, before = _plain(fresh.get(now)), _plain(group.get(now))
            if now not in fresh or key in cycled or before == value:
                continue
            logger.warning('train: optim_g: %s: %s from here on; it was %s.', key, value, before)
            if key == 'lr' and before:
                group['lr'] *= value / before
                scheduler._last_lr[place] *= value / before
            group[now] = value
    scheduler.base_lrs = [group['initial_lr'] for group in optimiser.param_groups]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value  # YAML has lists, torch's defaults are tuples
