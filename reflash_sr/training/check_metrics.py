"""Checks that every metric can be measured on the validation sets, before anything is written."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY

from reflash_sr.data.images.channels import channels_of
from reflash_sr.data.images.image_source import read_list
from reflash_sr.data.images.read_image import image_size
from reflash_sr.errors import UserError
from reflash_sr.models.checkpoints import BETTER
from reflash_sr.models.validation import needs_gt, value_of
from reflash_sr.options.registry import is_owned, registered
from reflash_sr.training.check_pairs import Size

LARGEST = 512  # px: a metric that accepts such an image, inside the border, is taken to accept any larger one
NEEDS = {'calculate_niqe': 'it needs two blocks of 96×96 px'}  # where the error of BasicSR's function does not say so


def check_metrics(opt: Mapping[str, Any], sets: Mapping[str, tuple[bool, Mapping[Path, Size]]]) -> None:
    """Check the metrics in ``val: metrics``, and fill in whether higher or lower is ``better``.

    A ``ReflashSRModel`` measures a metric that needs a GT on the sets that have one; BasicSR's models fail.

    Args:
        opt: Expanded options.
        sets: For each validation set, by its key: whether it has GT images, and the sizes of its SR images.

    Raises:
        UserError: A metric is not known, needs a GT that is not there, or does not accept the size of an image.
    """
    section = opt.get('val') or {}
    for name, metric in (section.get('metrics') or {}).items():
        where = f'val: metrics: {name}'
        function = registered(METRIC_REGISTRY, metric['type'], f'{where}: type')
        if metric['type'] in BETTER:
            metric.setdefault('better', BETTER[metric['type']])
        elif section.get('keep_best') and 'better' not in metric:
            raise UserError(f'{where}: better: is missing; write higher or lower, because keep_best needs it')
        without = [key for key, (has_gt, _) in sets.items() if not has_gt] if needs_gt(metric) else []
        if without and (opt['model_type'] != 'ReflashSRModel' or len(without) == len(sets)):
            raise UserError(f"{where}: {metric['type']} needs a GT, and datasets: {without[0]}: has none; measure a "
                            'metric without reference, such as calculate_niqe, or remove one of the two')
        if without:
            logging.getLogger('basicsr').warning('%s: is not measured on %s, because there is no GT', where,
                                                 ', '.join(without))
        grey = [key for key in sets if channels_of(opt['datasets'][key]) == 1]
        if grey and metric.get('convert_to') == 'gray':
            raise UserError(f'{where}: convert_to: gray needs RGB images, and datasets: {grey[0]}: gives Y; leave '
                            'convert_to out')
        for key, (_, sizes) in sets.items():
            if key not in without:
                _check_sizes(where, metric, function, sizes, channels_of(opt['datasets'][key]))


def sr_sizes(dataset: Any, scale: int) -> dict[Path, Size]:
    """Sizes of the images of a dataset of this package, cropped to a multiple of the scale."""
    source = dataset.source
    if source.on_disk:
        with ThreadPoolExecutor() as pool:
            sizes = dict(zip(source.paths, pool.map(image_size, source.paths)))
    else:
        root = Path(source.root)
        sizes = {root / name: size for name, size in read_list(root / 'meta_info.txt') if size is not None}
    return {path: (height - height % scale, width - width % scale) for path, (height, width) in sizes.items()}


def _check_sizes(where: str, metric: Mapping[str, Any], function: Any, sizes: Mapping[Path, Size],
                 channels: int) -> None:
    """Measure noise images of the smallest sizes, because some metrics do not accept every size."""
    largest = LARGEST + 2 * metric.get('crop_border', 0)
    for path, (height, width) in _smallest(sizes):
        shape = min(height, largest), min(width, largest), channels
        sr, gt = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # of the mean of an empty array
                value = float(value_of(metric, sr, gt))
            problem = str(value) if math.isnan(value) else ''
        except Exception as error:
            if not is_owned(function):
                raise
            problem = str(error) or type(error).__name__
        if problem:
            raise UserError(f'{where}: does not accept images of {width}×{height} px, such as {path} '
                            f"({NEEDS.get(metric['type'], problem)}); remove the image or the metric, or lower "
                            'crop_border')


def _smallest(sizes: Mapping[Path, Size]) -> Iterable[tuple[Path, Size]]:
    """The images than which no other is smaller on both sides."""
    best: list[tuple[Path, Size]] = []
    for path, size in sorted(sizes.items(), key=lambda item: item[1]):  # heights rise, so widths must fall
        if not best or size[1] < best[-1][1][1]:
            best.append((path, size))
    return best
