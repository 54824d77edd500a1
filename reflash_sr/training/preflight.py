"""Everything that can be wrong with a run's data, network and weights, found before anything is written."""

from __future__ import annotations

import math
import os
import random
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY

from reflash_sr.data.images.read_image import image_size
from reflash_sr.errors import UserError
from reflash_sr.options.known_keys import IMAGE_MODELS, SCHEDULERS
from reflash_sr.options.registry import is_owned, registered
from reflash_sr.system.devices import keep_rng
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.size_limit import Bounded
from reflash_sr.weights.trained_network import size_multiple

SMALL = 32  # px


def open_datasets(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Build every set of a run.

    Args:
        opt: Expanded options.

    Returns:
        The sets, by their keys under ``datasets``.

    Raises:
        UserError: A set cannot be built or is empty, or the training set is smaller than a batch.
    """
    datasets = {}
    for key, section in opt['datasets'].items():
        cls = registered(DATASET_REGISTRY, section['type'], f'datasets: {key}: type')
        datasets[key] = _attempt(f'datasets: {key}', cls, cls, deepcopy(section))
        if len(datasets[key]) == 0:
            raise UserError(f'datasets: {key}: is empty')
        if key == 'train':
            _check_batch(section, len(datasets[key]), opt['world_size'])
            if getattr(datasets[key], 'pairs', None) is not None:
                _check_cache(datasets[key], opt)
            _check_pairs(datasets[key], opt['scale'])
        if key == 'train' or cls.__module__.startswith('basicsr'):  # our test sets have read all of their images
            _draw_one(cls, datasets[key], f'datasets: {key}')
        if key != 'train':
            _check_metrics(opt, datasets[key])
    return datasets


def _check_cache(dataset: Any, opt: Mapping[str, Any]) -> None:
    if dataset.seed != opt['manual_seed']:  # the stream of draws follows the run's, and with it which image is which
        raise UserError(f"datasets: train: manual_seed: {dataset.seed} is not that of the run, {opt['manual_seed']}; "
                        'with a pairs_cache they must be the same')
    dataset.pairs.check()


def _check_metrics(opt: Mapping[str, Any], dataset: Any) -> None:
    """Measure two noisy images of the size of the smallest one: some metrics do not take every size."""
    source = getattr(dataset, 'source', None)
    if not (opt.get('val') or {}).get('metrics') or not getattr(source, 'on_disk', False):
        return
    path = min(source.paths, key=lambda path: min(image_size(path)))
    height, width = (side - side % opt['scale'] for side in image_size(path))
    img, img2 = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    for name, metric in opt['val']['metrics'].items():
        function = registered(METRIC_REGISTRY, metric['type'], f'val: metrics: {name}: type')
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # of means of nothing
                value = float(calculate_metric({'img': img, 'img2': img2}, dict(metric)))
        except Exception as error:
            if not is_owned(function):
                raise
            value = str(error) or type(error).__name__
        if isinstance(value, str) or math.isnan(value):
            raise UserError(f'val: metrics: {name}: does not take images of {width}×{height} px, such as {path} '
                            f'({value}); take the image or the metric away, or lower crop_border')


def _draw_one(cls: Any, dataset: Any, where: str) -> None:
    """Make one sample, of a copy: what a set opens while it reads must not cross into a loader's worker."""
    states = random.getstate(), np.random.get_state()
    try:
        with keep_rng():
            sample = _attempt(where, cls, deepcopy(dataset).__getitem__, 0)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
    for name, value in sample.items() if isinstance(sample, Mapping) and is_owned(cls) else ():
        if isinstance(value, torch.Tensor) and 0 in value.shape:
            raise UserError(f'{where}: {name} has the shape {tuple(value.shape)}; look at the sizes of its images')


def _check_pairs(dataset: Any, scale: int) -> None:
    """Hold every LQ image of BasicSR's paired sets against the size of its GT image."""
    for pair in getattr(dataset, 'paths', []):
        if not isinstance(pair, dict) or not all(os.path.exists(pair.get(f'{key}_path', '')) for key in ('lq', 'gt')):
            return  # an LMDB, or no pairs
        lq, gt = (image_size(pair[f'{key}_path']) for key in ('lq', 'gt'))
        if gt != (lq[0] * scale, lq[1] * scale):
            raise UserError(f'datasets: train: {pair["lq_path"]}: {lq[1]}×{lq[0]} px does not go with '
                            f'{pair["gt_path"]}: {gt[1]}×{gt[0]} px at scale {scale}')


def _check_batch(section: Mapping[str, Any], images: int, world_size: int) -> None:
    batch = section['batch_size_per_gpu'] * world_size
    ratio = section.get('dataset_enlarge_ratio', 1)
    if images * ratio < batch:
        raise UserError(f'datasets: train: {images} images × dataset_enlarge_ratio {ratio} is less than a batch of '
                        f'{batch}; add images, lower total_batch_size, or write dataset_enlarge_ratio: '
                        f'{-(-batch // images)}')


def check_parts(opt: Mapping[str, Any]) -> None:
    """See that ``train: accumulate`` divides the batch of a process.

    Raises:
        UserError: It does not.
    """
    parts = (opt.get('train') or {}).get('accumulate', 1)
    batch = opt['datasets'].get('train', {}).get('batch_size_per_gpu', parts)
    if batch % parts:
        raise UserError(f'train: accumulate: a batch of {batch} per process does not divide into {parts} equal parts; '
                        f'write {max(n for n in range(1, min(parts, batch) + 1) if batch % n == 0)}')


def check_network(opt: Mapping[str, Any]) -> None:
    """Build the network, the optimiser, the scheduler and the losses once, and hold the weights against the network.

    Args:
        opt: Expanded options; ``path: pretrain_network_g`` is the weights file, if any.

    Raises:
        UserError: Something cannot be built, the weights do not fit, or a test has none.
    """
    section = dict(opt['network_g'])
    cls = registered(ARCH_REGISTRY, section.pop('type'), 'network_g: type')
    with keep_rng(), Bounded():
        net = _attempt('network_g', cls, cls, **section)
    if opt['model_type'] in IMAGE_MODELS:
        grey = any(one.get('color') == 'y' for one in opt['datasets'].values())  # of BasicSR's paired sets
        _check_image(net, opt['scale'], 1 if grey else 3, size_multiple(opt['network_g']))
    path = opt['path'].get('pretrain_network_g')
    if path is not None:
        loaded = weights.load_weights(path, opt['path'].get('param_key_g', 'params'))
        if opt['path'].get('strict_load_g', True):
            weights.check_fit(net, loaded)
    elif not opt['is_train']:
        raise UserError('path: pretrain_network_g: is empty; write the weights file to test')
    if opt['is_train']:
        _check_training(opt['train'], net)


def _check_image(net: torch.nn.Module, scale: int, channels: int, multiple: int) -> None:
    """Run the network once on a small image: what comes out must be ``scale`` times as large."""
    side = -(-SMALL // multiple) * multiple
    with keep_rng(), torch.no_grad():
        sr = _attempt('network_g', type(net), net.eval(), torch.zeros(1, channels, side, side))
    wanted = (1, channels, side * scale, side * scale)
    if getattr(sr, 'shape', None) != wanted:
        made = tuple(getattr(sr, 'shape', ()))
        raise UserError(f'network_g: makes {made} out of an image of (1, {channels}, {side}, {side}); scale: {scale} '
                        f'needs {wanted}. Look at upscale or scale, upsampler, num_in_ch and num_out_ch')


def _check_training(train: Mapping[str, Any], net: torch.nn.Module) -> None:
    optim = dict(train['optim_g'])
    optimiser_class = getattr(torch.optim, optim.pop('type'))
    optimiser = _attempt('train: optim_g', optimiser_class, optimiser_class, net.parameters(), **optim)
    scheduler = dict(train['scheduler'])
    scheduler_class = SCHEDULERS[scheduler.pop('type')]
    _attempt('train: scheduler', scheduler_class, scheduler_class, optimiser, **scheduler)
    loss = dict(train.get('pixel_opt') or {})
    if loss:
        loss_class = registered(LOSS_REGISTRY, loss.pop('type'), 'train: pixel_opt: type')
        criterion = _attempt('train: pixel_opt', loss_class, loss_class, **loss)
        value = _attempt('train: pixel_opt', loss_class, criterion, torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
        if value.dim() != 0:
            raise UserError("train: pixel_opt: reduction: must be mean or sum: the loss must be one number")
    elif not train.get('perceptual_opt'):
        raise UserError('train: pixel_opt: is missing; write a loss, as in pixel_opt: {type: L1Loss}')
    loss = dict(train.get('perceptual_opt') or {})
    if loss:
        loss_class = registered(LOSS_REGISTRY, loss.pop('type'), 'train: perceptual_opt: type')
        criterion = _attempt('train: perceptual_opt', loss_class, loss_class, **loss)
        _attempt('train: perceptual_opt', loss_class, criterion, torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))


def _attempt(where: str, owner: Any, build: Callable, *args: Any, **kwargs: Any) -> Any:
    """Build something; what goes wrong in a class that we know is the option's fault, elsewhere it is a traceback's."""
    try:
        return build(*args, **kwargs)
    except UserError as error:
        raise UserError(f'{where}: {error}') from error
    except KeyError as error:
        raise UserError(f'{where}: {error.args[0]}: is missing') from error
    except Exception as error:
        if not is_owned(owner):
            raise
        raise UserError(f'{where}: {owner.__name__} does not accept these options: {error}') from error
