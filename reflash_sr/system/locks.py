"""Locks on files; the system releases them when their process ends, even if it is killed."""

from __future__ import annotations

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]  # Windows has none


def has_locks() -> bool:
    """Whether the system has such locks. On Windows, which has none, a file must not be held open to be locked either:
    an open file can be neither deleted nor renamed there, nor its folder."""
    return fcntl is not None


def lock(file: int, wait: bool = False) -> None:
    """Lock an open file or folder for this process; do nothing if the system has no such locks.

    ``file`` is a descriptor; closing it releases the lock. With ``wait``, wait for another process to release it.

    Raises:
        BlockingIOError: Another process holds the lock.
    """
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        pass  # a file system without locks
