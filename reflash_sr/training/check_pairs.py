"""Checks of the LQ and GT files of BasicSR's datasets: their names before the dataset is built, then their sizes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.realesrgan_paired_dataset import RealESRGANPairedDataset
from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.utils import scandir

from reflash_sr.data.images.deep_colour import UPRIGHT
from reflash_sr.data.images.image_source import lmdb_keys, read_list
from reflash_sr.data.images.read_image import check_all, image_size, orientation_of, read_image
from reflash_sr.errors import UserError
from reflash_sr.options.value_rules import POSITIVE_INT

Size = tuple[int, int]  # height and width, px
PAIRED = (PairedImageDataset, RealESRGANPairedDataset)
BASICSR = (*PAIRED, SingleImageDataset)


def check_names(cls: type, section: Mapping[str, Any]) -> None:
    """Compare the names in the two folders of a dataset of pairs of BasicSR; check that LMDBs are whole.

    Raises:
        UserError: A folder is missing, an image has no counterpart, or an LMDB is damaged.
    """
    if not issubclass(cls, BASICSR):
        return
    roots = _roots(section)
    for root in roots if _backend(section) == 'lmdb' else ():
        lmdb_keys(root)
    if _backend(section) != 'disk' or not issubclass(cls, PAIRED) or len(roots) < 2:
        return
    missing = next((root for root in roots if not root.is_dir()), None)
    if missing is not None:
        raise UserError(f'{missing}: no such folder; write the folder that holds the images')
    if section.get('meta_info_file') or section.get('meta_info'):
        return
    lq, gt = (sorted(scandir(root)) for root in roots)
    template = section.get('filename_tmpl', '{}')
    wanted, there = {_counterpart(name, template): name for name in gt}, set(lq)
    alone = next((name for name in wanted if name not in there), None)
    if alone is not None:
        fitting = _template(gt, there)
        raise UserError(f"{roots[1] / wanted[alone]}: has no counterpart {roots[0] / alone} (filename_tmpl: "
                        f"'{template}'); " + (f"write filename_tmpl: '{fitting}'" if fitting else
                                              'add it, with the same ending, or remove the GT'))
    alone = next((name for name in lq if name not in wanted), None)
    if alone is not None:
        raise UserError(f'{roots[0] / alone}: has no counterpart in {roots[1]}; remove it, or add its GT')


def check_pairs(dataset: Any, section: Mapping[str, Any], scale: int) -> dict[Path, Size]:
    """Compare the sizes of all pairs of a dataset with ``paths``, as BasicSR's have it; reads headers only.

    In a test set, a GT may be larger than ``scale`` times the LQ image by less than ``scale`` px, which BasicSR crops.
    The images of a test set are also decoded once, because it must be complete.

    Returns:
        The size of the SR image for each LQ file; empty for datasets of other kinds.

    Raises:
        UserError: A file is missing or cannot be read, or two sizes do not fit each other or ``gt_size``.
    """
    is_train, lmdbs = section['phase'] == 'train', _roots(section) if _backend(section) == 'lmdb' else []
    pairs = _pairs_of(dataset, lmdbs)
    if not pairs:
        return {}
    patch = section.get('gt_size', scale)
    if is_train and not (POSITIVE_INT.holds(patch) and patch % scale == 0):
        raise UserError(f'gt_size: must be a multiple of the scale, {scale}, above 0, not {patch!r}')
    files = [path for pair in pairs for path in pair]
    sizes = _sizes_in(lmdbs) if lmdbs else _sizes_of(files, isinstance(dataset, BASICSR))
    found = {}
    for lq_path, *gt_paths in pairs:
        lq = sizes[lq_path]
        found[lq_path] = (lq[0] * scale, lq[1] * scale)
        for gt_path in gt_paths:
            _check_pair(lq_path, lq, gt_path, sizes[gt_path], scale, 1 if is_train else scale)
        if is_train and min(lq) * scale < patch:
            raise UserError(f'{lq_path}: {lq[1]}×{lq[0]} px is smaller than gt_size / scale, '
                            f'{patch // scale}; remove it or lower gt_size')
    if not is_train and not lmdbs:
        check_all(files, 1, 'empty')
    if not lmdbs and isinstance(dataset, PAIRED):
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda pair: _check_upright(*pair), pairs))
    return found


def _check_upright(lq_path: Path, gt_path: Path) -> None:
    """Refuse a pair of which only one file says that its pixels are turned, if another turn of the GT is more alike."""
    orientations = orientation_of(lq_path), orientation_of(gt_path)
    if orientations[0] == orientations[1]:
        return
    lq = read_image(lq_path).astype(np.float32)
    gt = read_image(gt_path).astype(np.float32)
    turned = [gt, *(turn(gt) for turn in UPRIGHT.values())]
    errors = [np.abs(cv2.resize(np.ascontiguousarray(one), lq.shape[1::-1], interpolation=cv2.INTER_AREA) - lq).mean()
              for one in turned]
    if min(errors) < 0.9 * errors[0]:
        raise UserError(f'{lq_path}: does not lie as {gt_path} does (EXIF orientations {orientations[0]} and '
                        f'{orientations[1]}); make the LQ image from the upright GT, or remove the orientation')


def _check_pair(lq_path: Path, lq: Size, gt_path: Path, gt: Size, scale: int, slack: int) -> None:
    over = [large - small * scale for small, large in zip(lq, gt)]
    if all(0 <= px < slack for px in over):
        return
    ratio = gt[0] // lq[0]
    hint = 'crop the GT' if all(0 <= px < scale for px in over) else 'make the LQ image from this GT'
    if ratio != scale and gt == (lq[0] * ratio, lq[1] * ratio):
        hint = f'they match at scale {ratio}: correct scale, or the folder'
    raise UserError(f'{lq_path}: {lq[1]}×{lq[0]} px does not match {gt_path}: {gt[1]}×{gt[0]} px at scale {scale}, '
                    f'which needs {lq[1] * scale}×{lq[0] * scale} px; {hint}')


def _backend(section: Mapping[str, Any]) -> str | None:
    return (section.get('io_backend') or {}).get('type')


def _roots(section: Mapping[str, Any]) -> list[Path]:
    """The folders of a dataset, LQ first."""
    return [Path(section[key]) for key in ('dataroot_lq', 'dataroot_gt') if section.get(key)]


def _pairs_of(dataset: Any, lmdbs: Sequence[Path]) -> list[list[Path]]:
    """The files of each pair, LQ first, or of each LQ image without GT; in an LMDB, its folder and key."""
    entries: list[Any] = getattr(dataset, 'paths', [])
    if isinstance(dataset, SingleImageDataset):
        files = [[entry] for entry in entries]
    elif all(isinstance(entry, dict) and {'lq_path', 'gt_path'} <= entry.keys() for entry in entries):
        files = [[entry['lq_path'], entry['gt_path']] for entry in entries]
    else:
        return []
    folders = lmdbs or [Path()] * 2
    return [[folder / file for folder, file in zip(folders, pair)] for pair in files]


def _sizes_in(lmdbs: Sequence[Path]) -> dict[Path, Size]:
    """Sizes from the ``meta_info.txt`` of LMDBs; BasicSR's keys end at the first dot."""
    sizes = {}
    for root in lmdbs:
        for name, size in read_list(root / 'meta_info.txt'):
            if size is None:
                raise UserError(f"{root / 'meta_info.txt'}: {name}: its size is missing; write lines such as "
                                f"'{name} (480,480,3) 1', as BasicSR's create_lmdb.py does")
            sizes[root / name.split('.')[0]] = size
    return sizes


def _sizes_of(files: Sequence[Path], by_opencv: bool) -> dict[Path, Size]:
    with ThreadPoolExecutor() as pool:
        sizes = dict(zip(files, pool.map(image_size, files)))
    for path in {path.suffix.lower(): path for path in files}.values() if by_opencv else ():
        if not cv2.haveImageReader(str(path)):
            raise UserError(f'{path}: BasicSR reads images with OpenCV, which does not know this format; convert it to '
                            'PNG')
    return sizes


def _counterpart(gt: str, template: str) -> str:
    """Name of the LQ file of a GT file, as BasicSR forms it."""
    stem, ending = os.path.splitext(gt)
    return template.format(stem) + ending


def _template(gt: Sequence[str], lq: set[str]) -> str | None:
    """The ``filename_tmpl`` with which every GT has a counterpart, if there is one."""
    for name in sorted(lq) if gt else ():
        before, found, after = Path(name).stem.partition(Path(gt[0]).stem)
        template = f'{before}{{}}{after}'
        if found and {_counterpart(one, template) for one in gt} <= lq:
            return template
    return None
