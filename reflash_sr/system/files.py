"""Files: atomic writes, CSV, checksums, and a check that a path is a regular file."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from reflash_sr.errors import UserError

SHOWN = 40  # letters of a name that the name of its temporary file has, so that long names are no longer by it


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = 'wb') -> Iterator[IO]:
    """Write a file atomically: into a new file in the same folder, which is flushed to the disk and renamed at the end.

    If the process fails or is killed before that, the earlier file stays as it was.

    The folder is created if it does not exist. ``mode`` is ``'wb'``, or ``'w'`` for UTF-8 text.

    Raises:
        OSError: The disk is full or the folder is not writable; the earlier file is not changed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name[:SHOWN]}.{os.urandom(4).hex()}.part')
    try:
        encoding, newline = (None, None) if 'b' in mode else ('utf-8', '\n')  # the same bytes on every system
        with open(part, mode.replace('w', 'x'), encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def existing_part(path: str | os.PathLike) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = Path(path).absolute()
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def check_writable(folder: str | os.PathLike) -> None:
    """Check that a folder can be created or written to, without creating it; raises ``OSError`` otherwise."""
    tempfile.TemporaryFile(dir=existing_part(folder)).close()


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def check_regular(path: str | os.PathLike, what: str) -> None:
    """Check that ``path`` is a regular file: opening a pipe would wait forever, and a device may be infinite.

    Raises:
        UserError: It is not; the message calls the expected file ``what``.
    """
    if re.match('https?:/', os.fspath(path)):
        raise UserError(f'{path}: is a web address; download the {what}, and give its path')
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = 'a link to nothing' if os.path.islink(path) else (getattr(error, 'strerror', None) or error)
        seed = "; only a study's file fills in {seed}, with the seed of a cell" if re.search('{.*}', str(path)) else ''
        raise UserError(f'{path}: no such {what} ({reason}); look at the path{seed}') from error
    if not stat.S_ISREG(mode):
        kind = 'a folder' if stat.S_ISDIR(mode) else 'a pipe, a socket or a device'
        raise UserError(f'{path}: is {kind}, not the {what}; name a file')


def relative(path: str | os.PathLike) -> str:
    """A path relative to the working directory if it is inside; else unchanged."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
