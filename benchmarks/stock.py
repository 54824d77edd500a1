"""BasicSR's own training pairs for blind SR, on a CPU: what ours is compared with.

Patched only as far as it needs to run there. ``RealESRNetModel`` moves tensors and modules to a GPU in four places, and
its ``filter2D`` takes views that do not exist where a convolution's result has another memory layout, as on CPUs.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import reflash_sr  # noqa: F401  isort: skip  (makes BasicSR importable)

import torch
from basicsr.data.realesrgan_dataset import RealESRGANDataset
from basicsr.models import realesrnet_model
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.utils import img_process_util
from torch.nn import functional as F

from reflash_sr.data.training_degradation.second_order import DEFAULTS  # Real-ESRGAN's published values

TINY = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 4}


def stock_dataset(paths: Sequence[str | os.PathLike]) -> RealESRGANDataset:
    """The dataset that hands GT crops (400×400) and kernels to the model.

    Args:
        paths: Photographs.
    """
    options = {**copy.deepcopy(DEFAULTS), 'dataroot_gt': '/', 'meta_info': os.devnull, 'io_backend': {'type': 'disk'},
               'use_hflip': True, 'use_rot': False}
    dataset = RealESRGANDataset(options)
    dataset.paths = [str(path) for path in paths]  # its list of names cannot hold names with spaces
    return dataset


def stock_model(network: Mapping[str, Any] = TINY, batch_size: int = 1, gt_usm: bool = True,
                train: Mapping[str, Any] | None = None, num_gpu: int = 0) -> RealESRNetModel:
    """The model that degrades in ``feed_data``; build and feed it inside :func:`patched`.

    Args:
        network: ``network_g`` of an option file.
        batch_size: Also the size of the pool of pairs.
        gt_usm: Whether the GT is sharpened.
        train: ``train`` of an option file; None for a plain L1 loss and Adam.
        num_gpu: 0 for the CPU, else 1.
    """
    train = train or {'optim_g': {'type': 'Adam', 'lr': 2e-4}, 'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0},
                      'scheduler': {'type': 'MultiStepLR', 'milestones': [10**9]}}
    return RealESRNetModel({
        **copy.deepcopy(DEFAULTS), 'network_g': dict(network), 'train': copy.deepcopy(dict(train)), 'path': {},
        'is_train': True, 'dist': False, 'num_gpu': num_gpu, 'scale': 4, 'gt_size': 128, 'gt_usm': gt_usm,
        'queue_size': batch_size})


def without_pool(model: RealESRNetModel) -> RealESRNetModel:
    """Let ``model.lq`` and ``model.gt`` be the pair just made, not one out of the pool."""
    model._dequeue_and_enqueue = lambda: None
    return model


@contextlib.contextmanager
def patched(separable_usm: bool = False, device: str = 'cpu') -> Iterator[None]:
    """Patch what keeps the model from running on a CPU.

    Args:
        separable_usm: Also sharpen with two passes of 51 taps instead of one of 2601: the same result much sooner.
        device: ``'cuda'`` leaves the model on the GPU that it wants.
    """
    def stay(self, *args, **kwargs):
        return self

    usm_filter = _separable_filter if separable_usm else _contiguous_filter
    with contextlib.ExitStack() as stack:
        for owner in (torch.Tensor, torch.nn.Module) if device == 'cpu' else ():
            stack.enter_context(mock.patch.object(owner, 'cuda', stay))
        stack.enter_context(mock.patch.object(realesrnet_model, 'filter2D', _contiguous_filter))
        stack.enter_context(mock.patch.object(img_process_util, 'filter2D', usm_filter))
        yield


_filter2d = img_process_util.filter2D


def _contiguous_filter(img: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    return _filter2d(img.contiguous(), kernel)


def _separable_filter(img: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    batch, channels, height, width = img.shape
    taps = kernel[0].sum(0)  # the kernel is an outer product and sums to 1
    margin = len(taps) // 2
    img = F.pad(img, (margin,) * 4, mode='reflect').reshape(batch * channels, 1, height + 2 * margin, -1)
    img = F.conv2d(F.conv2d(img, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))
    return img.view(batch, channels, height, width)
