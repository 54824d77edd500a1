"""Learning-rate schedulers: those of BasicSR and of torch, their warm-up, and continuing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from reflash_sr.options.known_keys import SCHEDULERS

# What changes while a scheduler runs; everything else in its state is a setting, which the option file decides.
PROGRESS = ('last_epoch', '_step_count', '_last_lr', 'T_cur', 'T_i')


def build_scheduler(optimiser: torch.optim.Optimizer, section: Mapping[str, Any]) -> LRScheduler:
    """Build the scheduler that ``train: scheduler`` names in ``type``, with its arguments."""
    arguments = dict(section)
    return SCHEDULERS[arguments.pop('type')](optimiser, **arguments)


def with_progress(scheduler: LRScheduler, state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a new scheduler, whose settings are those of the option file, with the progress of a saved one."""
    return scheduler.state_dict() | {key: state[key] for key in PROGRESS if key in state}


def end_warmup_step(schedulers: Sequence[LRScheduler]) -> None:
    """Give the optimisers the learning rates of their schedules again, before the schedulers go on.

    The warm-up of BasicSR overwrites the learning rate, and most schedulers compute the next value from the present
    one: without this call, the schedule would go on from the last value of the warm-up.
    """
    for scheduler in schedulers:
        for group, lr in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr()):
            group['lr'] = lr


def keep_schedule_in_warmup(model: Any) -> None:
    """Let a model of BasicSR return to its schedule after the warm-up, as :class:`ReflashSRModel` does."""
    update = model.update_learning_rate

    def update_learning_rate(current_iter: int, warmup_iter: int = -1) -> None:
        if 1 < current_iter <= warmup_iter:
            end_warmup_step(model.schedulers)
        update(current_iter, warmup_iter=warmup_iter)

    model.update_learning_rate = update_learning_rate
