"""Stopping a run where it can be continued exactly: between two iterations, or in a validation that is then redone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from basicsr.utils import get_root_logger

from reflash_sr.models.validation import ValidationStopped
from reflash_sr.system import processes
from reflash_sr.system.signals import Stopped, StopSignals


class Stopper:
    """Makes a model of any kind look for signals; all processes of a run stop at the same iteration.

    BasicSR's training loop updates the learning rate first of all in an iteration, when the step before has been
    logged, saved and validated: there a run stops, without a line or number lost.

    Args:
        start: Iterations done before this process.
        save_freq: ``logger: save_checkpoint_freq``; these iterations are saved by the training loop.
    """

    def __init__(self, start: int, save_freq: int):
        self._start = start
        self._save_freq = save_freq
        self._signals = StopSignals(several=processes.world_size() > 1)
        self._group: Any = None
        self._model: Any = None

    def watch(self, model: Any) -> None:
        """Begin to note signals, on behalf of a model; the training loop is about to start."""
        self._model, self._group = model, processes.control_group()
        update, validate = model.update_learning_rate, model.validation
        model.update_learning_rate = lambda current_iter, *args, **kwargs: (self._look(current_iter - 1),
                                                                            update(current_iter, *args, **kwargs))[1]
        model.validation = self._stoppable(validate)
        if hasattr(model, 'watch_for_stop'):
            model.watch_for_stop(lambda: self._signals.received)
        self._signals.install()

    def leave(self) -> None:
        """Put the signal handlers back."""
        self._signals.remove()

    def _stoppable(self, validate: Callable[..., None]) -> Callable[..., None]:

        def validation(dataloader: Any, current_iter: int, *args: Any, **kwargs: Any) -> None:
            try:
                validate(dataloader, current_iter, *args, **kwargs)
            except ValidationStopped:
                self._look(current_iter)

        return validation

    def _look(self, iteration: int) -> None:
        """Stop after ``iteration``, if any process was asked to; save first what is not saved yet."""
        number = processes.largest(self._signals.received, self._group)
        if not number:
            return
        if iteration > self._start and iteration % self._save_freq:
            self._model.save(0, iteration)
        stopped = Stopped(number)
        if iteration:
            get_root_logger().info('Stopped by %s after iteration %s, which is saved; continue with --auto_resume.',
                                   stopped, f'{iteration:,}')
        else:
            get_root_logger().info('Stopped by %s before the first iteration; start again.', stopped)
        raise stopped
