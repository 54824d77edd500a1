"""Checks of a run's data, network and weights, before anything is written."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

from reflash_sr.data.images.channels import channels_of
from reflash_sr.dropout import end_of_schedule
from reflash_sr.errors import UserError, suggest
from reflash_sr.models import ReflashSRModel
from reflash_sr.options.known_keys import GAN_MODELS, IMAGE_MODELS, SCHEDULERS
from reflash_sr.options.registry import is_owned, registered
from reflash_sr.system.devices import keep_rng
from reflash_sr.training.attempt import attempt
from reflash_sr.training.check_align import check_align, check_views
from reflash_sr.training.check_gan import check_sample
from reflash_sr.training.check_metrics import check_metrics, sr_sizes
from reflash_sr.training.check_output import check_result_names, check_room
from reflash_sr.training.check_pairs import check_names, check_pairs
from reflash_sr.training.check_workers import check_workers
from reflash_sr.training.cuda_ops import try_network
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.network_from_file import CHANNELS, size_multiple
from reflash_sr.weights.size_limit import Bounded

SMALL = 32  # px
MOST_SCALE = 16
NEEDS_VALIDATION = ('at_start', 'strips', 'strip_degradations')  # keys of val
# What to write if a network takes so many channels, and the datasets do not give them.
_OTHERWISE = {1: ', or color: y in every dataset', 3: ', or leave out color: y', 4: '; no dataset gives alpha'}


def open_datasets(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Build and check every dataset of a run.

    Args:
        opt: Expanded options.

    Returns:
        The datasets, by their keys under ``datasets``.

    Raises:
        UserError: A dataset cannot be built, is empty, contradicts its options, or cannot be measured.
    """
    _check_colours(opt)
    datasets, val_sets, lq_files = {}, {}, {}
    for key, section in opt['datasets'].items():
        where = f'datasets: {key}'
        cls = registered(DATASET_REGISTRY, section['type'], f'{where}: type')
        attempt(where, cls, check_names, cls, section)
        dataset = datasets[key] = attempt(where, cls, cls, deepcopy(section))
        if len(dataset) == 0:
            raise UserError(f'{where}: is empty')
        sizes = attempt(where, cls, check_pairs, dataset, section, opt['scale'])
        if key == 'train':
            _check_batch(section, len(dataset), opt['world_size'])
            _check_cache(dataset, opt['manual_seed'])
            sample = _draw_one(cls, dataset, where)
            attempt(where, cls, check_sample, opt, sample)
            check_views(opt, sample)
            check_workers(section, sample)
        elif hasattr(dataset, 'source'):  # our test sets have read all of their images
            val_sets[key] = True, sr_sizes(dataset, opt['scale'])
        else:
            val_sets[key] = 'gt' in _draw_one(cls, dataset, where), sizes
            lq_files[key] = sizes
    check_result_names(opt, lq_files)
    _check_validation(opt, [dataset for key, dataset in datasets.items() if key != 'train'])
    if val_sets and opt.get('val'):
        check_metrics(opt, val_sets)
    elif bool(val_sets) != bool(opt.get('val')):
        logging.getLogger('basicsr').warning('No validation: the option file has %s.', 'no section val' if val_sets else
                                             'a section val, but no validation set under datasets')
    return datasets


def _check_validation(opt: Mapping[str, Any], val_sets: Sequence[Any]) -> None:
    """Raise ``UserError`` if a key of ``val`` asks for a validation that measures nothing, or shows nothing."""
    section = opt.get('val') or {}
    lacks = 'val: metrics' if not section.get('metrics') else '' if val_sets else 'a validation set under datasets'
    for key in (key for key in NEEDS_VALIDATION if section.get(key) and lacks):
        raise UserError(f'val: {key}: needs {lacks}; write it, or remove {key}')
    shown = section.get('strip_degradations') or ()
    if shown and 'strips' not in section:
        raise UserError('val: strip_degradations: needs strips, the number of images that are shown, as in strips: 2')
    measured = {name for dataset in val_sets for name in getattr(dataset, 'degradations', ())}
    for name in (name for name in shown if name not in measured):
        raise UserError(f"val: strip_degradations: '{name}' is in no validation set{suggest(name, measured)}")


