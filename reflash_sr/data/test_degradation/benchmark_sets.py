"""Test sets: GT images, and LQ images that are made from them or read from files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from reflash_sr.data.images.image_source import ImageSource, unique_names
from reflash_sr.data.images.read_image import check_all, find_images, image_size, read_image
from reflash_sr.data.test_degradation.degradations import AS_GIVEN, EIGHT, degrade, mod_crop, noise_rng, parse
from reflash_sr.errors import UserError


class _BenchmarkSet:
    """Attributes and methods that both kinds of test sets have."""

    name: str
    scale: int
    degradations: list[str]
    names: list[str]  # names of the images
    roots: list[str]  # folders
    _files: list[tuple[Path, ...]]  # files of each pair; the last is the GT

    def __len__(self) -> int:
        return len(self._files)

    def path(self, place: int) -> Path:
        """The GT file of pair number ``place``."""
        return self._files[place][-1]

    def files(self, place: int) -> list[Path]:
        """All files of pair number ``place``."""
        return list(self._files[place])


class DegradedSet(_BenchmarkSet):
    """A test set whose LQ images are made from the GT images.

    The noise depends on ``seed``, the image's name and the degradation
    (:mod:`reflash_sr.data.test_degradation.degradations`).

    Raises:
        UserError: An unknown degradation, or a file that is not an image: a test set must be complete.
    """

    def __init__(self, name: str, source: ImageSource, degradations: Sequence[str], scale: int, seed: int = 0):
        self.name, self.source, self.scale, self.seed = name, source, scale, seed
        self.degradations = list(degradations)
        for degradation in degradations:
            parse(degradation)  # raises UserError
        self.names, self.roots, self._files = source.names, source.roots, [(path,) for path in source.paths]
        if source.others:
            raise UserError(f'{source.others[0]}: not an image; a test set must be complete, so remove this file (in '
                            'an option file, meta_info can list the images)')
        self._last: tuple[int, np.ndarray] | None = None

    def check(self, smallest: int, why: str) -> None:
        """Decode every image; raises ``UserError`` if one is broken, or smaller than ``smallest`` px."""
        smallest = -(-smallest // self.scale) * self.scale
        check_all(self.source.paths, smallest, f'{why} of a multiple of {self.scale}')

    def pair(self, place: int, degradation: str) -> tuple[np.ndarray, np.ndarray]:
        """Make pair number ``place``: LQ (H, W, 3) and GT (H · scale, W · scale, 3), uint8 RGB, cropped if necessary.

        Raises:
            UserError: The image cannot be read or is smaller than ``scale``.
        """
        if self._last is None or self._last[0] != place:
            gt = mod_crop(self.source.read(place), self.scale)
            if gt.size == 0:
                raise UserError(f'{self.path(place)}: is too small: at scale {self.scale} a side needs {self.scale} px')
            self._last = place, gt
        gt = self._last[1]
        return degrade(gt, degradation, self.scale, noise_rng(self.seed, self.names[place], degradation)), gt


class PairedSet(_BenchmarkSet):
    """A test set of LQ and GT files, as in RealSR or NTIRE 2018.

    The templates are file names without suffix, such as ``{}x4m``; ``{}`` is the part that LQ and GT names share.

    Raises:
        UserError: A name that does not fit its template, an image without counterpart, or sizes that do not fit.
    """

    def __init__(self, name: str, lq_root: str, gt_root: str, scale: int, lq_template: str = '{}',
                 gt_template: str = '{}'):
        self.name, self.scale, self.degradations = name, scale, [AS_GIVEN]
        same_folder = Path(lq_root).expanduser().resolve() == Path(gt_root).expanduser().resolve()
        lq = _by_shared_name(lq_root, lq_template, gt_template if same_folder else None)
        gt = _by_shared_name(gt_root, gt_template, lq_template if same_folder else None)
        for files, others, root, template in ((lq, gt, gt_root, gt_template), (gt, lq, lq_root, lq_template)):
            alone = next((key for key in files if key not in others), None)
            if alone is not None:
                raise UserError(f"{files[alone]}: has no counterpart '{template.format(alone)}.*' in {root}; remove it,"
                                ' or describe the file names with --pair_names')
        self.names, self.roots, self._files = list(gt), [lq_root, gt_root], [(lq[key], gt[key]) for key in gt]
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._check_size, *zip(*self._files)))

    def check(self, smallest: int, why: str) -> None:
        """Decode every image; raises ``UserError`` if one is broken, or a GT is smaller than ``smallest`` px."""
        lq, gt = zip(*self._files)
        check_all(lq, 1, why)
        check_all(gt, -(-smallest // self.scale) * self.scale, why)

    def pair(self, place: int, degradation: str = AS_GIVEN) -> tuple[np.ndarray, np.ndarray]:
        """Read pair number ``place``: LQ (H, W, 3) and GT (H · scale, W · scale, 3), uint8 RGB."""
        lq, gt = (read_image(path) for path in self._files[place])
        return lq, gt[:lq.shape[0] * self.scale, :lq.shape[1] * self.scale]

    def _check_size(self, lq_path: Path, gt_path: Path) -> None:
        lq, gt = image_size(lq_path), image_size(gt_path)
        if any(not 0 <= large - small * self.scale < self.scale for small, large in zip(lq, gt)):
            raise UserError(f'{lq_path}: {lq[1]}×{lq[0]} px does not fit {gt_path}: {gt[1]}×{gt[0]} px at scale '
                            f'{self.scale}')


def open_sets(gt: Sequence[str], degradations: Sequence[str], pairs: Sequence[Sequence[str]],
              pair_names: Sequence[Sequence[str]], pair_labels: Sequence[str], scale: int,
              seed: int) -> list[DegradedSet | PairedSet]:
    """Open the test sets of a command line.

    Args:
        gt: Folders of GT images, each ``NAME=DIR``, or ``DIR`` to name the test set after the folder.
        degradations: Degradations of the folders in ``gt``; ``all`` stands for the eight of Table 1.
        pairs: LQ folder and GT folder of each paired test set.
        pair_names: Templates of LQ and GT file names: none, one pair of templates for all, or one for each.
        pair_labels: Names of the paired test sets: none, or one for each.
        scale: Scale factor.
        seed: Seed of the noise.

    Raises:
        UserError: No test set, numbers of arguments that do not fit, or an error of a test set.
    """
    names = list(dict.fromkeys(name for given in degradations for name in (EIGHT if given == 'all' else (given,))))
    known: dict[str, str] = {}
    for name in names:
        same = known.setdefault(str(parse(name)), name)
        if same != name:
            raise UserError(f"--degradations: '{same}' and '{name}' are the same; remove one")
    sets: list[DegradedSet | PairedSet] = []
    for entry in gt:
        label, equals, root = entry.partition('=')
        if not entry or (equals and not (label and root) and not Path(entry).is_dir()):
            raise UserError(f"--gt: '{entry}' must be a folder, or NAME=FOLDER")
        if not equals or Path(entry).is_dir():
            label, root = _set_name(entry), entry
        sets.append(DegradedSet(label, ImageSource({'dataroot_gt': root}), names, scale, seed))
    for option, given in (('--pair_names', pair_names), ('--pair_labels', pair_labels)):
        if given and len(given) != len(pairs) and not (option == '--pair_names' and len(given) == 1 and pairs):
            raise UserError(f'{option}: {len(given)} for {len(pairs)} --pairs; give one for each')
    for place, (lq_root, gt_root) in enumerate(pairs):
        templates = pair_names[min(place, len(pair_names) - 1)] if pair_names else ('{}', '{}')
        label = pair_labels[place] if pair_labels else _set_name(lq_root)
        sets.append(PairedSet(label, lq_root, gt_root, scale, *templates))
    if not sets:
        raise UserError('no test set: give folders with --gt or --pairs')
    return sets


def _set_name(root: str) -> str:
    """Name of a test set: its folder, or the parent of a folder such as ``HR``: ``Set5`` for ``Set5/HR``."""
    path = Path(root).expanduser().absolute()
    usual = path.name.lower() in ('hr', 'lr', 'gt', 'lq', 'gtmod12', 'original') and path.parent.name
    return path.parent.name if usual else path.name


def _by_shared_name(root: str, template: str, other: str | None) -> dict[str, Path]:
    """Files by the shared part of their names, ``{}`` in the template; files that fit ``other`` are skipped."""
    pattern = _pattern(template)
    paths, _ = find_images(root)
    found: dict[str, Path] = {}
    for path, name in zip(paths, unique_names(paths, root)):
        match = pattern.fullmatch(name)
        if match is not None:
            found[match[1]] = path
        elif other is None or not _pattern(other).fullmatch(name):
            raise UserError(f"{path}: its name does not fit '{template}'; describe the file names with --pair_names")
    return found


def _pattern(template: str) -> re.Pattern[str]:
    before, field, after = template.partition('{}')
    if not field:
        raise UserError(f"--pair_names: '{template}' must contain {{}}, the part that both names share")
    return re.compile(re.escape(before) + '(.+)' + re.escape(after))
