"""Checks of an option file against the tables of keys (:mod:`reflash_sr.options.known_keys`).

The section of a class of BasicSR or of this package is checked key by key; a section of another plugin is not checked.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from basicsr.utils import registry

from reflash_sr.errors import UserError, suggest
from reflash_sr.options import known_keys, real_esrgan
from reflash_sr.options.author_networks import describe_change, translate_network
from reflash_sr.options.known_keys import BASICSR_SCHEDULERS, SCHEDULERS
from reflash_sr.options.option_file import TOTAL_ITER, settle_schedule
from reflash_sr.options.registry import is_owned, registered
from reflash_sr.options.value_rules import ANY, COLOR, SECTION, Rule

# How source code reads a key: ['key'], .get('key'), 'key' in …
_READ = re.compile(r'''\[['"](\w+)['"]\]|\.\w+\(['"](\w+)['"][,)]|['"](\w+)['"] (?:not in|in|==|!=|is) ''')


def check(opt: dict[str, Any], where: str, is_train: bool) -> list[str]:
    """Check the options of a file, and fill in optional sections.

    ``opt`` is changed in place; a count that is a float, such as ``5e3``, becomes an int.

    Returns:
        What of other projects was translated, a line each. It is also logged at once, before a run has a log file.

    Raises:
        UserError: The file, the key, what is wrong and what to write instead.
    """
    changes: list[str] = []
    try:
        _check(opt, is_train, changes)
    except UserError as error:
        raise UserError(f'{where}: {error}') from error
    for change in changes:
        logging.getLogger('basicsr').warning('%s', change)
    return changes


def _check(opt: dict[str, Any], is_train: bool, changes: list[str]) -> None:
    for key, project in known_keys.OTHER_PROJECTS.items():
        if key in opt:
            raise UserError(f'{key}: is a key of {project}, whose option files describe other classes; '
                            'docs/coming-from.md says what to write instead')
    for key, what in known_keys.REQUIRED.items():
        if key not in opt:
            raise UserError(f"{key}: is missing; write '{key}: …' ({what})")
    if change := real_esrgan.translate(opt, is_train):
        changes.append(change)
    for key in ('train', 'logger') if is_train else ():
        if not isinstance(opt.get(key), dict):
            raise UserError(f'{key}: is missing; training needs this section')
    opt.setdefault('num_gpu', 'auto')
    for key in ('path', 'logger', 'val'):
        if opt.get(key) is None:
            opt[key] = None if is_train and key == 'val' else {}
    model = registered(registry.MODEL_REGISTRY, opt['model_type'], 'model_type')
    networks = [key for key in opt if key.startswith('network_')]
    if is_owned(model):
        _check_sections(opt, model, networks)
    for key in networks:
        theirs = opt[key]
        ours = translate_network(theirs) if isinstance(theirs, dict) else None
        if ours:
            changes.append(f'{key}: {describe_change(theirs, ours)}')
            opt[key] = ours
        _check_network(opt[key], key, opt['scale'])
    _check_datasets(opt['datasets'], is_train)
    for name, metric in ((opt['val'] or {}).get('metrics') or {}).items():
        where = f'val: metrics: {name}'
        function = _check_class(metric, registry.METRIC_REGISTRY, where, extra={'better'})
        if 'crop_border' not in metric and 'crop_border' in inspect.signature(function).parameters:
            raise UserError(f'{where}: crop_border: is missing; write how many px of the border to ignore, as in 4')
    if is_train:
        settle_schedule(opt)
        _check_train(opt['train'], model)
        opt['logger'] = {'print_freq': 100, 'save_checkpoint_freq': 5000, 'use_tb_logger': False} | opt['logger']
        if opt['val'] is not None and 'val_freq' not in opt['val']:
            raise UserError("val: val_freq: is missing; write after how many iterations to validate, as in '5000'")
    elif is_owned(model) and not (opt['val'].get('metrics') or opt['val'].get('save_img')):
        raise UserError('val: has neither metrics nor save_img: true, so this test would give nothing; write at least '
                        'one of them')
    if opt['val'] is not None:
        opt['val'] = {'save_img': False, 'suffix': None} | opt['val']


def _check_sections(opt: dict[str, Any], model: type, networks: list[str]) -> None:
    """Check the keys at the top of the file and in the sections of the table."""
    unread = dict.fromkeys(known_keys.UNREAD_AT_TOP, ANY)
    known = known_keys.TOP | dict.fromkeys(networks, SECTION) | _options_of(model) | unread
    read = _read_keys(model)
    data = opt['datasets'].get('train') if isinstance(opt['datasets'], dict) else None
    name = data.get('type') if isinstance(data, dict) else None
    of_data = dict(iter(registry.DATASET_REGISTRY)).get(str(name))
    for key in sorted(map(str, opt.keys() - known.keys() - read)):  # Real-ESRGAN has keys of the dataset at the top
        if key in known_keys.REAL_ESRGAN:
            raise UserError(f'{key}: is not a key here; {known_keys.REAL_ESRGAN[key]}')
        if key in _options_of(of_data):
            raise UserError(f'{key}: is a key of the dataset; write it under datasets: train')
    _check_keys(opt, known, '', read | _options_of(of_data).keys() | known_keys.REAL_ESRGAN.keys())
    of_networks = {key.replace('network_', start, 1): rule for start, rule in known_keys.NETWORK_PATHS.items()
                   for key in networks}
    for name, known in known_keys.SECTIONS.items():
        section = opt.get(name)
        if not isinstance(section, dict):
            continue
        for key in known_keys.OURS.get(name, ()):
            if key in section and not any(cls.__name__ == 'ReflashSRModel' for cls in model.__mro__):
                raise UserError(f'{name}: {key}: {model.__name__} does not read it; write model_type: ReflashSRModel, '
                                'or remove the key')
        _check_keys(section, known | of_networks if name == 'path' else known, name, read)


def _check_network(section: Any, where: str, scale: int) -> None:
    cls = _check_class(section, registry.ARCH_REGISTRY, where)
    if not is_owned(cls):
        return
    if isinstance(section.get('base'), dict):
        _check_network(section['base'], f'{where}: base', scale)
    for key in ('scale', 'upscale'):
        if key in section and section[key] != scale:
            raise UserError(f'{where}: {key}: {section[key]} is not the scale of the run, {scale}; write '
                            f'{key}: {scale}, or scale: {section[key]} at the top of the file')


def _check_datasets(datasets: Any, is_train: bool) -> None:
    phases = ('train', 'val') if is_train else ('test', 'val')
    names = set()
    if not datasets:
        raise UserError('datasets: is empty; write at least one dataset')
    for key, section in datasets.items():
        where = f'datasets: {key}'
        if not isinstance(section, dict):
            raise UserError(f'{where}: must be {SECTION.wanted}')
        if key.split('_')[0] not in phases:
            hint = f'write {phases[0]}, or {phases[1]}_1, …'
            if key in ('train', 'test'):
                hint = f'this is a file for basicsr {"test" if is_train else "train"}'
            raise UserError(f'{where}: is not a phase{suggest(key, phases)}; {hint}')
        name = section.setdefault('name', key)
        if not known_keys.NAME.holds(name):
            raise UserError(f'{where}: name: must be {known_keys.NAME.wanted}, not {name!r}')
        if name in names:
            raise UserError(f"{where}: name: two datasets are called '{name}'; give each its own name")
        names.add(name)
        cls = registered(registry.DATASET_REGISTRY, section.get('type'), f'{where}: type')
        if is_owned(cls):
            unread = known_keys.UNREAD.get(cls.__name__, ())
            read = _read_keys(cls) | {*unread}
            known = known_keys.DATASET | _options_of(cls) | ({'color': COLOR} if 'color' in read else {})
            if 'color' in section.keys() - known.keys():
                raise UserError(f'{where}: color: {cls.__name__} gives RGB images only; write type: '
                                'RealDegradationDataset (GT alone) or PairedImageDataset, which can give Y')
            _check_keys(section, known, where, read)
    if is_train and 'train' not in datasets:
        raise UserError('datasets: train: is missing; training needs this dataset')


def _check_train(train: dict[str, Any], model: type) -> None:
    for key in ('total_iter', 'optim_g', 'scheduler'):
        if key not in train:
            raise UserError(f'train: {key}: is missing')
    optimisers = {name: cls for name, cls in vars(torch.optim).items()
                  if inspect.isclass(cls) and name not in known_keys.NOT_FOR_SR}
    for key, section in train.items():
        if isinstance(section, dict) and key.endswith('_opt'):
            _check_class(section, registry.LOSS_REGISTRY, f'train: {key}')
        if isinstance(section, dict) and key.startswith('optim_'):
            _check_class(section, optimisers, f'train: {key}', without={'params'})
    if 'lr' not in train['optim_g']:
        raise UserError("train: optim_g: lr: is missing; write the learning rate, as in 'lr: 2e-4'")
    scheduler = train['scheduler']
    name = scheduler.get('type') if isinstance(scheduler, dict) else None
    if str(name) in SCHEDULERS.keys() - BASICSR_SCHEDULERS and model.__module__.startswith('basicsr'):
        raise UserError(f"train: scheduler: type: {model.__name__} knows only {', '.join(BASICSR_SCHEDULERS)}; for "
                        f'{name} of torch, write model_type: ReflashSRModel')
    cls = _check_class(scheduler, SCHEDULERS, 'train: scheduler', without={'optimizer', 'last_epoch'})
    arguments = inspect.signature(cls).parameters
    for key in [key for key, value in scheduler.items() if isinstance(value, str) and key != 'type']:
        if not isinstance(arguments[key].default, str):
            raise UserError(f'train: scheduler: {key}: must be a number, or the word {TOTAL_ITER}, not '
                            f'{scheduler[key]!r}')
    if cls is SCHEDULERS['CosineAnnealingRestartLR'] and sum(scheduler.get('periods', [])) < train['total_iter']:
        raise UserError(f"train: scheduler: periods: {scheduler.get('periods')} end before total_iter, "
                        f"{train['total_iter']}; their sum must reach it, as that of [total_iter] always does")


def _check_class(section: Any, choices: registry.Registry | Mapping[str, Any], where: str,
                 extra: Iterable[str] = (), without: Iterable[str] = ()) -> Any:
    """Check a section with the ``type`` and the arguments of a class; returns the class."""
    if not isinstance(section, dict):
        raise UserError(f'{where}: must be {SECTION.wanted}')
    name = section.get('type')
    if isinstance(choices, registry.Registry):
        cls = registered(choices, name, f'{where}: type')
    elif isinstance(name, str) and name in choices:
        cls = choices[name]
    else:
        raise UserError(f"{where}: type: '{name}' is not known{suggest(name, choices)}")
    if is_owned(cls):
        names = {'type', *_parameters(cls), *extra}.difference(without)
        _check_keys(section, {name: known_keys.ARGUMENTS.get(name, ANY) for name in names}, where)
    return cls


def _check_keys(section: dict[str, Any], known: Mapping[str, Rule], where: str, read: Iterable[str] = ()) -> None:
    """Check each value against its rule; the keys in ``read`` have no rule."""
    prefix = f'{where}: ' if where else ''
    for key, value in section.items():
        rule = known.get(key)
        if rule is None:
            if key not in read:
                raise UserError(f'{prefix}{key}: is not a known key{suggest(key, {*known, *read})}')
        elif not rule.holds(value):
            raise UserError(f'{prefix}{key}: must be {rule.wanted}, not {value!r}')
        elif rule is known_keys.WHOLE:
            section[key] = int(value)


def _options_of(cls: type | None) -> dict[str, Rule]:
    return getattr(cls, 'OPTIONS', {})


def _parameters(cls: Callable) -> set[str]:
    """Names of the arguments of a function or class, including those of its bases if it has ``**kwargs``."""
    owners = [c for c in cls.__mro__[:-1] if '__init__' in vars(c)] if inspect.isclass(cls) else [cls]
    names: set[str] = set()
    for owner in owners:
        parameters = inspect.signature(owner).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {'img', 'img2'}  # the images, which a metric gets from the model


@functools.cache
def _read_keys(cls: type) -> frozenset[str]:
    """Keys that a class of BasicSR reads, found in its source code: BasicSR has no list of them."""
    if cls.__module__.startswith('reflash_sr'):
        return frozenset()
    sources = [inspect.getsource(c) for c in cls.__mro__ if c.__module__.startswith('basicsr')]
    return frozenset(key for source in sources for found in _READ.findall(source) for key in found if key)
