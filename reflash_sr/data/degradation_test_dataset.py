"""Test pairs: GT images, and LQ images that are made on the fly (paper Sec. 5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from reflash_sr.data.images import channels
from reflash_sr.data.images import image_source as source
from reflash_sr.data.images.read_image import depth_note, read_header
from reflash_sr.data.test_degradation.benchmark_sets import DegradedSet
from reflash_sr.data.test_degradation.degradations import EIGHT, check_name
from reflash_sr.data.training_dataset import logger, to_tensor
from reflash_sr.errors import UserError
from reflash_sr.options.value_rules import ANY, COUNT, POSITIVE_INT, TEXT


@DATASET_REGISTRY.register()
class DegradationTestDataset(Dataset):
    """Every image under every degradation, the same pairs on every machine and in every run.

    Args:
        opt: Section of an option file: ``dataroot_gt``, ``scale``, and ``degradation`` (one name of
            ``clean blur noise jpeg b+n b+j n+j b+n+j nearest``, or chosen strengths such as ``blur:3``,
            ``noise:30+jpeg:30``, ``down:matlab``; default ``clean``) or ``degradations`` (a list of them, or ``all``:
            the eight of Table 1). ``noise_seed`` (default 0) seeds the noise of each image and degradation. The run's
            ``manual_seed`` does not, so runs with different seeds are compared on the same images. ``color: y`` turns
            both images into Y, as in :class:`~reflash_sr.data.training_dataset.TrainingDataset`.

    Raises:
        UserError: No images, an unknown degradation, or an image that cannot be read: a test set must be complete.
    """

    OPTIONS = {**source.OPTIONS, **channels.OPTIONS, 'scale': POSITIVE_INT, 'degradation': TEXT, 'degradations': ANY,
               'noise_seed': COUNT}

    def __init__(self, opt: Mapping[str, Any]):
        self.opt, self.scale = opt, opt['scale']
        self.source = source.ImageSource(opt)
        self.degradations = _names(opt)
        self.set = DegradedSet(str(opt.get('name')), self.source, self.degradations, self.scale,
                               opt.get('noise_seed', 0))
        self.source.check(self.scale, f'at scale {self.scale} a side needs {self.scale} px')
        if self.source.on_disk:
            note = depth_note([read_header(path)[2] for path in self.source.paths])
            if note:
                logger.warning('%s: %s', self.source.root, note)

    def __len__(self) -> int:
        return len(self.source) * len(self.degradations)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Make one pair.

        Returns:
            ``lq`` (C, H / scale, W / scale) and ``gt`` (C, H, W), float32 RGB or Y in [0, 1], GT cropped to a multiple
            of the scale; ``gt_path``; ``lq_path``, a different name for each pair; ``degradation``.
        """
        place, which = divmod(index, len(self.degradations))
        name, degradation = self.source.names[place], self.degradations[which]
        written = degradation.replace(':', '-')  # no name of a file on Windows has a colon
        lq, gt = (channels.to_channels(to_tensor(image), channels.channels_of(self.opt))
                  for image in self.set.pair(place, degradation))
        return {'lq': lq, 'gt': gt, 'gt_path': str(self.source.paths[place]),
                'lq_path': str(Path(written, f'{name}_{written}.png')), 'degradation': degradation}


def _names(opt: Mapping[str, Any]) -> list[str]:
    if 'degradation' in opt and 'degradations' in opt:
        raise UserError("degradation, degradations: both are given; write one of them ('degradations: all' is the "
                        'eight of Table 1)')
    names = opt.get('degradations', opt.get('degradation', 'clean'))
    names = list(EIGHT) if names == 'all' else [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)) or not names:
        raise UserError(f"degradations: must be 'all' or a list of names, not {names!r}")
    if len({check_name(name) for name in names}) < len(names):
        raise UserError(f'degradations: a name is given twice in {list(names)}')
    return list(names)
