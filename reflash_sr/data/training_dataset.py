"""The base class of the training datasets: find, read and flip GT images, and make pairs from them."""

from __future__ import annotations

import functools
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from reflash_sr.data import raw_cache
from reflash_sr.data.images import channels
from reflash_sr.data.images import image_source as source
from reflash_sr.data.images.read_image import depth_note, read_header
from reflash_sr.data.lq_cache import PairsCache, key_of
from reflash_sr.data.raw_cache import RawCache
from reflash_sr.data.seeded_sampler import Draw, draw_rng
from reflash_sr.errors import UserError
from reflash_sr.options.value_rules import BOOL, COUNT, POSITIVE_INT, TEXT_OR_NONE

# BasicSR's get_root_logger would configure this logger before the log file is known.
logger = logging.getLogger('basicsr')
MOST_KEPT = 1 << 30  # bytes of GT images that all workers keep if LQ patches are cached, since reading is then slowest


class TrainingDataset(Dataset, ABC):
    """Training pairs from GT images; a subclass makes the LQ image.

    Args:
        opt: Section of an option file, with the keys of ``OPTIONS``. With ``color: y``, images become Y after the
            degradation, for a network of one channel; the default is RGB.

    Attributes:
        views: LQ images of a sample: 2 with ``second_lq``, a key of some subclasses.
        pairs: Cache of LQ patches in the folder ``pairs_cache``, or None.
        raw: Cache of decoded GT images in the folder ``raw_cache``, or None.

    Raises:
        UserError: No images, or images smaller than ``gt_size``.
    """

    OPTIONS = {**source.OPTIONS, **channels.OPTIONS, **raw_cache.OPTIONS, 'scale': POSITIVE_INT,
               'gt_size': POSITIVE_INT, 'use_hflip': BOOL, 'use_rot': BOOL, 'manual_seed': COUNT,
               'pairs_cache': TEXT_OR_NONE}
    DEFAULTS: ClassVar[dict[str, Any]] = {'color': 'rgb', 'use_hflip': True, 'use_rot': False}

    def __init__(self, opt: Mapping[str, Any]):
        self.opt, self.scale, self.gt_size = opt, opt['scale'], opt['gt_size']
        self.seed = opt.get('manual_seed') or 0
        self.views = 2 if opt.get('second_lq') else 1
        self.source = source.ImageSource(opt)
        if self.gt_size % self.scale:
            raise UserError(f'gt_size: {self.gt_size} is not a multiple of the scale, {self.scale}; write '
                            f'{self.gt_size // self.scale * self.scale or self.scale}')
        for path in self.source.others[:3]:
            logger.warning('%s: not an image, skipped', path)
        sizes = self._check_headers() if self.source.on_disk else []
        self.raw: RawCache | None = None
        if opt.get('raw_cache'):
            if not self.source.on_disk:
                raise UserError('raw_cache: is for image files, not for an LMDB; write ~')
            self.raw = RawCache(opt['raw_cache'], self.source.paths, sizes,
                                opt.get('raw_cache_gb', raw_cache.DEFAULT_GB))
        self.pairs: PairsCache | None = None
        self._kept: dict[int, np.ndarray] = {}
        self._room: int | None = None
        if opt.get('pairs_cache'):
            known = {name: opt[name] for name in self.OPTIONS if name in opt}
            self.pairs = PairsCache(opt['pairs_cache'], key_of(type(self).__name__, known, self.seed, self.source),
                                    self.gt_size // self.scale, self.views)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Make one pair.

        Args:
            index: Index of the image; a ``Draw`` makes the sample reproducible.

        Returns:
            ``lq`` (C, gt_size / scale, gt_size / scale) and ``gt`` (C, gt_size, gt_size), float32 RGB or Y in [0, 1];
            ``gt_path`` and ``lq_path``, both the file of the GT image. With two views, ``lq_2`` is the second.
        """
        gt, lq, path = self.draw(index)
        count = channels.channels_of(self.opt)
        images = dict(zip(('lq', 'lq_2'), np.split(lq, self.views)), gt=gt)
        return {**{name: channels.to_channels(to_tensor(image), count) for name, image in images.items()},
                'lq_path': str(path), 'gt_path': str(path)}

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray, Path]:
        """Make GT and LQ patch of a draw, RGB, as in :meth:`make_pair`; returns the file of the GT image too."""
        _one_opencv_thread()
        rng = draw_rng(index, self.seed)
        image, path = self._read(int(index))
        cached = self.pairs.read(index.number) if self.pairs and isinstance(index, Draw) else None
        hflip, vflip, transpose = rng.random(3) < 0.5
        if self.opt.get('use_hflip', self.DEFAULTS['use_hflip']) and hflip:
            image = image[:, ::-1]
        if self.opt.get('use_rot', self.DEFAULTS['use_rot']):
            # As in BasicSR: vertical flip and transposition, drawn independently.
            image = image[::-1] if vflip else image
            image = image.transpose(1, 0, 2) if transpose else image
        return (*self.make_pair(image, rng, cached), path)

    @abstractmethod
    def make_pair(self, image: np.ndarray, rng: np.random.Generator,
                  lq: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Crop a GT patch from an image and degrade it.

        Args:
            image: (H, W, 3) uint8 RGB, sides at least ``gt_size``.
            rng: Source of all randomness.
            lq: The LQ patch, uint8, if it is in the cache; then only the GT patch is made.

        Returns:
            GT (gt_size, gt_size, 3) and LQ (gt_size / scale, gt_size / scale, 3): uint8, or float32 in [0, 1]. Two
            views are one LQ below the other.
        """

    def _read(self, index: int) -> tuple[np.ndarray, Path]:
        """Read an image, or the next readable one, so that a broken file does not end a long run."""
        for attempt in range(len(self.source)):
            place = (index + attempt) % len(self.source)
            known = self._kept.get(place) if self.raw is None else self.raw.read(place)
            if known is not None:
                return known, self.source.paths[place]
            try:
                image = self.source.read(place)
            except UserError as error:
                _warn_once(f'skipped: {error}')
                continue
            if self.raw is not None:
                self.raw.save(place, image)
            elif self.pairs is not None:
                self._keep(place, image)
            return image, self.source.paths[place]
        raise UserError(f'{self.source.root}: none of its {len(self.source)} images can be read; replace them')

    def _keep(self, place: int, image: np.ndarray) -> None:
        """Keep an image in memory, if this worker's share of :data:`MOST_KEPT` has room."""
        if self._room is None:
            worker = get_worker_info()
            tasks = os.environ.get('LOCAL_WORLD_SIZE') or os.environ.get('SLURM_NTASKS_PER_NODE') or '1'
            processes = max(int(tasks), 1) if tasks.isdecimal() else 1
            self._room = MOST_KEPT // processes // (worker.num_workers if worker else 1)
        if image.nbytes <= self._room:
            self._kept[place] = image
            self._room -= image.nbytes

    def _check_headers(self) -> list[tuple[int, int]]:
        """Skip images whose header cannot be read, with a warning; refuse images that are too small.

        Returns:
            Height and width of the others, px.
        """

        def size_of(path: Path) -> tuple[int, int, bool] | None:
            try:
                return read_header(path)
            except UserError as error:
                logger.warning('skipped: %s', error)
                return None

        with ThreadPoolExecutor() as pool:
            sizes = list(pool.map(size_of, self.source.paths))
        for path, size in zip(self.source.paths, sizes):
            if size is not None and min(size[:2]) < self.gt_size:
                raise UserError(f'{path}: {size[1]}×{size[0]} px is smaller than gt_size, {self.gt_size}; remove it or '
                                'lower gt_size')
        self.source.keep([size is not None for size in sizes])
        if not len(self.source):
            raise UserError(f'{self.source.root}: none of its {len(sizes)} images can be read; replace them')
        note = depth_note([size[2] for size in sizes if size is not None])
        if note:
            logger.warning('%s: %s', self.source.root, note)
        return [size[:2] for size in sizes if size is not None]


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Convert an image, (H, W, 3) uint8 or float32 in [0, 1], to a (3, H, W) float32 tensor in [0, 1]."""
    array = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    if image.dtype == np.uint8:
        array /= 255
    return torch.from_numpy(array)


@functools.cache
def _one_opencv_thread() -> None:
    """Let OpenCV use one thread in a DataLoader worker, because the workers together use all cores."""
    if get_worker_info() is not None:
        cv2.setNumThreads(1)


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning(message)
