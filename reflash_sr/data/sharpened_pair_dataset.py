"""Given training pairs, whose GT is sharpened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from basicsr.data.realesrgan_paired_dataset import RealESRGANPairedDataset
from basicsr.utils.registry import DATASET_REGISTRY

from reflash_sr.data.training_dataset import to_tensor
from reflash_sr.data.training_degradation.sharpening import usm_sharpen
from reflash_sr.options.value_rules import BOOL, POSITIVE_INT, TEXT, TEXT_OR_NONE


@DATASET_REGISTRY.register()
class SharpenedPairDataset(RealESRGANPairedDataset):
    """BasicSR's pairs with the target of ``RealESRGANModel`` (``l1_gt_usm: true``): the GT, sharpened after cropping.

    Args:
        opt: Section of an option file, with the keys of ``RealESRGANPairedDataset``; ``meta_info`` is a file with lines
            ``gt.png, lq.png``.
    """

    OPTIONS = {'meta_info': TEXT_OR_NONE, 'filename_tmpl': TEXT, 'gt_size': POSITIVE_INT, 'use_hflip': BOOL,
               'use_rot': BOOL}

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Return ``lq`` (3, h, w) and the sharpened ``gt`` (3, h · scale, w · scale), float32 RGB, and their paths."""
        pair = super().__getitem__(index)
        pixels = np.rint(pair['gt'].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        return {**pair, 'gt': to_tensor(usm_sharpen(np.ascontiguousarray(pixels)))}
