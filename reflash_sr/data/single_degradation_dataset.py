"""Training pairs with one test degradation, by default bicubic downscaling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY

from reflash_sr.data.test_degradation.degradations import check_name, degrade, mod_crop, reach
from reflash_sr.data.training_dataset import TrainingDataset
from reflash_sr.options.value_rules import TEXT

_JPEG_CELL = 16  # px of LQ: with 4:2:0 chroma, JPEG codes units of 16×16 px


@DATASET_REGISTRY.register()
class SingleDegradationDataset(TrainingDataset):
    """Pairs for the single-degradation setting (paper Sec. 5.1): bicubic downscaling and nothing else, by default.

    A patch and its surroundings are degraded, not the whole image. Except for noise, the result is the same.

    Args:
        opt: Section of an option file: the keys of :class:`TrainingDataset`, and ``degradation``, as for
            :class:`DegradationTestDataset` (default ``clean``).

    Raises:
        UserError: No images, images smaller than ``gt_size``, or an unknown degradation.
    """

    OPTIONS = {**TrainingDataset.OPTIONS, 'degradation': TEXT}
    DEFAULTS: ClassVar = {**TrainingDataset.DEFAULTS, 'degradation': 'clean'}

    def __init__(self, opt: Mapping[str, Any]):
        super().__init__(opt)
        self.degradation = check_name(opt.get('degradation', self.DEFAULTS['degradation']))

    def make_pair(self, image: np.ndarray, rng: np.random.Generator,
                  lq: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        image = mod_crop(image, self.scale)
        outer, inner, small = [], [], []
        for side in image.shape[:2]:
            start = int(rng.integers(0, (side - self.gt_size) // self.scale + 1)) * self.scale
            around = self._surroundings(start, side)
            first, last = start - around.start, start - around.start + self.gt_size
            outer.append(around)
            inner.append(slice(first, last))
            small.append(slice(first // self.scale, last // self.scale))
        gt = image[tuple(outer)]
        if lq is None:
            lq = degrade(np.ascontiguousarray(gt), self.degradation, self.scale, rng)[tuple(small)]
        return gt[tuple(inner)], lq

    def _surroundings(self, start: int, side: int) -> slice:
        """The GT pixels along one side that a patch depends on: its JPEG units, and the pixels these depend on."""
        cell, stop = _JPEG_CELL * self.scale, start + self.gt_size
        for around in (self.scale, reach(self.degradation, self.scale)):  # JPEG decoders smooth chroma across one LQ px
            start = max(0, (start - around) // cell * cell)
            stop = min(side, -(-(stop + around) // cell) * cell)
        return slice(start, stop)
