"""Writing a file so that it is whole or not there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = 'wb') -> Iterator[IO]:
    """Open a file for writing beside its place; flush it to the disk and rename it at the end.

    Whoever is killed or fails in between leaves the earlier file as it was.

    Args:
        path: Where the file is to be. Its folder is made.
        mode: ``'wb'``, or ``'w'`` for UTF-8 text.

    Yields:
        The open file.

    Raises:
        OSError: The disk is full or the folder is not writable; the earlier file is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix='.part')
    try:
        with os.fdopen(handle, mode, encoding=None if 'b' in mode else 'utf-8') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def relative(path: str | os.PathLike) -> str:
    """Write a path as a user in the working directory would; as it is where it lies elsewhere."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