def _check_colours(opt: Mapping[str, Any]) -> None:
    """Check that all datasets of this package and of BasicSR give Y, or that all give RGB."""
    of = {key: section.get('color') == 'y' for key, section in opt['datasets'].items()
          if is_owned(registered(DATASET_REGISTRY, section['type'], f'datasets: {key}: type'))}
    if opt['model_type'] in IMAGE_MODELS + GAN_MODELS and len({*of.values()}) > 1:
        y, rgb = (next(key for key in of if of[key] is wanted) for wanted in (True, False))
        raise UserError(f'datasets: {rgb}: gives RGB images, but {y} gives Y (color: y), and the network takes one '
                        'kind; write color: y in every dataset, or in none')


def _check_batch(section: dict[str, Any], images: int, world_size: int) -> None:
    """Check that the images fill a batch; ``dataset_enlarge_ratio: auto`` becomes the smallest number that does."""
    batch = section['batch_size_per_gpu'] * world_size
    enough = -(-batch // images)
    if section.get('dataset_enlarge_ratio') == 'auto':
        section['dataset_enlarge_ratio'] = enough
    ratio = section.get('dataset_enlarge_ratio', 1)
    if images * ratio < batch:
        raise UserError(f'datasets: train: {images} images × dataset_enlarge_ratio {ratio} is less than a batch of '
                        f'{batch}; add images, lower total_batch_size, or write dataset_enlarge_ratio: auto')


def _check_cache(dataset: Any, seed: int) -> None:
    if getattr(dataset, 'raw', None) is not None:
        dataset.raw.check()
    if getattr(dataset, 'pairs', None) is None:
        return
    if dataset.seed != seed:  # the order of the images follows the run's
        raise UserError(f'datasets: train: manual_seed: {dataset.seed} differs from that of the run, {seed}; with a '
                        'pairs_cache they must be equal')
    dataset.pairs.check()


def _draw_one(cls: Any, dataset: Any, where: str) -> Any:
    """Make one sample from a copy, because files that the dataset opens must not be shared with a loader's workers."""
    states = random.getstate(), np.random.get_state()
    try:
        with keep_rng():
            sample = attempt(where, cls, deepcopy(dataset).__getitem__, 0)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
    for name, value in sample.items() if isinstance(sample, Mapping) and is_owned(cls) else ():
        if isinstance(value, torch.Tensor) and 0 in value.shape:
            raise UserError(f'{where}: {name} has the shape {tuple(value.shape)}; check the sizes of its images')
    return sample


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
        net = attempt('network_g', cls, cls, **section)
    channels = min(map(channels_of, opt['datasets'].values()))
    if opt['model_type'] in IMAGE_MODELS + GAN_MODELS:
        data = opt['datasets'].get('train', {})
        gt_size = opt.get('gt_size') or data.get('gt_size') or 0
        _check_image(net, opt['scale'], channels, size_multiple(opt['network_g']), gt_size, opt.get('device', 'cpu'))
    path = opt['path'].get('pretrain_network_g')
    if path is not None:
        loaded = weights.load_pretrained(opt['path'])
        weights.check_fit(net, loaded, strict=opt['path'].get('strict_load_g', True))
    elif not opt['is_train']:
        raise UserError('path: pretrain_network_g: is empty; write the weights file to test')
    if opt['is_train']:
        _check_schedule(opt, end_of_schedule(net))
        side = -(-SMALL // size_multiple(opt['network_g'])) * size_multiple(opt['network_g'])
        check_align(opt, net, torch.zeros(2, channels, side, side))
        _check_training(opt['train'], net, channels)
        check_room(opt, net)


def _check_image(net: torch.nn.Module, scale: int, channels: int, multiple: int, gt_size: int, device: str) -> None:
    """Run the network once on a small image: its output must be ``scale`` times as large.

    It is also run on LQ patches for ``gt_size`` (0: no training) if their side is no multiple: training does not pad.
    """
    side = -(-SMALL // multiple) * multiple

    def run(count: int, side: int = side) -> Any:
        with keep_rng(), torch.no_grad():
            return try_network(net.eval(), torch.zeros(1, count, side, side), device)

    def runs(count: int) -> bool:
        with contextlib.suppress(UserError):
            return run(count) is not None
        return False

    try:
        sr = run(channels)
    except UserError as error:
        takes = next((count for count in CHANNELS if count != channels and runs(count)), None)
        if takes is None:
            raise
        raise UserError(f'network_g: {type(net).__name__} does not accept the {CHANNELS[channels]} images of the '
                        f'datasets, but {CHANNELS[takes]}; write {channels} for its channels (num_in_ch and '
                        f'num_out_ch, or in_chans){_OTHERWISE[takes]}') from error
    wanted = (1, channels, side * scale, side * scale)
    if getattr(sr, 'shape', None) != wanted:
        made = tuple(getattr(sr, 'shape', ()))
        own = next((k for k in range(1, MOST_SCALE + 1) if made == (1, channels, side * k, side * k)), None)
        what = 'Check upscale or scale, upsampler, num_in_ch and num_out_ch' if own is None else (
            f'It is of scale {own}: write scale: {own} at the top of the file, or take a network of scale {scale}')
        raise UserError(f'network_g: returns {made} for an image of (1, {channels}, {side}, {side}); scale: {scale} '
                        f'needs {wanted}. {what}')
    patch = gt_size // scale
    if patch % multiple:
        try:
            run(channels, patch)
        except UserError as error:
            raise UserError(f'datasets: train: gt_size: {gt_size} px makes LQ patches of {patch} px, but '
                            f'{type(net).__name__} needs a multiple of {multiple}; write '
                            f'{-(-patch // multiple) * multiple * scale}') from error


def _check_schedule(opt: Mapping[str, Any], end: int) -> None:
    """Raise ``UserError`` if the schedule of dropout ends after the run, or nothing would follow it."""
    where, total = 'network_g: dropout_schedule', int(opt['train']['total_iter'])
    if end > total:
        raise UserError(f'{where}: ends at iteration {end:,}, after total_iter, {total:,}; write smaller numbers')
    if end and not issubclass(registered(MODEL_REGISTRY, opt['model_type'], 'model_type'), ReflashSRModel):
        raise UserError(f"{where}: {opt['model_type']} does not follow it; write model_type: ReflashSRModel, or remove "
                        'the schedule')
    if end and opt.get('compile'):
        raise UserError(f'{where}: with compile, every change would be compiled anew; remove one of them')


def _check_training(train: Mapping[str, Any], net: torch.nn.Module, channels: int) -> None:
    optim, scheduler = dict(train['optim_g']), dict(train['scheduler'])
    cls = getattr(torch.optim, optim.pop('type'))
    optimiser = attempt('train: optim_g', cls, cls, net.parameters(), **optim)
    cls = SCHEDULERS[scheduler.pop('type')]
    schedule = attempt('train: scheduler', cls, cls, optimiser, **scheduler)
    schedule.last_epoch = train['total_iter'] - 2
    optimiser.step()  # without gradients, it changes nothing; torch wants it before a scheduler's step
    attempt('train: scheduler', cls, schedule.step)  # the last step of the run: some schedules end before
    if not train.get('pixel_opt') and not train.get('perceptual_opt'):
        raise UserError('train: pixel_opt: is missing; write a loss, as in pixel_opt: {type: L1Loss}')
    for key in ('pixel_opt', 'perceptual_opt'):
        loss = dict(train.get(key) or {})
        if loss:
            cls = registered(LOSS_REGISTRY, loss.pop('type'), f'train: {key}: type')
            criterion = attempt(f'train: {key}', cls, cls, **loss)
            value = attempt(f'train: {key}', cls, criterion, *torch.zeros(2, 1, channels, SMALL, SMALL))
            if key == 'pixel_opt' and value.dim() != 0:
                raise UserError('train: pixel_opt: reduction: must be mean or sum: the loss must be one number')
