"""Translation of Real-ESRGAN's option files: the same recipe, by classes that run on any device.

BasicSR's ``RealESRNetModel`` and ``RealESRGANModel`` degrade whole batches on a GPU (they call ``.cuda()``), by keys at
the top of the file. ``RealDegradationDataset`` does the same to each sample, by the same keys in its own section.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils import registry

from reflash_sr.errors import UserError
from reflash_sr.options import known_keys
from reflash_sr.options.value_rules import is_int

OURS = 'ReflashSRModel'
MODELS = ('RealESRNetModel', 'RealESRGANModel')
GT_ALONE, PAIRS = 'RealESRGANDataset', 'RealESRGANPairedDataset'
WITH_PAIRS = [name for name in known_keys.IMAGE_MODELS + known_keys.GAN_MODELS if name not in (OURS, *MODELS)]
# Keys, as section:key, that have no counterpart, and why.
_LEFT_OUT = {
    'every sample is degraded on its own': ('queue_size',),
    'all losses compare with the same GT': ('percep_gt_usm',),
    'the generator is trained alone, without a GAN loss': (
        'gan_gt_usm', 'network_d', 'train:optim_d', 'train:gan_opt', 'train:ldl_opt', 'train:net_d_iters',
        'train:net_d_init_iters', 'path:pretrain_network_d', 'path:param_key_d', 'path:strict_load_d'),
}  # yapf: disable


def may_use_cuda(opt: Mapping[str, Any]) -> bool:
    """Whether a run with these options takes a CUDA device of this machine."""
    return torch.cuda.is_available() and opt.get('num_gpu') != 0 and opt.get('device', 'auto') in ('auto', 'cuda')


def translate(opt: dict[str, Any], is_train: bool) -> str | None:
    """Translate the options of Real-ESRGAN in place, where its classes cannot run or the user asks for ours.

    Its classes need CUDA. ``model_type: ReflashSRModel`` with a dataset of Real-ESRGAN asks for ours everywhere.

    Returns:
        What became what, in one line; None if nothing did.

    Raises:
        UserError: A GAN without CUDA, or a training set that does not fit the model or ``high_order_degradation``.
    """
    model, cuda = opt['model_type'], may_use_cuda(opt)
    data = opt['datasets'].get('train') if is_train and isinstance(opt['datasets'], dict) else None
    data = data if isinstance(data, dict) else {}
    if model in MODELS and data.get('type') == GT_ALONE and opt.get('high_order_degradation') is False:
        raise UserError(f'datasets: train: type: {GT_ALONE} has no LQ images, and high_order_degradation: false makes '
                        f'none; write type: {PAIRS} with dataroot_lq, or remove high_order_degradation')
    if model in WITH_PAIRS and data.get('type') == GT_ALONE:
        raise UserError(f'model_type: {model} needs LQ images, and {GT_ALONE} has none; write RealESRNetModel, or '
                        f'{OURS}')
    changes: list[str] = []
    if model in MODELS and not cuda:
        if model == 'RealESRGANModel' and is_train:
            raise UserError(f'model_type: {model} needs a CUDA device, and this run has none; use a machine with an '
                            f'NVIDIA GPU, or write model_type: {OURS}: it trains the generator alone, without the GAN '
                            'loss, with every other value of this file')
        opt['model_type'] = OURS
        changes.append(f'model_type: {model} → {OURS} (no CUDA device)')
    elif model != OURS or data.get('type') not in (GT_ALONE, PAIRS):
        return None
    kind = data.get('type')
    changes += _usm(opt, data) + _degradation(opt, data)
    if data.get('type') != kind:
        changes.append(f"datasets: train: type: {kind} → {data['type']}")
    changes += _batch(opt, data) if data and not cuda else []
    changes += _left_out(opt)
    return f"Real-ESRGAN's recipe, by classes of this package: {'; '.join(changes)}" if changes else None


def _usm(opt: dict[str, Any], data: dict[str, Any]) -> list[str]:
    """Sharpening of the GT: ``gt_usm`` of RealESRNetModel, ``l1_gt_usm`` of RealESRGANModel."""
    changes = []
    for key in [key for key in ('gt_usm', 'l1_gt_usm') if key in opt]:
        value = opt.pop(key)
        if data.get('type') == GT_ALONE:
            data['gt_usm'] = value
            note = '' if key == 'gt_usm' or value else ' (the LQ is made from the unsharpened GT, too)'
            changes.append(f'{key} → datasets: train: gt_usm{note}')
        elif key == 'l1_gt_usm' and value and data.get('type') == PAIRS:
            data['type'] = 'SharpenedPairDataset'
        else:
            changes.append(f"left out: {key} ({'the GT of pairs is taken as it is' if data else 'for training alone'})")
    return changes


def _degradation(opt: dict[str, Any], data: dict[str, Any]) -> list[str]:
    """Move the keys of the dataset from the top of the file into its section; their models read them at the top."""
    options = registry.DATASET_REGISTRY.get('RealDegradationDataset').OPTIONS
    keys = [key for key in opt if key in options and key not in known_keys.TOP]
    opt.pop('high_order_degradation', None)
    if data.get('type') != GT_ALONE:
        for key in keys:
            opt.pop(key)
        reason = 'the LQ images are given' if data else 'for training alone'
        return [f"left out: {', '.join(keys)} ({reason})"] if keys else []
    changes = [f'datasets: train: {key}: {data[key]} → {opt[key]}, as at the top of the file' for key in keys
               if data.get(key, opt[key]) != opt[key]]
    data['type'] = 'RealDegradationDataset'
    data.update({key: opt.pop(key) for key in keys})
    return [*changes, f"from the top of the file to datasets: train: {', '.join(keys)}"] if keys else changes


def _batch(opt: dict[str, Any], data: dict[str, Any]) -> list[str]:
    """Keep the batch of all GPUs of the file, in as many parts as it has GPUs."""
    gpus: Any = opt.get('num_gpu')
    size: Any = data.get('batch_size_per_gpu')
    if not (is_int(gpus) and is_int(size) and gpus > 1) or 'total_batch_size' in data:
        return []
    del data['batch_size_per_gpu']
    opt['num_gpu'], data['total_batch_size'] = 'auto', gpus * size
    if isinstance(opt.get('train'), dict):
        opt['train'].setdefault('accumulate', gpus)
    return [f'num_gpu: {gpus} × batch_size_per_gpu: {size} → total_batch_size: {gpus * size}, in {gpus} parts '
            '(train: accumulate)']


def _left_out(opt: dict[str, Any]) -> list[str]:
    changes = []
    for reason, keys in _LEFT_OUT.items():
        gone = []
        for path in keys:
            section, _, key = path.rpartition(':')
            values = opt.get(section) if section else opt
            if isinstance(values, dict) and values.pop(key, reason) is not reason:
                gone.append(path)
        if gone:
            changes.append(f"left out: {', '.join(gone)} ({reason})")
    return changes
