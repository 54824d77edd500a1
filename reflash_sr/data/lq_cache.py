"""Degrade once, train often: LQ patches on disk, for every run that would make the same ones.

Degrading takes most of the time that a small network trains on a CPU. An LQ patch depends on the draw alone and is
small (3 kB at 32×32), so it is kept; the GT patch is 16 times as large and quickly cut out again. A run trains on the
same LQ patches with the cache and without it, and on the same GT patches up to float rounding.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
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
from reflash_sr.errors import UserError
from reflash_sr.system.files import atomic_write, sha256
from reflash_sr.system.locks import lock

BLOCK = 256  # draws in a file
KEY = 'key.json'
_NOT_IN_KEY = {*SOURCE_OPTIONS, 'pairs_cache'}  # the contents of the images count, not their paths
_CHECKSUM = 4  # bytes


class PairsCache:
    """The LQ patches of one stream of draws, one file for every :data:`BLOCK` of them.

    Args:
        root: Folder of all caches; this one has a folder inside, named after its key.
        key: Everything that shapes the patches, as :func:`key_of` gives it.
        size: Side of a patch, px.

    Attributes:
        folder: Of this cache; it may not exist yet.
    """

    def __init__(self, root: str | os.PathLike, key: Mapping[str, Any], size: int):
        self._text = json.dumps(key, sort_keys=True, indent=2, default=str)
        try:
            root = Path(root).expanduser()
        except RuntimeError as error:
            raise UserError(f'pairs_cache: {root}: there is no such user; write the path without ~') from error
        self.folder = root / hashlib.sha256(self._text.encode()).hexdigest()[:16]
        self.size = size
        self._last: tuple[int, np.ndarray] | None = None

    def read(self, number: int) -> np.ndarray | None:
        """Return the patch of draw ``number``, (size, size, 3) uint8; None if it was not made or is damaged."""
        block, place = divmod(number, BLOCK)
        if self._last is None or self._last[0] != block:
            patches = self.load(block)
            if patches is None:
                return None
            self._last = block, patches
        return self._last[1][place]

    def load(self, block: int) -> np.ndarray | None:
        """Read a block, (BLOCK, size, size, 3) uint8; None if it does not exist or is not complete."""
        path, size = self._path(block), _CHECKSUM + BLOCK * self.size**2 * 3
        try:
            content = path.read_bytes() if path.is_file() and path.stat().st_size == size else b''  # never of a pipe
        except OSError:
            return None
        checksum, patches = content[:_CHECKSUM], content[_CHECKSUM:]
        if len(content) != size or zlib.crc32(patches).to_bytes(_CHECKSUM, 'big') != checksum:
            return None
        return np.frombuffer(patches, np.uint8).reshape(BLOCK, self.size, self.size, 3)

    def save(self, block: int, patches: np.ndarray) -> None:
        """Write the draws ``block · BLOCK`` and on, (BLOCK, size, size, 3) uint8, as a complete file or not at all.

        Raises:
            UserError: The folder cannot be written to.
        """
        data = np.ascontiguousarray(patches).tobytes()
        with self._writing(self._path(block)), atomic_write(self._path(block)) as file:
            file.write(zlib.crc32(data).to_bytes(_CHECKSUM, 'big') + data)

    @contextlib.contextmanager
    def making(self, block: int) -> Iterator[bool]:
        """Hold a block while it is made: runs that start together share the work.

        Yields:
            Whether this process must make the block: it is missing, and no other process is making it. On a file
            system without locks two may make the same block, with the same content.

        Raises:
            UserError: The folder cannot be written to.
        """
        lock_file = self._path(block).with_suffix('.lock')
        with self._writing(lock_file):
            held = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                lock(held)
            except BlockingIOError:
                yield False
            else:
                yield self.load(block) is None
                lock_file.unlink(missing_ok=True)  # a process that has it open gets the lock, and finds the block
        finally:
            os.close(held)

    def check(self) -> None:
        """Check that the folder can be made or written to, without making it; raises ``UserError`` otherwise."""
        there = self.folder
        while not os.path.lexists(there) and there != there.parent:
            there = there.parent
        with self._writing(self.folder):
            tempfile.TemporaryFile(dir=there).close()

    def open(self) -> None:
        """Make the folder if it does not exist, and write the key into it; raises ``UserError`` if that fails."""
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
                            'what is in its place, or name another folder') from error


def key_of(kind: str, options: Mapping[str, Any], seed: int, source: ImageSource) -> dict[str, Any]:
    """Collect everything that shapes the LQ patches of a training set.

    Args:
        kind: Name of the dataset's class.
        options: The options that the class knows.
        seed: ``manual_seed`` of the run.
        source: Its images.

    Returns:
        Plain values; images, and the code that degrades them, as checksums.

    Raises:
        UserError: An image cannot be read.
    """
    root = Path(source.root).expanduser()
    files = source.paths if source.on_disk else [root / 'data.mdb', root / 'meta_info.txt']
    return {
        'dataset': kind,
        'options': {name: value for name, value in options.items() if name not in _NOT_IN_KEY},
        'seed': seed,
        'images': len(source),
        'files': _checksum(files),
        'code': _checksum(sorted({*Path(__file__).parent.rglob('*.py')} - {Path(__file__)})),
        'libraries': {one.__name__: one.__version__ for one in (np, cv2, PIL, scipy)},
    }


def _checksum(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(sha256(path).encode())
        except OSError as error:
            raise UserError(f'{path}: cannot be read ({error.strerror})') from error
    return digest.hexdigest()
