"""Ctrl-C and SIGTERM: during a run, in worker processes, and while a command is imported."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

DEFAULTS: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
SAME_PRESS_S = 3.0  # the terminal and torchrun each send a signal for the same Ctrl-C
OWN_PROGRAM = re.compile(r'(basicsr|reflash-sr)(\.exe|-script\.py)?', re.IGNORECASE)
WORKER_GRACE_S = 30.0  # time to finish the current step and the next batch


class Stopped(KeyboardInterrupt):
    """A run stopped on a signal, after it saved its state; ``exit_status`` is 130 for SIGINT, 143 for SIGTERM."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


class StopSignals:
    """Inside the ``with``, SIGINT and SIGTERM are only recorded; a second Ctrl-C stops at once.

    Handlers other than Python's default stay in place, for example those of a scheduler around the run. Outside the
    main thread nothing is recorded.

    Args:
        several: Whether the run has several processes; then one Ctrl-C may reach each of them twice.

    Attributes:
        received: The first signal; 0 before.
    """

    def __init__(self, several: bool = False):
        self.received = 0
        self._again_after = SAME_PRESS_S if several else 0.0
        self._since = 0.0
        self._noted: list[signal.Signals] = []

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._noted = [number for number, default in DEFAULTS.items() if signal.getsignal(number) == default]
        for number in self._noted:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number in self._noted:
            signal.signal(number, DEFAULTS[number])

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number and time.monotonic() - self._since >= self._again_after:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a third Ctrl-C ends the process even if Python is blocked
            raise KeyboardInterrupt
        if not self.received:
            self.received, self._since = number, time.monotonic()


def ignore_signals(worker: int, then: Callable[[int], object] | None = None) -> None:
    """A ``worker_init_fn`` that keeps a DataLoader worker alive when a signal reaches the whole process group.

    The main process stops the workers. ``then`` is another ``worker_init_fn`` to call.
    """
    if then is not None:
        then(worker)
    signal.signal(signal.SIGTERM, _exit_later)
    if hasattr(signal, 'SIGBUS'):
        signal.signal(signal.SIGBUS, signal.SIG_DFL)  # PyTorch's prints a line and a NUL; the run says what it was
    ignore_ctrl_c()


def ignore_ctrl_c() -> None:
    """Ignore SIGINT in a worker process, and receive SIGTERM again if it began inside :func:`workers_start`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, DEFAULTS)


@contextlib.contextmanager
def workers_start() -> Iterator[None]:
    """Block SIGINT and SIGTERM inside the ``with``; this process gets them at its end.

    The processes that start inside inherit the block until they call :func:`ignore_signals` or :func:`ignore_ctrl_c`.
    Unless they are forked, they import PyTorch first, for seconds, and a signal would end them with a traceback.
    Windows has no such block; there a worker ignores Ctrl-C from the import of this package on. A fork server would
    keep the block for all that it ever starts, so in other people's programs nothing is blocked if there is one.

    The handler of SIGCHLD stays what it is. PyTorch's raises an error wherever this process is when a worker dies, for
    instance while it writes a checkpoint; without it, the error comes where the worker's next batch is asked for.
    """
    if not hasattr(signal, 'pthread_sigmask'):
        yield
        return
    method = multiprocessing.get_start_method()
    if method != 'fork':
        from multiprocessing import resource_tracker  # POSIX only
        resource_tracker.ensure_running()  # starting it inside would unblock both, before Python 3.13
        multiprocessing.set_forkserver_preload(['__main__', 'reflash_sr'])  # one import for all, and one memory
    blocked = DEFAULTS if IN_OWN_COMMAND or method != 'forkserver' else ()
    before, of_children = signal.pthread_sigmask(signal.SIG_BLOCK, blocked), signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, of_children)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def exit_on_ctrl_c_during_import() -> None:
    """Make Ctrl-C end the process at once, with status 130, until :func:`restore_ctrl_c` is called.

    Only for this package's own commands, and only if the handler is Python's default. ``KeyboardInterrupt`` is not
    enough: some libraries turn it into another error while they are imported. A worker process of the command, which
    imports it again, ignores Ctrl-C.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if is_own_command() and in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        is_worker = multiprocessing.current_process().name != 'MainProcess'
        signal.signal(signal.SIGINT, signal.SIG_IGN if is_worker else _exit_at_once)


def is_own_command() -> bool:
    """Whether Python runs ``basicsr``, ``reflash-sr``, ``python -m reflash_sr`` or a file of ``tools/``."""
    if sys.argv[0] == '-m':  # Python's value while it imports the package of 'python -m'
        return ('-m', 'reflash_sr') in itertools.pairwise(sys.orig_argv)
    program, tools = Path(sys.argv[0]), Path(__file__).resolve().parents[2] / 'tools'
    return OWN_PROGRAM.fullmatch(program.name) is not None or program.resolve().parent == tools


IN_OWN_COMMAND = is_own_command()  # later, python -m has another sys.argv[0]


def restore_ctrl_c() -> None:
    """Make Ctrl-C raise ``KeyboardInterrupt`` again, after a command is imported."""
    if signal.getsignal(signal.SIGINT) is _exit_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _exit_later(number: int, frame: FrameType | None) -> None:
    timer = threading.Timer(WORKER_GRACE_S, os._exit, (0,))
    timer.daemon = True
    timer.start()
