"""Checks of a run's data, network and weights, before anything is written."""

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
from reflash_sr.weights.network_from_file import size_multiple
from reflash_sr.weights.size_limit import Bounded

SMALL = 32  # px


def open_datasets(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Build and check every dataset of a run.

    Args:
        opt: Expanded options.

    Returns:
        The datasets, by their keys under ``datasets``.

    Raises:
        UserError: A dataset cannot be built, is empty or contradicts its options.
    """
    datasets = {}
    for key, section in opt['datasets'].items():
        cls = registered(DATASET_REGISTRY, section['type'], f'datasets: {key}: type')
        dataset = datasets[key] = _attempt(f'datasets: {key}', cls, cls, deepcopy(section))
        if len(dataset) == 0:
            raise UserError(f'datasets: {key}: is empty')
        if key == 'train':
            _check_batch(section, len(dataset), opt['world_size'])
            _check_cache(dataset, opt['manual_seed'])
            _check_pairs(dataset, opt['scale'])
        if key == 'train' or cls.__module__.startswith('basicsr'):  # our test sets have read all of their images
            _draw_one(cls, dataset, f'datasets: {key}')
        if key != 'train':
            _check_metrics(opt, dataset)
    return datasets


def _check_batch(section: Mapping[str, Any], images: int, world_size: int) -> None:
    batch = section['batch_size_per_gpu'] * world_size
    ratio = section.get('dataset_enlarge_ratio', 1)
    if images * ratio < batch:
        raise UserError(f'datasets: train: {images} images × dataset_enlarge_ratio {ratio} is less than a batch of '
                        f'{batch}; add images, lower total_batch_size, or write dataset_enlarge_ratio: '
                        f'{-(-batch // images)}')


def _check_cache(dataset: Any, seed: int) -> None:
    if getattr(dataset, 'pairs', None) is None:
        return
    if dataset.seed != seed:  # the order of the images follows the run's
        raise UserError(f'datasets: train: manual_seed: {dataset.seed} differs from that of the run, {seed}; with a '
                        'pairs_cache they must be equal')
    dataset.pairs.check()


def _check_pairs(dataset: Any, scale: int) -> None:
    """Compare the sizes of the LQ and GT images of BasicSR's paired datasets."""
    for pair in getattr(dataset, 'paths', []):
        if not isinstance(pair, dict) or not all(os.path.exists(pair.get(f'{key}_path', '')) for key in ('lq', 'gt')):
            return  # an LMDB, or not a paired dataset
        lq, gt = (image_size(pair[f'{key}_path']) for key in ('lq', 'gt'))
        if gt != (lq[0] * scale, lq[1] * scale):
            raise UserError(f'datasets: train: {pair["lq_path"]}: {lq[1]}×{lq[0]} px does not match '
                            f'{pair["gt_path"]}: {gt[1]}×{gt[0]} px at scale {scale}')


def _draw_one(cls: Any, dataset: Any, where: str) -> None:
    """Make one sample from a copy, because files that the dataset opens must not be shared with a loader's workers."""
    states = random.getstate(), np.random.get_state()
    try:
        with keep_rng():
            sample = _attempt(where, cls, deepcopy(dataset).__getitem__, 0)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
    for name, value in sample.items() if isinstance(sample, Mapping) and is_owned(cls) else ():
        if isinstance(value, torch.Tensor) and 0 in value.shape:
            raise UserError(f'{where}: {name} has the shape {tuple(value.shape)}; check the sizes of its images')


def _check_metrics(opt: Mapping[str, Any], dataset: Any) -> None:
    """Measure two noise images of the size of the smallest image, because some metrics do not accept every size."""
    metrics = (opt.get('val') or {}).get('metrics') or {}
    source: Any = getattr(dataset, 'source', None)
    if not metrics or not getattr(source, 'on_disk', False):
        return
    path = min(source.paths, key=lambda path: min(image_size(path)))
    height, width = (side - side % opt['scale'] for side in image_size(path))
    img, img2 = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    for name, metric in metrics.items():
        function = registered(METRIC_REGISTRY, metric['type'], f'val: metrics: {name}: type')
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # of the mean of an empty array
                value = float(calculate_metric({'img': img, 'img2': img2}, dict(metric)))
            problem = str(value) if math.isnan(value) else ''
        except Exception as error:
            if not is_owned(function):
                raise
            problem = str(error) or type(error).__name__
        if problem:
            raise UserError(f'val: metrics: {name}: does not accept images of {width}×{height} px, such as {path} '
                            f'({problem}); remove the image or the metric, or lower crop_border')


def check_parts(opt: Mapping[str, Any]) -> None:
    """Raise ``UserError`` if ``train: accumulate`` does not divide the batch of a process."""
    parts = (opt.get('train') or {}).get('accumulate', 1)
    batch = opt['datasets'].get('train', {}).get('batch_size_per_gpu', parts)
    if batch % parts:
        raise UserError(f'train: accumulate: a batch of {batch} per process does not divide into {parts} equal parts; '
                        f'write {max(n for n in range(1, min(parts, batch) + 1) if batch % n == 0)}')


def check_network(opt: Mapping[str, Any]) -> None:
    """Build the network, the optimiser, the scheduler and the losses once; check that the weights fit the network.

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
        grey = any(options.get('color') == 'y' for options in opt['datasets'].values())  # BasicSR's paired datasets
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
    """Run the network once on a small image: its output must be ``scale`` times as large."""
    side = -(-SMALL // multiple) * multiple
    with keep_rng(), torch.no_grad():
        sr = _attempt('network_g', type(net), net.eval(), torch.zeros(1, channels, side, side))
    wanted = (1, channels, side * scale, side * scale)
    if getattr(sr, 'shape', None) != wanted:
        made = tuple(getattr(sr, 'shape', ()))
        raise UserError(f'network_g: returns {made} for an image of (1, {channels}, {side}, {side}); scale: {scale} '
                        f'needs {wanted}. Check upscale or scale, upsampler, num_in_ch and num_out_ch')


def _check_training(train: Mapping[str, Any], net: torch.nn.Module) -> None:
    optim, scheduler = dict(train['optim_g']), dict(train['scheduler'])
    cls = getattr(torch.optim, optim.pop('type'))
    optimiser = _attempt('train: optim_g', cls, cls, net.parameters(), **optim)
    cls = SCHEDULERS[scheduler.pop('type')]
    schedule = _attempt('train: scheduler', cls, cls, optimiser, **scheduler)
    schedule.last_epoch = train['total_iter'] - 2
    optimiser.step()  # without gradients, it changes nothing; torch wants it before a scheduler's step
    _attempt('train: scheduler', cls, schedule.step)  # the last step of the run: some schedules end before
    if not train.get('pixel_opt') and not train.get('perceptual_opt'):
        raise UserError('train: pixel_opt: is missing; write a loss, as in pixel_opt: {type: L1Loss}')
    for key in ('pixel_opt', 'perceptual_opt'):
        loss = dict(train.get(key) or {})
        if loss:
            cls = registered(LOSS_REGISTRY, loss.pop('type'), f'train: {key}: type')
            criterion = _attempt(f'train: {key}', cls, cls, **loss)
            value = _attempt(f'train: {key}', cls, criterion, *torch.zeros(2, 1, 3, SMALL, SMALL))
            if key == 'pixel_opt' and value.dim() != 0:
                raise UserError('train: pixel_opt: reduction: must be mean or sum: the loss must be one number')


def _attempt(where: str, owner: Any, build: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call ``build``; errors of our, BasicSR's or torch's classes become a ``UserError`` about the options."""
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
