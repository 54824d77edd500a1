"""Stopping a run where it can continue exactly: between two iterations, or in a validation, which is repeated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from basicsr.utils import get_root_logger

from reflash_sr.models.validation import ValidationStopped
from reflash_sr.system import processes
from reflash_sr.system.signals import Stopped, StopSignals


@contextlib.contextmanager
def stop_on_signals(model: Any, start: int, save_freq: int) -> Iterator[None]:
    """Let a model check for Ctrl-C and SIGTERM; all ranks of a run stop after the same iteration, which is saved.

    BasicSR's training loop begins an iteration by updating the learning rate. At this point, the previous iteration has
    been logged, saved and validated; the model raises ``Stopped`` there, so nothing is lost.

    Args:
        model: A model of BasicSR or of a plugin, before the training loop.
        start: Iterations done before this process.
        save_freq: ``logger: save_checkpoint_freq``; the training loop saves these iterations.
    """
    group = processes.control_group()
    update, validate = model.update_learning_rate, model.validation

    def stop_if_asked(iteration: int) -> None:
        number = processes.largest(signals.received, group)
        if not number:
            return
        if iteration > start and iteration % save_freq:
            model.save(0, iteration)
        done = (f'after iteration {iteration:,}, which is saved; continue with --auto_resume' if iteration else
                'before the first iteration; start again')
        stopped = Stopped(number)
        get_root_logger().info('Stopped by %s %s.', stopped, done)
        raise stopped

    def update_learning_rate(current_iter: int, *args: Any, **kwargs: Any) -> None:
        stop_if_asked(current_iter - 1)
        update(current_iter, *args, **kwargs)

    def validation(dataloader: Any, current_iter: int, *args: Any, **kwargs: Any) -> None:
        try:
            validate(dataloader, current_iter, *args, **kwargs)
        except ValidationStopped:
            stop_if_asked(current_iter)

    with StopSignals(several=processes.world_size() > 1) as signals:
        model.update_learning_rate, model.validation = update_learning_rate, validation
        if hasattr(model, 'watch_for_stop'):
            model.watch_for_stop(lambda: signals.received)
        yield
