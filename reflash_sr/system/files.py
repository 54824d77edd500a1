"""Files: written whole or not at all, tables, checksums, and refusing to read what is no file."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from reflash_sr.errors import UserError


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
        os.chmod(temporary, 0o666 & ~_UMASK)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sha256(path: str | os.PathLike) -> str:
    """Checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; what is not known, None, stays empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def check_regular(path: str | os.PathLike, what: str) -> None:
    """Refuse what is no regular file: opening a pipe would wait for ever, a device may be endless.

    Raises:
        UserError: Says what stands there instead of the ``what``.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = 'a link to nothing' if os.path.islink(path) else (getattr(error, 'strerror', None) or error)
        raise UserError(f'{path}: no such {what} ({reason}); look at the path') from error
    if not stat.S_ISREG(mode):
        kind = 'a folder' if stat.S_ISDIR(mode) else 'a pipe, a socket or a device'
        raise UserError(f'{path}: is {kind}, not the {what}; name a file')


def relative(path: str | os.PathLike) -> str:
    """Write a path as a user in the working directory would; as it is where it lies elsewhere."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()  # once: to read it is to set it, for every thread of the process
