"""Optimiser of a continued run: settings in the option file override those in the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from basicsr.utils import get_root_logger

# Entries of a parameter group: those that a scheduler adds, and those that it changes in every step if it has added
# a momentum.
OF_SCHEDULERS = ('initial_lr', 'max_lr', 'min_lr', 'max_momentum', 'base_momentum')
CYCLED = ('momentum', 'betas')


def follow_file(optimiser: torch.optim.Optimizer, section: Mapping[str, Any],
                as_in_file: Sequence[Mapping[str, Any]]) -> None:
    """Give a reloaded optimiser the settings of the option file, and log what has changed.

    The present learning rate is the scheduler's (:func:`reflash_sr.models.schedulers.follow_schedule`).

    Args:
        optimiser: Optimiser with the state of the continued run.
        section: ``train: optim_g`` of the option file: ``type``, ``lr`` and further settings.
        as_in_file: Parameter groups of the optimiser as the option file builds them, before the state was loaded.
    """
    logger = get_root_logger()
    for group, fresh in zip(optimiser.param_groups, as_in_file):
        cycled = CYCLED if 'max_momentum' in fresh else ()
        for key in dict.fromkeys([*section, *OF_SCHEDULERS, *CYCLED]):
            value, before = _plain(fresh.get(key)), _plain(group.get(key))
            if key not in fresh or key == 'lr' or key in cycled or before == value:
                continue
            name = key.removeprefix('initial_')
            logger.warning('train: optim_g: %s: %s from here on; it was %s.', name, value, before)
            group[key] = value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value  # YAML has lists, torch's defaults are tuples
