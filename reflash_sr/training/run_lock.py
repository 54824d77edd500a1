"""One run at a time in an experiment's folder."""

from __future__ import annotations

import contextlib
import os
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path

from reflash_sr.errors import RunError, UserError
from reflash_sr.system.locks import has_locks, lock

NAME = 'run.lock'


class RunLock:
    """Holds ``run.lock`` in an experiment's folder; the kernel releases it when the process ends.

    filelock's ``FileLock`` is not suitable: many versions empty the file that names the holder, and let forked workers,
    which outlive a killed run by seconds, keep the lock; without file locking, its marker file outlives the run.

    On a system without file locks (Windows) nothing is locked. There a folder cannot be renamed while a run writes its
    log into it; but two runs that continue with ``--auto_resume`` do not notice each other.

    Args:
        folder: The experiment's folder.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self._file: int | None = None
        own = weakref.ref(self)
        if has_locks():
            os.register_at_fork(after_in_child=lambda: run.release() if (run := own()) else None)

    def take(self) -> None:
        """Take the lock if the folder exists; do nothing if it is held already.

        Raises:
            UserError: Another run holds the lock; says which.
            RunError: The folder is not writable.
        """
        if self._file is not None or not has_locks() or not self.folder.is_dir():
            return
        path = self.folder / NAME
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunError(f'{path}: cannot be written ({error.strerror}); make the folder writable') from error
        try:
            lock(file)
        except BlockingIOError as error:
            holder = os.read(file, 200).decode(errors='replace').strip()
            os.close(file)
            raise UserError(f'{self.folder}: another run ({holder or "of this name"}) is using this folder; wait for '
                            "it, stop it, or write another 'name:'") from error
        self._file = file
        with contextlib.suppress(OSError):  # on a full disk; the text is only for error messages
            os.ftruncate(file, 0)
            os.pwrite(file, f'process {os.getpid()} on {socket.gethostname()}\n'.encode(), 0)

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """Allow renaming the folder and making a new one inside the ``with``; afterwards the new one is locked.

        Raises:
            UserError: As for :meth:`take`; nothing was renamed.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if not has_locks():
            yield
            return
        gate = os.open(self.folder.parent, os.O_RDONLY)  # one run at a time renames and locks
        try:
            lock(gate, wait=True)
            self.take()
            yield
            self.release()
            self.take()
        finally:
            os.close(gate)

    def release(self) -> None:
        """Release the lock; in a forked process, only close its copy of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
