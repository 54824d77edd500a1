"""Progress of a run: log lines, and a progress bar in a terminal."""

from __future__ import annotations

import datetime
import functools
import logging
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from reflash_sr.system.signals import ignore_signals, workers_start
from reflash_sr.system.workers import go_behind


def open_log(**arguments: Any) -> logging.Logger:
    """BasicSR's ``get_root_logger``; the log file is UTF-8 on every system, and a full disk does not end the run."""
    logger = get_root_logger(**arguments)
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream:
            handler.stream.reconfigure(encoding='utf-8', errors='backslashreplace')
    survive_full_disk(logger)
    return logger


def for_workers(then: Callable[[int], object] | None = None, behind: bool = False) -> Callable[[int], None]:
    """A ``worker_init_fn`` for a loader of the run: signals are left to the main process, messages go into its log.

    Args:
        then: Another ``worker_init_fn`` to call.
        behind: Whether the network computes on the cores of the workers; then they go behind it (:func:`go_behind`).
    """
    logger = logging.getLogger('basicsr')
    return functools.partial(ignore_signals, then=functools.partial(_start, _files(logger), logger.level, then, behind))


def _start(files: Sequence[str], level: int, then: Callable[[int], object] | None, behind: bool, worker: int) -> None:
    """Let a worker log as the run does; a forked one does so by itself, one that was started otherwise has no log."""
    if behind:
        go_behind()
    logger = get_root_logger()
    logger.setLevel(level)
    for path in sorted({*files} - {*_files(logger)}):
        handler = logging.FileHandler(path, encoding='utf-8', errors='backslashreplace')
        handler.setFormatter(logger.handlers[0].formatter)
        logger.addHandler(handler)
    if then is not None:
        then(worker)


def _files(logger: logging.Logger) -> list[str]:
    return [handler.baseFilename for handler in logger.handlers if isinstance(handler, logging.FileHandler)]


def survive_full_disk(logger: logging.Logger) -> None:
    """If a log file becomes unwritable, warn once instead of printing a traceback for every line."""
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = functools.partial(_give_up, handler)  # type: ignore[method-assign]  # of this one


def _give_up(handler: logging.FileHandler, record: logging.LogRecord) -> None:
    print(f'warning: {handler.baseFilename}: cannot be written any more ({sys.exc_info()[1]}); the run continues '
          'without it', file=sys.stderr)
    handler.setLevel(logging.CRITICAL + 1)


class ProgressLogger:
    """Replaces BasicSR's ``MessageLogger``; logs it/s, time left, and the shares of data loading and training step.

    Args:
        opt: The run's options.
        tb_logger: TensorBoard's writer, or None.
        epoch_of: Function from an iteration to the number of passes over the data.
    """

    def __init__(self, opt: dict[str, Any], tb_logger: Any, epoch_of: Callable[[int], int]):
        self.name = opt['name']
        self.total = opt['train']['total_iter']
        self.tb_logger = tb_logger
        self.epoch_of = epoch_of

    def reset_start_time(self) -> None:
        """Do nothing, because the time left is computed from the last steps."""

    @master_only
    def __call__(self, values: dict[str, Any]) -> None:
        """Log one line.

        Args:
            values: ``iter``, ``lrs``, ``time`` and ``data_time`` (seconds per iteration), and losses.
        """
        iteration = values['iter']
        seconds = max(values['time'], 1e-9)
        data = min(1.0, values['data_time'] / seconds)
        left = datetime.timedelta(seconds=round(seconds * (self.total - iteration)))
        speed = f'{1 / seconds:.2f} it/s' if seconds < 1 else f'{seconds:.2f} s/it'
        rates = ', '.join(f'{rate:.2e}' for rate in values['lrs'])
        losses = {k: v for k, v in values.items() if k not in ('iter', 'epoch', 'lrs', 'time', 'data_time')}
        get_root_logger().info(
            '%s: iter %s/%s, epoch %d, lr %s | %s, eta %s, data %.0f%% step %.0f%% | %s', self.name, f'{iteration:,}',
            f'{self.total:,}', self.epoch_of(iteration), rates, speed, left, 100 * data, 100 * (1 - data),
            ', '.join(f'{k} {v:.4e}' for k, v in losses.items()))
        if self.tb_logger:
            for key, value in losses.items():
                self.tb_logger.add_scalar(f'losses/{key}' if key.startswith('l_') else key, value, iteration)


class Batches:
    """A loader with a progress bar, whose workers start when the first batch is requested.

    BasicSR's prefetcher creates two iterators before it uses one; a plain loader would start its workers twice.
    """

    def __init__(self, loader: Iterable, done: int, total: int, show: bool):
        self.loader = loader
        self.done = done
        self.total = total
        self.show = show
        self._iterators: list[Generator] = []

    def __iter__(self) -> Generator[Any, None, None]:
        self._iterators.append(self._iterate())
        return self._iterators[-1]

    def close(self) -> None:
        """Stop the loader's workers."""
        for iterator in self._iterators:
            iterator.close()
        self.loader = ()

    def _iterate(self) -> Generator[Any, None, None]:
        bar = tqdm(desc='Training', initial=self.done, total=self.total, unit='it', disable=None if self.show else True)
        with logging_redirect_tqdm([get_root_logger()]), bar:
            with workers_start():
                batches = iter(self.loader)
            for batch in batches:
                yield batch
                bar.update()
