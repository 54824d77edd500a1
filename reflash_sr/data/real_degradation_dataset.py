"""Training pairs for blind SR: the second-order degradation of Real-ESRGAN, in DataLoader workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import cv2
import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY

from reflash_sr.data.training_dataset import TrainingDataset
from reflash_sr.data.training_degradation import second_order as real_degradation
from reflash_sr.errors import UserError
from reflash_sr.options.value_rules import BOOL, Rule, is_int

_CROP = Rule('a whole number of px, 1 to 8192', lambda v: is_int(v) and 1 <= v <= 8192)


@DATASET_REGISTRY.register()
class RealDegradationDataset(TrainingDataset):
    """Pairs for the multi-degradation setting (paper Sec. 5.1), for any BasicSR model.

    Each sample of a batch has its own degradation, so Real-ESRGAN's pool of pairs is not needed. A GT crop of
    ``crop_pad_size`` (a smaller image is padded by reflection) is degraded; a ``gt_size`` patch of it is returned. Only
    the pixels that the patch depends on are computed.

    Args:
        opt: Section of an option file: the keys of :class:`TrainingDataset`, Real-ESRGAN's keys of the degradation
            (``real_degradation.OPTIONS``; defaults as published), ``crop_pad_size`` (px; default 400), ``gt_usm``
            (default true: sharpen the GT, which lowers PSNR on test sets that are not sharpened), and ``second_lq``
            (default false: also degrade the same patch a second time, in another way; ``lq_2``).

    Raises:
        UserError: No images, images smaller than ``gt_size``, or sizes that do not fit each other.
    """

    OPTIONS = {**TrainingDataset.OPTIONS, **real_degradation.OPTIONS, 'crop_pad_size': _CROP, 'gt_usm': BOOL,
               'second_lq': BOOL}
    DEFAULTS: ClassVar = {**TrainingDataset.DEFAULTS, **real_degradation.DEFAULTS, 'crop_pad_size': 400, 'gt_usm': True,
                          'second_lq': False}

    def __init__(self, opt: Mapping[str, Any]):
        super().__init__(opt)
        self.crop_pad_size = opt.get('crop_pad_size', self.DEFAULTS['crop_pad_size'])
        self.gt_usm = opt.get('gt_usm', self.DEFAULTS['gt_usm'])
        self.settings = real_degradation.DEFAULTS | {k: opt[k] for k in real_degradation.OPTIONS if k in opt}
        for suffix in ('', '2'):
            kinds, weights = self.settings[f'kernel_list{suffix}'], self.settings[f'kernel_prob{suffix}']
            if len(kinds) != len(weights):
                raise UserError(f'kernel_prob{suffix}: {len(weights)} weights for {len(kinds)} kinds of kernel '
                                f'(kernel_list{suffix}); write one for each')
        if self.crop_pad_size < self.gt_size or self.crop_pad_size % self.scale:
            raise UserError(f'crop_pad_size: {self.crop_pad_size} px must be a multiple of the scale, {self.scale}, '
                            f'and at least gt_size, {self.gt_size}: the crop is degraded, and the GT patch cut from it')

    def make_pair(self, image: np.ndarray, rng: np.random.Generator,
                  lq: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        size = self.crop_pad_size
        down, right = (max(0, size - side) for side in image.shape[:2])
        if down or right:
            image = cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REFLECT_101)
        top, left = (rng.integers(0, side - size + 1) for side in image.shape[:2])
        crop = image[top:top + size, left:left + size]
        recipe = real_degradation.draw_degradation(rng, self.settings, crop.shape[:2], self.scale)
        top, left = rng.integers(0, (size - self.gt_size) // self.scale + 1, 2) * self.scale
        window = (top, top + self.gt_size, left, left + self.gt_size)
        if lq is None:
            bits: Any = rng.bit_generator
            other = np.random.Generator(bits.jumped())  # of the second view; the first is as without it
            gt, lq = real_degradation.degrade(crop, recipe, window, rng, scale=self.scale, gt_usm=self.gt_usm)
            if self.views == 2:
                recipe = real_degradation.draw_degradation(other, self.settings, crop.shape[:2], self.scale)
                second = real_degradation.degrade(crop, recipe, window, other, scale=self.scale, gt_usm=self.gt_usm)[1]
                lq = np.concatenate([lq, second])
            if self.pairs is None:
                return gt, lq
        # The last bit of a sharpened GT patch depends on which pixels are sharpened together. With a cache the GT patch
        # is always sharpened alone, so that a run does not depend on which pairs were in the cache.
        return real_degradation.gt_patch(crop, window, self.gt_usm), lq
