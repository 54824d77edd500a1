"""The source of a dataset's images: a folder, a list of names, an LMDB, or installed packages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from basicsr.utils import FileClient

from reflash_sr.data.images.bundled_photos import SCHEME, photo_paths
from reflash_sr.data.images.read_image import find_images, read_image
from reflash_sr.errors import UserError
from reflash_sr.options.value_rules import SECTION, TEXT, TEXT_OR_NONE
from reflash_sr.system.files import check_regular

OPTIONS = {'dataroot_gt': TEXT, 'meta_info': TEXT_OR_NONE, 'io_backend': SECTION}
_SIZE = re.compile(r'\s+\(\s*\d+\s*,.*$')  # after a name in a list of images: "name.png (480,480,3) 1"


class ImageSource:
    """The GT images of a dataset.

    Args:
        opt: ``dataroot_gt`` (a folder, ``photos:train``, ``photos:val`` or an LMDB), and optionally ``meta_info`` (a
            file with one name per line) and ``io_backend`` (``type: disk`` or ``lmdb``).

    Attributes:
        paths: The files, or the keys of an LMDB.
        names: A unique name per image, without folder and suffix, for the names of results.
        others: Files of the folder without the suffix of an image.
        on_disk: Whether ``paths`` are files.

    Raises:
        UserError: The folder, the list or one of its files is missing, or there is no image.
    """

    def __init__(self, opt: Mapping[str, Any]):
        self.root = opt['dataroot_gt']
        self.others: list[Path] = []
        self.on_disk = (opt.get('io_backend') or {}).get('type', 'disk') == 'disk'
        self._client: FileClient | None = None
        if not self.on_disk:
            self.paths = _lmdb_keys(Path(self.root).expanduser())
        elif self.root.startswith(SCHEME):
            self.paths = photo_paths(self.root[len(SCHEME):])
        elif opt.get('meta_info'):
            listed = Path(opt['meta_info']).expanduser()
            self.paths = [Path(self.root).expanduser() / name for name in _lines(listed)]
            missing = next((path for path in self.paths if not path.is_file()), None)
            if missing is not None:
                raise UserError(f'{missing}: no such file, but {listed} lists it')
        else:
            self.paths, self.others = find_images(self.root)
        self.names = unique_names(self.paths, self.root)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> np.ndarray:
        """Read one image, (H, W, 3) uint8 RGB; raises ``UserError`` with its name if it cannot be read."""
        path = self.paths[index]
        if self.on_disk:
            return read_image(path)
        if self._client is None:  # opened late, in the process that reads: an LMDB must not be used across a fork
            self._client = FileClient('lmdb', db_paths=[str(Path(self.root).expanduser())], client_keys=['gt'])
        try:
            data = bytes(self._client.get(str(path), 'gt'))
        except Exception as error:  # the LMDB may be damaged during the run
            raise UserError(f'{self.root}: {path}: cannot be read from the LMDB ({error})') from error
        return read_image(data, name=f'{self.root}: {path}')

    def keep(self, good: list[bool]) -> None:
        """Keep only the images whose entry of ``good`` is True."""
        self.paths = [path for path, is_good in zip(self.paths, good) if is_good]
        self.names = [name for name, is_good in zip(self.names, good) if is_good]


def _lines(path: Path) -> list[str]:
    """The file names in a list of images."""
    check_regular(path, 'list of images')
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path}: the list of images cannot be read ({error})') from error
    names = [_SIZE.sub('', line.strip()) for line in lines if line.strip()]
    if not names:
        raise UserError(f'{path}: the list of images is empty; write one file name per line')
    return names


def _lmdb_keys(root: Path) -> list[Path]:
    """Open an LMDB, check that it has all keys, and close it, because it must not be used across a fork."""
    if root.suffix != '.lmdb' or not root.is_dir():
        raise UserError(f"{root}: no such LMDB; write a folder that ends in '.lmdb', or io_backend: type: disk")
    keys = [Path(name.rsplit('.', 1)[0]) for name in _lines(root / 'meta_info.txt')]
    data = root / 'data.mdb'
    check_regular(data, 'LMDB')
    try:
        with lmdb.open(str(root), readonly=True, lock=False, readahead=False) as env:
            if (env.info()['last_pgno'] + 1) * env.stat()['psize'] > data.stat().st_size:
                raise UserError(f'{data}: is truncated; copy it again')  # reading beyond its end would kill the process
            with env.begin() as transaction:
                for key in keys:
                    if transaction.get(str(key).encode('ascii')) is None:
                        raise UserError(f'{root}: {key} is in meta_info.txt, but not in the LMDB; make the LMDB again')
    except (lmdb.Error, OSError, UnicodeEncodeError) as error:
        if 'already open in this process' not in str(error):  # then it was checked before
            raise UserError(f'{root}: not an LMDB, or damaged ({error}); make it again') from error
    return keys


def unique_names(paths: list[Path], root: str) -> list[str]:
    """Name files after their path below a folder, without suffix; all names are different."""
    base = Path(root).expanduser()
    inner = [path.relative_to(base) if path.is_relative_to(base) else Path(path.name) for path in paths]
    names = ['_'.join(path.with_suffix('').parts) for path in inner]
    count = Counter(names)
    names = [name if count[name] == 1 else name + path.suffix.replace('.', '_') for name, path in zip(names, inner)]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        names[index] = name if seen[name] == 1 else f'{name}_{seen[name]}'
    return names
