"""Learning-rate schedulers: those of BasicSR and of torch, their warm-up, and continuing them."""

from __future__ import annotations

import warnings
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


def follow_schedule(scheduler: LRScheduler, state: Mapping[str, Any], as_in_file: Sequence[Mapping[str, Any]]) -> None:
    """Bring a new scheduler to where a saved one was; its settings are those of the option file.

    If the settings are those of the saved one, its progress is taken. Otherwise the schedule of the file is run through
    from its start, since most schedulers compute a learning rate from the one before.

    Args:
        scheduler: New scheduler, whose optimiser has the state of the continued run.
        state: State of the saved scheduler.
        as_in_file: Parameter groups of the optimiser as the option file builds them.
    """
    if all(value == state.get(key) for key, value in scheduler.state_dict().items() if key not in PROGRESS):
        vars(scheduler).update({key: state[key] for key in PROGRESS if key in state})
        return
    for group, fresh in zip(scheduler.optimizer.param_groups, as_in_file):
        group['lr'] = fresh['lr']
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Detected call of `lr_scheduler.step', UserWarning)  # no optimiser step yet
        for _ in range(state['last_epoch']):
            scheduler.step()


def end_warmup_step(schedulers: Sequence[LRScheduler]) -> None:
    """Give the optimisers the learning rates of their schedules again, before the schedulers go on.

    The warm-up of BasicSR overwrites the learning rate, and most schedulers compute the next value from the present
    one: without this call, the schedule would go on from the last value of the warm-up.
    """
    for scheduler in schedulers:
        for group, lr in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr()):
            group['lr'] = lr


def keep_to_schedule(model: Any) -> None:
    """Let a model of BasicSR have the learning rates of its file, as :class:`ReflashSRModel` does.

    That is after a warm-up, and in a continued run whose file has another schedule.
    """
    update, resume = model.update_learning_rate, model.resume_training

    def update_learning_rate(current_iter: int, warmup_iter: int = -1) -> None:
        if 1 < current_iter <= warmup_iter:
            end_warmup_step(model.schedulers)
        update(current_iter, warmup_iter=warmup_iter)

    def resume_training(resume_state: Mapping[str, Any]) -> None:
        as_in_file = [[dict(group) for group in optimiser.param_groups] for optimiser in model.optimizers]
        resume({**resume_state, 'schedulers': [one.state_dict() for one in model.schedulers]})
        for arguments in zip(model.schedulers, resume_state['schedulers'], as_in_file):
            follow_schedule(*arguments)

    model.update_learning_rate, model.resume_training = update_learning_rate, resume_training
