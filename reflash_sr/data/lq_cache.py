"""A cache of LQ patches on disk, shared by all runs that would make the same patches.

Degradation takes most of the training time of a small network on a CPU. An LQ patch is small (3 kB at 32×32), so it is
cached; the GT patch is 16 times as large and quickly cropped again. With and without the cache, a run trains on the
same LQ patches, and on the same GT patches up to float rounding.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import scipy

from reflash_sr.data.images.image_source import OPTIONS as SOURCE_OPTIONS
from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.data.raw_cache import OPTIONS as RAW_OPTIONS
from reflash_sr.errors import UserError
from reflash_sr.system.files import atomic_write, check_writable, sha256
from reflash_sr.system.locks import has_locks, lock

BLOCK = 256  # patches per file
KEY = 'key.json'
# The contents of images count, not paths; patches are RGB.
_NOT_IN_KEY = {*SOURCE_OPTIONS, *RAW_OPTIONS, 'pairs_cache', 'color'}
_CHECKSUM = 4  # bytes


class PairsCache:
    """The LQ patches of one run (its :class:`Draw` numbers), :data:`BLOCK` patches per file.

    Args:
        root: Folder of all caches.
        key: Everything that the patches depend on, from :func:`key_of`.
        size: Side of a patch, px.
        views: Patches of a draw; they are one below the other.

    Attributes:
        folder: Folder of this cache inside ``root``, named after the key; it may not exist yet.
    """

    def __init__(self, root: str | os.PathLike, key: Mapping[str, Any], size: int, views: int = 1):
        self._text = json.dumps(key, sort_keys=True, indent=2, default=str)
        try:
            root = Path(root).expanduser()
        except RuntimeError as error:
            raise UserError(f'pairs_cache: {root}: there is no such user; write the path without ~') from error
        self.folder = root / hashlib.sha256(self._text.encode()).hexdigest()[:16]
        self._shape = BLOCK, views * size, size, 3
        self._last: tuple[int, np.ndarray] | None = None

    def read(self, number: int) -> np.ndarray | None:
        """Return the patch of draw ``number``, (views · size, size, 3) uint8; None if it is missing or damaged."""
        block, place = divmod(number, BLOCK)
        if self._last is None or self._last[0] != block:
            patches = self.load(block)
            if patches is None:
                return None
            self._last = block, patches
        return self._last[1][place]

    def load(self, block: int) -> np.ndarray | None:
        """Read a block, (BLOCK, views · size, size, 3) uint8; None if it is missing or damaged."""
        path, size = self._path(block), _CHECKSUM + math.prod(self._shape)
        try:
            content = path.read_bytes() if path.is_file() and path.stat().st_size == size else b''  # a pipe would block
        except OSError:
            return None
        checksum, patches = content[:_CHECKSUM], content[_CHECKSUM:]
        if len(content) != size or zlib.crc32(patches).to_bytes(_CHECKSUM, 'big') != checksum:
            return None
        return np.frombuffer(patches, np.uint8).reshape(self._shape)

    def save(self, block: int, patches: np.ndarray) -> None:
        """Write a block atomically: patches from draw ``block · BLOCK`` on, as :meth:`load` returns them.

        Raises:
            UserError: The folder is not writable.
        """
        data = np.ascontiguousarray(patches).tobytes()
        with self._writing(self._path(block)), atomic_write(self._path(block)) as file:
            file.write(zlib.crc32(data).to_bytes(_CHECKSUM, 'big') + data)

    @contextlib.contextmanager
    def making(self, block: int) -> Iterator[bool]:
        """Lock a block while it is made, so that runs which start together share the work.

        Yields:
            Whether this process must make the block: it is missing, and no other process is making it. Without file
            locks two processes may make the same block, with the same content.

        Raises:
            UserError: The folder is not writable.
        """
        if not has_locks():
            yield self.load(block) is None
            return
        lock_file = self._path(block).with_suffix('.lock')
        with self._writing(lock_file):
            descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                lock(descriptor)
            except BlockingIOError:
                yield False
            else:
                yield self.load(block) is None
                lock_file.unlink(missing_ok=True)  # a process that opened it before gets the lock and sees the block
        finally:
            os.close(descriptor)

    def check(self) -> None:
        """Check that the folder can be created or written to, without creating it; raises ``UserError`` otherwise."""
        with self._writing(self.folder):
            check_writable(self.folder)

    def open(self) -> None:
        """Create the folder if it does not exist, and write the key into it; raises ``UserError`` if that fails."""
        with self._writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.folder / KEY, 'w') as file:
                file.write(f'{self._text}\n')

    def _path(self, block: int) -> Path:
        return self.folder / f'{block:06d}.lq'

    @contextlib.contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f'pairs_cache: {path}: cannot be written ({error.strerror or error}); make room, remove '
                            'whatever blocks this path, or name another folder') from error


def key_of(kind: str, options: Mapping[str, Any], seed: int, source: ImageSource) -> dict[str, Any]:
    """Collect everything that the LQ patches of a training set depend on, as plain values and checksums.

    Args:
        kind: Name of the dataset's class.
        options: Options of the dataset that the class knows.
        seed: ``manual_seed`` of the run.
        source: The images.

    Raises:
        UserError: An image cannot be read.
    """
    files = source.paths
    if not source.on_disk:
        files = [Path(root).expanduser() / name for root in source.roots for name in ('data.mdb', 'meta_info.txt')]
    return {
        'dataset': kind,
        'options': {name: value for name, value in options.items() if name not in _NOT_IN_KEY},
        'seed': seed,
        'images': len(source),
        'files': _checksum(files),
        'code': _checksum(sorted({*Path(__file__).parent.rglob('*.py')} - {Path(__file__)})),
        'libraries': {module.__name__: module.__version__ for module in (np, cv2, PIL, scipy)},
    }


def _checksum(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(sha256(path).encode())
        except OSError as error:
            raise UserError(f'{path}: cannot be read ({error.strerror})') from error
    return digest.hexdigest()
