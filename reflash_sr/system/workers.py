"""Worker processes: one line where the machine, and not the input, ends them or lets none start."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import traceback
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path
from typing import Any

from reflash_sr.errors import RunError, UserError

SHARED_MEMORY = Path('/dev/shm')  # where Linux keeps it; 64 MB in a container of Docker
MORE_SHARED_MEMORY = 'give more (docker run --shm-size=1g, or --ipc=host)'
ENDING_S = 5  # a worker that no longer answers may take so long to end
# What errors of workers say, the first that fits; what it means; what helps. They are anchored, because a dataset may
# say the same words of something else: then its traceback must be seen.
_DIED, _CAUGHT = r'^DataLoader worker \(pid.* is killed by signal: ', '^in a worker: '
_CAUSES = (
    (rf'^Too many open files\.|{_CAUGHT}OSError: \[Errno 24\]|</torch_.*Too many open files|items of ancdata',
     'too many files are open', '{fewer}, or raise the limit with ulimit -n'),
    (rf'^(?:in a worker: OSError: )?\[Errno 12\]|</torch_.*Cannot allocate memory|{_DIED}Killed|'
     rf'{_CAUGHT}(?:[\w.]*MemoryError|cv2\.error: .*-4:Insufficient memory|RuntimeError: .*DefaultCPUAllocator)',
     'a worker was killed or got no memory, as when main memory runs out', '{fewer}, or free memory'),
    (rf"^\[Errno \d+\] Resource temporarily unavailable|^can't start new thread|{_CAUGHT}.*can't start new thread",
     'no further process can be started', '{fewer}, or raise the limit (ulimit -u, docker run --pids-limit)'),
    (r'</torch_\d', 'a worker ran out of shared memory{size}', f'{{fewer}}, or {MORE_SHARED_MEMORY}'),
    (f'{_DIED}Bus error', 'a worker ended with a bus error, as when shared memory runs out{size}',
     f'{{fewer}}, or {MORE_SHARED_MEMORY}'),
    (rf"{_CAUGHT}\w*Error: (\[Errno (?:5|28|122)\] .+|\[Errno \d+\] .+: '.*')", r'a worker cannot go on: \1',
     'mend what it names'),
    (rf'{_DIED}([\w ]+)', r'a worker was ended by a signal: \1', '{fewer}, or look at the lines above'),
    (r'^DataLoader worker .*exited unexpectedly|^A (?:child )?process .*terminated abruptly',
     'a worker was ended, most often because main memory ran out', '{fewer}, or free memory'),
)


@contextlib.contextmanager
def named_ends(option: str, fewer: str, again: str) -> Iterator[None]:
    """Replace the error of a worker that the machine has ended by one line.

    Args:
        option: Name of the number of workers, as the user writes it.
        fewer: What to write for fewer workers.
        again: How to continue.

    Raises:
        RunError: A worker ended for lack of shared memory, main memory, open files or processes, or by a signal.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = list(_texts(error))
        for sign, what, remedy in _CAUSES:
            found = next(filter(None, (re.search(sign, text) for text in said)), None)
            if found:
                what = found.expand(what).replace('{size}', _size())
                raise RunError(f'{option}: {what}; {remedy.format(fewer=fewer)}. {again}') from error
        raise


def go_behind() -> None:
    """Let this process compute when others of the same user leave a core free: the lowest priority, where there is one.

    A network on a CPU computes in threads that wait for each other. A worker that shares the core of one of them slows
    all; behind them, it works while the network waits for its batch.
    """
    if hasattr(os, 'nice'):
        with contextlib.suppress(OSError):
            os.nice(19)


def check_start(option: str, *remedies: str) -> None:
    """Raise ``UserError`` if worker processes cannot start here, because there is no shared memory for their locks.

    Args:
        option: Name of the number of workers, as the user writes it.
        remedies: What helps besides more shared memory.
    """
    try:
        multiprocessing.Lock()
    except (OSError, ImportError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise UserError(f'{option}: no worker can start here: there is no shared memory for its locks ({reason}: '
                        f'{SHARED_MEMORY}); {", or ".join([*remedies, MORE_SHARED_MEMORY])}') from error


def free_shared_memory() -> int | None:
    """Bytes of shared memory that are free; None if there is no limit that is known."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(SHARED_MEMORY).free
    return None


def _size() -> str:
    with contextlib.suppress(OSError):
        return f' ({SHARED_MEMORY} has {shutil.disk_usage(SHARED_MEMORY).total / 1e6:,.1f} MB)'
    return ''


def _texts(error: BaseException | None) -> Iterator[str]:
    """What an error says and those that led to it, and in PyTorch's words how the workers of a DataLoader ended.

    Of an error inside a worker it is the last line: what led to it there may be what a dataset has dealt with.
    """
    while error is not None:
        text = str(error)
        is_caught = re.match(r'Caught \w+ in DataLoader worker', text)  # with the traceback in the worker
        yield f'in a worker: {text.strip().splitlines()[-1]}' if is_caught else text
        loaders = [frame.f_locals.get('self') for frame, _ in traceback.walk_tb(error.__traceback__)
                   if frame.f_globals.get('__name__') == 'torch.utils.data.dataloader']
        workers: list[Any] = next((found for found in (getattr(one, '_workers', None) for one in loaders) if found), [])
        if workers and not is_caught:
            connection.wait([worker.sentinel for worker in workers], ENDING_S)
            for worker in workers:
                if (worker.exitcode or 0) < 0:
                    name = signal.strsignal(-worker.exitcode)
                    yield f'DataLoader worker (pid {worker.pid}) is killed by signal: {name}'
            if isinstance(error, (ConnectionError, EOFError)):  # a batch broke off
                yield 'DataLoader worker exited unexpectedly'
        error = error.__cause__ or error.__context__
