"""Ctrl-C and SIGTERM: noted when they come, acted upon where a run can be continued exactly."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
SAME_PRESS_S = 3.0  # a terminal and torchrun both hand on one Ctrl-C
WORKER_GRACE_S = 30.0  # for the step in which the signal came and the batch after it


class Stopped(KeyboardInterrupt):
    """A run that was asked to stop, and saved first.

    Attributes:
        exit_status: 130 for Ctrl-C (SIGINT), 143 for SIGTERM, as shells count.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


class StopSignals:
    """Notes SIGINT and SIGTERM instead of stopping at once; a second Ctrl-C stops at once.

    Handlers that are not Python's own stay: a program around the run (a scheduler's, for one) knows better. The same
    holds outside of the main thread.

    Args:
        several: The run has several processes: one Ctrl-C may reach each of them twice, from the terminal and from the
            launcher.
    """

    def __init__(self, several: bool = False):
        self.received = 0
        self._several = several
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Begin to note signals."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, default in DEFAULTS.items():
            if signal.getsignal(number) == default:
                self._before[number] = signal.signal(number, self._note)

    def remove(self) -> None:
        """Put the handlers back that were there."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.received == signal.SIGINT == number
        if again and not (self._several and time.monotonic() - self._since < SAME_PRESS_S):
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a third one does not even wait for Python
            raise KeyboardInterrupt
        if not self.received:
            self.received, self._since = int(number), time.monotonic()


def leave_quietly_while_a_command_is_imported() -> None:
    """Make Ctrl-C end the process at once, with status 130, until :func:`raise_again` is called.

    Only where this package is imported for one of its own commands (``basicsr``, ``python -m reflash_sr``, a file of
    ``tools/``) and the handler is Python's own. ``KeyboardInterrupt`` would not do: libraries that are being imported
    turn it into errors of other kinds.
    """
    if _is_own_command(sys.argv[0], sys.orig_argv) and _python_handles_ctrl_c():
        signal.signal(signal.SIGINT, _leave_at_once)


def raise_again() -> None:
    """Make Ctrl-C a ``KeyboardInterrupt`` again: for a command that has been imported."""
    if signal.getsignal(signal.SIGINT) is _leave_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_own_command(program: str, words: Sequence[str]) -> bool:
    """Whether a process is ours: by ``sys.argv[0]``, or ``sys.orig_argv`` while a module's package is imported."""
    if program == '-m':
        return ('-m', 'reflash_sr') in itertools.pairwise(words)
    path = Path(program)
    return path.name == 'basicsr' or path.resolve().parent == Path(__file__).resolve().parents[2] / 'tools'


def _python_handles_ctrl_c() -> bool:
    in_main_thread = threading.current_thread() is threading.main_thread()
    return in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _leave_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def leave_to_parent(worker: int, then: Callable[[int], object] | None = None) -> None:
    """Go on working for now: for a loader's worker, which a signal to the whole process group reaches too.

    Args:
        worker: Number of the worker, as ``worker_init_fn`` gets it.
        then: What else is to be done at the start of a worker.
    """
    if then is not None:
        then(worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_later)


def _leave_later(number: int, frame: FrameType | None) -> None:
    timer = threading.Timer(WORKER_GRACE_S, os._exit, (0,))
    timer.daemon = True
    timer.start()
