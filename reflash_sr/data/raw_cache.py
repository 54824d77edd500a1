"""A cache of decoded GT images on disk, which the workers of all runs map into memory.

Decoding a PNG takes a third of the time of a degraded sample, and a sample needs only a crop. From a file of plain
pixels, the system reads the pages that the crop touches; the file's pages are in memory once, not once for each worker.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reflash_sr.errors import UserError
from reflash_sr.options.value_rules import POSITIVE, TEXT_OR_NONE
from reflash_sr.system.files import check_writable

OPTIONS = {'raw_cache': TEXT_OR_NONE, 'raw_cache_gb': POSITIVE}
DEFAULT_GB = 20.0
_ALIGNED = 4096
_FORMAT = '1'

logger = logging.getLogger('basicsr')


class RawCache:
    """The decoded images of a training set, as many as have room, in one file; a worker adds those that it decodes.

    Args:
        root: Folder of all caches.
        paths: The image files. Their places, sizes and times tell one cache from another.
        sizes: Height and width of each, px.
        gigabytes: The file's largest size; images that do not fit are decoded each time.

    Attributes:
        folder: Folder of this cache inside ``root``; it may not exist yet.
        count: Number of images that have room, the first ones of ``paths``.
    """

    def __init__(self, root: str | os.PathLike, paths: Sequence[Path], sizes: Sequence[tuple[int, int]],
                 gigabytes: float = DEFAULT_GB):
        try:
            root = Path(root).expanduser()
        except RuntimeError as error:
            raise UserError(f'raw_cache: {root}: there is no such user; write the path without ~') from error
        digest = hashlib.sha256(_FORMAT.encode())
        for path, size in zip(paths, sizes):
            with _explained(path, 'read'):
                info = path.stat()
            place = os.path.abspath(path)
            digest.update(f'{place}\0{info.st_size}\0{info.st_mtime_ns}\0{size}\n'.encode(errors='surrogateescape'))
        self.folder = root / digest.hexdigest()[:16]
        self.sizes = list(sizes)
        ends = np.cumsum([0] + [3 * height * width for height, width in sizes], dtype=np.int64)
        self.start = -(-4 * len(sizes) // _ALIGNED) * _ALIGNED  # before it: a mark for each image, uint32
        self.count = int(np.searchsorted(ends, gigabytes * 1e9 - self.start, side='right')) - 1
        self.ends = ends[:max(self.count, 0) + 1]
        self._is_full = False
        self._map: np.ndarray | None = None
        self._checked: set[int] = set()

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / 'images.raw'

    def read(self, place: int) -> np.ndarray | None:
        """Return an image, (H, W, 3) uint8 RGB, which cannot be written to; None if it is not there, or damaged."""
        if place >= self.count or not self._is_mapped():
            return None
        mark = int(self._marks[place])
        pixels = self._pixels(place)
        if place not in self._checked:
            if not mark or _mark_of(pixels) != mark:
                return None
            self._checked.add(place)
        return pixels.reshape(*self.sizes[place], 3)

    def save(self, place: int, image: np.ndarray) -> None:
        """Add an image, if it has room; where the disk is full, nothing is added any more."""
        if self._is_full or place >= self.count or image.shape != (*self.sizes[place], 3) or not self._is_mapped():
            return
        pixels = np.ascontiguousarray(image)
        try:
            with open(self.path, 'r+b', buffering=0) as file:
                for offset, data in ((self.start + int(self.ends[place]), pixels.tobytes()),
                                     (4 * place, np.uint32(_mark_of(pixels)).tobytes())):  # the mark last
                    file.seek(offset)
                    if file.write(data) != len(data):
                        raise OSError('no room')
        except OSError as error:
            logger.warning('raw_cache: %s: %s; further images are decoded each time', self.path, error)
            self._is_full = True

    def check(self) -> None:
        """Check that the folder can be created or written to, without creating it; raises ``UserError`` otherwise."""
        with _explained(self.folder, 'written'):
            check_writable(self.folder)

    def open(self) -> None:
        """Create the file, if it is not there; raises ``UserError`` if that fails. It takes room as images come."""
        with _explained(self.path, 'written'):
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.path, 'ab') as file:
                if file.tell() < self._size:
                    file.truncate(self._size)

    @property
    def _size(self) -> int:
        return self.start + int(self.ends[-1])

    def _is_mapped(self) -> bool:
        if self._map is None:
            try:
                whole = np.memmap(self.path, np.uint8, 'r')
            except (OSError, ValueError):  # not there, or empty
                return False
            if len(whole) < self._size:
                return False
            self._map = np.asarray(whole)
        return True

    @property
    def _marks(self) -> np.ndarray:
        assert self._map is not None
        return self._map[:4 * len(self.sizes)].view(np.uint32)

    def _pixels(self, place: int) -> np.ndarray:
        assert self._map is not None
        return self._map[self.start + self.ends[place]:self.start + self.ends[place + 1]]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_map': None, '_checked': set()}  # a worker that is spawned maps the file itself


def _mark_of(pixels: np.ndarray) -> int:
    """Checksum of an image; never 0, which marks an image that is missing."""
    return zlib.crc32(pixels.data) or 1


@contextlib.contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f'raw_cache: {path}: cannot be {what} ({error.strerror or error}); make room, remove whatever '
                        'blocks this path, or name another folder') from error
