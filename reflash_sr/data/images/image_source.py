"""The source of a dataset's images: folders, lists of names, an LMDB, or installed packages."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from basicsr.utils import FileClient

from reflash_sr.data.images.bundled_photos import SCHEME, photo_paths
from reflash_sr.data.images.read_image import check_all, find_images, read_image
from reflash_sr.errors import UserError
from reflash_sr.options.value_rules import SECTION, TEXT, Rule, list_of, or_none
from reflash_sr.system.files import check_regular

_TEXTS = list_of(TEXT, 'texts')
_FOLDERS = Rule('a folder or a list of folders', lambda v: TEXT.holds(v) or _TEXTS.holds(v))
_LISTS = Rule('a file, or a list of files: one for each folder of dataroot_gt', _FOLDERS.holds)
OPTIONS = {'dataroot_gt': _FOLDERS, 'meta_info': or_none(_LISTS), 'io_backend': SECTION}
# After a name in a list of images: "name.png (480,480,3) 1"
_SIZE = re.compile(r'\s+\(\s*(\d+)\s*,\s*(\d+)?.*$')


class ImageSource:
    """The GT images of a dataset.

    Args:
        opt: ``dataroot_gt`` (a folder, ``photos:train``, ``photos:val``, a list of these, or an LMDB), and optionally
            ``meta_info`` (a file with one name per line; for several folders, a list with one file for each) and
            ``io_backend`` (``type: disk`` or ``lmdb``).

    Attributes:
        root: The folder or folders, for messages.
        roots: The folders; ``photos:train`` and ``photos:val`` count as such.
        paths: The files, or the keys of an LMDB.
        names: A unique name per image, without folder and suffix, for the names of results. If two folders have an
            image of the same name, the names of the folders stand before it.
        others: Files of the folder without the suffix of an image.
        on_disk: Whether ``paths`` are files.

    Raises:
        UserError: The folder, the list or one of its files is missing, or there is no image.
    """

    def __init__(self, opt: Mapping[str, Any]):
        self.roots, lists = _listed(opt['dataroot_gt']), _listed(opt.get('meta_info') or [])
        self.root = ', '.join(self.roots)
        self.others: list[Path] = []
        self.on_disk = (opt.get('io_backend') or {}).get('type', 'disk') == 'disk'
        self._client: FileClient | None = None
        if not self.on_disk and len(self.roots) > 1:
            raise UserError(f'dataroot_gt: {len(self.roots)} LMDBs; write one LMDB, or folders of images')
        if lists and len(lists) != len(self.roots):
            raise UserError(f'meta_info: {len(lists)} for {len(self.roots)} folders in dataroot_gt; write one file for '
                            'each folder, in the same order')
        self.paths: list[Path] = []
        named: list[tuple[str, str]] = []
        for root, listed in zip(self.roots, lists or [''] * len(self.roots)):
            found, others = self._find(root, listed)
            self.paths += found
            self.others += others
            named += [(root, name) for name in unique_names(found, root)]
        self.names = _names_in_folders(named)

    def _find(self, root: str, listed: str) -> tuple[list[Path], list[Path]]:
        """Find the images of one folder, those in the file ``listed`` if given; also returns the other files."""
        if not self.on_disk:
            return lmdb_keys(Path(root).expanduser()), []
        if root.startswith(SCHEME):
            return photo_paths(root[len(SCHEME):]), []
        if not listed:
            return find_images(root)
        paths = [_path_of(Path(root).expanduser(), name) for name, _ in read_list(listed)]
        missing = next((path for path in paths if not path.is_file()), None)
        if missing is not None:
            pairs = '; a list of pairs (GT, LQ) is for RealESRGANPairedDataset' if ', ' in missing.name else ''
            raise UserError(f'{missing}: no such file, but {listed} lists it{pairs}')
        return paths, []

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
            data = bytes(self._client.get(path.as_posix(), 'gt'))
        except Exception as error:  # the LMDB may be damaged during the run
            raise UserError(f'{self.root}: {path}: cannot be read from the LMDB ({error})') from error
        return read_image(data, name=f'{self.root}: {path}')

    def check(self, min_size: int, why: str) -> None:
        """Decode every image once, so that a broken one is found before the run, as :func:`read_image.check_all` does.

        Raises:
            UserError: An image is broken, or has a side below ``min_size`` px, for the reason ``why``.
        """
        if self.on_disk:
            check_all(self.paths, min_size, why)
            return
        for index, path in enumerate(self.paths):
            height, width = self.read(index).shape[:2]
            if min(height, width) < min_size:
                raise UserError(f'{self.root}: {path}: {width}×{height} px is too small: {why}')
        self._client = None  # an open LMDB must not be used across a fork

    def keep(self, good: list[bool]) -> None:
        """Keep only the images whose entry of ``good`` is True."""
        self.paths = [path for path, is_good in zip(self.paths, good) if is_good]
        self.names = [name for name, is_good in zip(self.names, good) if is_good]


def _path_of(root: Path, name: str) -> Path:
    path = root / name
    return path if path.is_file() or '\\' not in name else root / name.replace('\\', '/')  # a list made on Windows


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def read_list(path: str | os.PathLike) -> list[tuple[str, tuple[int, int] | None]]:
    """Read a list of images, one name per line; height and width, px, are returned where they follow the name.

    Raises:
        UserError: The list cannot be read, or is empty.
    """
    path = Path(path).expanduser()
    check_regular(path, 'list of images')
    try:
        lines = [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path}: the list of images cannot be read ({error})') from error
    if not lines:
        raise UserError(f'{path}: the list of images is empty; write one file name per line')
    sizes = [_SIZE.search(line) for line in lines]
    return [(_SIZE.sub('', line), (int(size[1]), int(size[2])) if size and size[2] else None)
            for line, size in zip(lines, sizes)]


def lmdb_keys(root: Path) -> list[Path]:
    """Return the keys of an LMDB; it is opened, checked and closed, because it must not be used across a fork.

    Raises:
        UserError: It is no LMDB, is damaged, or lacks a key of its ``meta_info.txt``.
    """
    if root.suffix != '.lmdb' or not root.is_dir():
        raise UserError(f"{root}: no such LMDB; write a folder that ends in '.lmdb', or io_backend: type: disk")
    keys = [Path(name.rsplit('.', 1)[0]) for name, _ in read_list(root / 'meta_info.txt')]
    data = root / 'data.mdb'
    check_regular(data, 'LMDB')
    try:
        with lmdb.open(str(root), readonly=True, lock=False, readahead=False) as env:
            if (env.info()['last_pgno'] + 1) * env.stat()['psize'] > data.stat().st_size:
                raise UserError(f'{data}: is truncated; copy it again')  # reading beyond its end would kill the process
            with env.begin() as transaction:
                for key in keys:
                    if transaction.get(key.as_posix().encode('ascii')) is None:
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
    return _numbered(names)


def _names_in_folders(named: Sequence[tuple[str, str]]) -> list[str]:
    """Unique names from pairs of folder and name in it; a name of several folders gets the folder's before it."""
    folders: dict[str, set[str]] = {}
    for root, name in named:
        folders.setdefault(name, set()).add(root)
    return _numbered([name if len(folders[name]) == 1 else f'{Path(root).name}_{name}' for root, name in named])


def _numbered(names: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f'{name}_{seen[name]}')
    return unique
