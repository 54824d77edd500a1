"""Checks of runs with BasicSR's GAN models and Real-ESRGAN's models: what else fails in the first steps."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

from reflash_sr.data.images.channels import channels_of
from reflash_sr.data.real_degradation_dataset import RealDegradationDataset
from reflash_sr.errors import UserError
from reflash_sr.options import real_esrgan
from reflash_sr.options.known_keys import GAN_MODELS, IMAGE_MODELS
from reflash_sr.options.registry import is_owned, registered
from reflash_sr.system.devices import keep_rng
from reflash_sr.training.attempt import attempt
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.size_limit import Bounded

CROP = 400  # px: RealESRGANDataset crops or pads every GT to this side
_NEEDED = re.compile(r"self\.opt\['(\w+)'\]")


def check_real_esrgan(opt: Mapping[str, Any]) -> None:
    """Check the keys at the top and the sizes that ``RealESRNetModel`` and ``RealESRGANModel`` need for training.

    Args:
        opt: Expanded options.

    Raises:
        UserError: A key is missing or has a wrong value, the sizes do not divide, or the dataset is of another kind.
    """
    name, data = opt['model_type'], opt['datasets'].get('train')
    if name not in real_esrgan.MODELS or not opt['is_train']:
        return
    degrades = opt.get('high_order_degradation', True)
    methods = vars(MODEL_REGISTRY.get(name, suffix='basicsr'))
    readers = [methods[key] for key in ('optimize_parameters', 'feed_data') if key in methods]
    for reader in readers:
        for key in _NEEDED.findall(inspect.getsource(reader)) if degrades or reader.__name__ != 'feed_data' else ():
            rule = RealDegradationDataset.OPTIONS.get(key)
            if key not in opt:
                raise UserError(f'{key}: is missing; {name} reads it at the top of the file')
            if rule and not rule.holds(opt[key]):
                raise UserError(f'{key}: must be {rule.wanted}, not {opt[key]!r}')
    if not degrades:
        return
    kind, scale = data['type'], opt['scale']
    if kind != real_esrgan.GT_ALONE and is_owned(registered(DATASET_REGISTRY, kind, 'datasets: train: type')):
        raise UserError(f'datasets: train: type: {kind} lacks the kernels with which {name} degrades the GT; write '
                        f'{real_esrgan.GT_ALONE}, or for given pairs high_order_degradation: false at the top')
    queue, batch, size = opt.get('queue_size', 180), data['batch_size_per_gpu'], opt['gt_size']
    if queue % batch:
        raise UserError(f'queue_size: {queue} is not a multiple of batch_size_per_gpu, {batch}; write '
                        f'{-(-queue // batch) * batch}')
    for what, number, divides in (('gt_size', size, size % scale == 0), (f'{real_esrgan.GT_ALONE}: its crop', CROP,
                                                                       CROP % scale == 0)):
        if not divides:
            raise UserError(f'{what}: {number} px is not a multiple of the scale, {scale}')
    if size > CROP:
        raise UserError(f'gt_size: {size} px is larger than the crop of {real_esrgan.GT_ALONE}, {CROP} px; write '
                        f'{CROP}, or model_type: {real_esrgan.OURS} with datasets: train: crop_pad_size: {size}')


def check_sample(opt: Mapping[str, Any], sample: Any) -> None:
    """Raise ``UserError`` if a training sample lacks an image that a model of BasicSR or this package trains with."""
    model = opt['model_type']
    degrades = model in real_esrgan.MODELS and opt.get('high_order_degradation', True)
    needed = ('gt',) if degrades else ('gt', 'lq')
    missing = [f'no {key.upper()}' for key in needed if isinstance(sample, Mapping) and key not in sample]
    if missing and model in IMAGE_MODELS + GAN_MODELS:
        raise UserError(f"type: gives {' and '.join(missing)} image, which {model} needs for training")


def check_gan(opt: Mapping[str, Any]) -> None:
    """Build the discriminator, its loss and its optimiser of a GAN once; check that weights fit the discriminator.

    Args:
        opt: Expanded options; ``path: pretrain_network_d`` is the weights file, if any.

    Raises:
        UserError: Something is missing, cannot be built or does not fit.
    """
    model, train = opt['model_type'], opt.get('train') or {}
    if model not in GAN_MODELS or not opt['is_train']:
        return
    for where, section in (('network_d', opt), ('optim_d', train), ('gan_opt', train)):
        if not isinstance(section.get(where), dict):
            where = where if section is opt else f'train: {where}'
            raise UserError(f'{where}: is missing; {model} trains a discriminator and needs this section')
    section = dict(opt['network_d'])
    cls = registered(ARCH_REGISTRY, section.pop('type'), 'network_d: type')
    with keep_rng(), Bounded():
        net = attempt('network_d', cls, cls, **section)
    data = opt['datasets']['train']
    side = opt.get('gt_size') or data['gt_size']
    with keep_rng(), torch.no_grad():
        patch = torch.zeros(1, channels_of(data), side, side)
        score = attempt(f'network_d, for GT patches of {side} px', cls, net.eval(), patch)
    section = dict(train['gan_opt'])
    cls = registered(LOSS_REGISTRY, section.pop('type'), 'train: gan_opt: type')
    attempt('train: gan_opt', cls, attempt('train: gan_opt', cls, cls, **section), score, True, is_disc=False)
    section = dict(train['optim_d'])
    cls = getattr(torch.optim, section.pop('type'))
    attempt('train: optim_d', cls, cls, net.parameters(), **section)
    path = opt['path']
    if path.get('pretrain_network_d') is not None:
        weights.check_fit(net, weights.load_pretrained(path, 'd'), strict=path.get('strict_load_d', True))
