"""Locks on files, which end with the process that holds them."""

from __future__ import annotations

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def lock(file: int, wait: bool = False) -> None:
    """Lock an open file, or a folder, for this process alone; nothing happens where the system has no such locks.

    Args:
        file: Its descriptor; closing it lets go of the lock.
        wait: Whether to wait until another process lets go of it.

    Raises:
        BlockingIOError: Another process holds the lock.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        pass  # a file system without locks
