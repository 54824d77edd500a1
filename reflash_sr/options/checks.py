"""The check of an option file against the tables of keys (:mod:`reflash_sr.options.known_keys`).

Sections of classes that BasicSR or this package own are checked key by key; those of other plugins pass.
"""

from __future__ import annotations

import ast
import functools
import inspect
import logging
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

from reflash_sr.errors import UserError, suggest
from reflash_sr.options.author_networks import translate_network
from reflash_sr.options.known_keys import (
    ARGUMENTS,
    DATASET,
    NAME,
    NETWORK_PATHS,
    NOT_FOR_SR,
    OURS,
    REAL_ESRGAN,
    REQUIRED,
    SCHEDULERS,
    SECTIONS,
    TOP,
    WHOLE,
)
from reflash_sr.options.registry import is_owned, registered
from reflash_sr.options.rules import ANY, SECTION, Rule


def check(opt: dict[str, Any], where: str, is_train: bool) -> None:
    """Check options as a file gives them, and fill in sections that may be left out.

    Args:
        opt: The options; whole floats such as ``5e3`` become ints where a count is wanted.
        where: The file, for messages.
        is_train: Training or testing.

    Raises:
        UserError: In one line, the file, the key, what is wrong and what to write instead.
    """
    try:
        _check(opt, is_train)
    except UserError as error:
        raise UserError(f'{where}: {error}') from error


def _check(opt: dict[str, Any], is_train: bool) -> None:
    for key, what in REQUIRED.items():
        if key not in opt:
            raise UserError(f"{key}: is missing; write '{key}: …' ({what})")
    for key in ('train', 'logger') if is_train else ():
        if not isinstance(opt.get(key), dict):
            raise UserError(f'{key}: is missing; training needs this section')
    opt.setdefault('num_gpu', 'auto')
    for key, value in {'path': {}, 'logger': {}, 'val': None if is_train else {}}.items():
        opt[key] = value if opt.get(key) is None else opt[key]
    model = registered(MODEL_REGISTRY, opt['model_type'], 'model_type')
    networks = [key for key in opt if key.startswith('network_')]
    if is_owned(model):
        known = TOP | dict.fromkeys(networks, SECTION) | _known(model)
        _check_places(opt.keys() - known.keys() - _read_keys(model), opt['datasets'])
        _check_keys(opt, known, '', open_to=_read_keys(model))
        _check_sections(opt, model)
    for key in networks:
        opt[key] = _translated(opt[key], key)
        _check_network(opt[key], key, opt['scale'])
    _check_datasets(opt['datasets'], is_train)
    for name, metric in ((opt['val'] or {}).get('metrics') or {}).items():
        where = f'val: metrics: {name}'
        function = _check_typed(metric, METRIC_REGISTRY, where, extra={'type', 'better'})
        if 'crop_border' not in metric and 'crop_border' in inspect.signature(function).parameters:
            raise UserError(f'{where}: crop_border: is missing; write how many px of the border do not count, as in 4')
    if is_train:
        _check_train(opt['train'])
        opt['logger'] = {'print_freq': 100, 'save_checkpoint_freq': 5000, 'use_tb_logger': False} | opt['logger']
        if opt['val'] is not None and 'val_freq' not in opt['val']:
            raise UserError("val: val_freq: is missing; write after how many iterations to validate, as in '5000'")
    if opt['val'] is not None:
        opt['val'] = {'save_img': False, 'suffix': None} | opt['val']


def _check_places(unknown: Iterable[str], datasets: Any) -> None:
    """Say where keys go that Real-ESRGAN's option files have at the top, or that they do not go anywhere."""
    section = datasets.get('train') if isinstance(datasets, dict) else None
    name = section.get('type') if isinstance(section, dict) else None
    its = _known(DATASET_REGISTRY.get(name)) if isinstance(name, str) and name in DATASET_REGISTRY else {}
    for key in sorted(map(str, unknown)):
        if key in REAL_ESRGAN:
            raise UserError(f'{key}: is not a key here; {REAL_ESRGAN[key]}')
        if key in its:
            raise UserError(f'{key}: is a key of the data; write it under datasets: train')


def _check_sections(opt: dict[str, Any], model: type) -> None:
    for name, known in SECTIONS.items():
        section = opt.get(name)
        if isinstance(section, dict):
            for key in OURS.get(name, ()):
                if key in section and not any(cls.__name__ == 'ReflashSRModel' for cls in model.__mro__):
                    raise UserError(f'{name}: {key}: {model.__name__} does not do this; write model_type: '
                                    'ReflashSRModel, or take the key away')
            if name == 'path':
                known = known | {key: rule for key in section for start, rule in NETWORK_PATHS.items()
                                 if key.startswith(start) and f'network_{key[len(start):]}' in opt}
                near = {f'{start}{key[8:]}' for start in NETWORK_PATHS for key in opt if key.startswith('network_')}
                _check_keys(section, known, name, open_to=_read_keys(model), near=near)
            else:
                _check_keys(section, known, name, open_to=_read_keys(model))


def _translated(section: Any, where: str) -> Any:
    """Put a network of the paper's authors in our terms, and say so."""
    ours = translate_network(section) if isinstance(section, dict) else None
    if ours is None:
        return section
    changes = ', '.join(f'{key}: {value}' for key, value in ours.items() if section.get(key) != value)
    logging.getLogger('basicsr').warning("%s: type: %s is the authors' name; it became %s", where, section['type'],
                                         changes)
    return ours


def _check_network(section: Any, where: str, scale: int) -> None:
    cls = _check_typed(section, ARCH_REGISTRY, where, extra={'type'})
    if is_owned(cls) and isinstance(section.get('base'), dict):
        _check_network(section['base'], f'{where}: base', scale)
    for key in ('scale', 'upscale'):
        if is_owned(cls) and key in section and section[key] != scale:
            raise UserError(f'{where}: {key}: {section[key]} is not the scale of the run, {scale}; write '
                            f'{key}: {scale}, or scale: {section[key]} at the top of the file')


def _check_datasets(datasets: Any, is_train: bool) -> None:
    phases = ('train', 'val') if is_train else ('test', 'val')
    names = set()
    if not datasets:
        raise UserError('datasets: is empty; write at least one set')
    for key, section in datasets.items():
        where = f'datasets: {key}'
        if not isinstance(section, dict):
            raise UserError(f'{where}: must be {SECTION.wanted}')
        if key.split('_')[0] not in phases:
            hint = f'this is a file for basicsr {"test" if is_train else "train"}' if key in ('train', 'test') else (
                f'write {phases[0]}, or {phases[1]}_1, …')
            raise UserError(f'{where}: is not a phase{suggest(key, phases)}; {hint}')
        section.setdefault('name', key)
        if not NAME.holds(section['name']):
            raise UserError(f"{where}: name: must be {NAME.wanted}, not {section['name']!r}")
        if section['name'] in names:
            raise UserError(f"{where}: name: two sets are called '{section['name']}'; give each a name of its own")
        names.add(section['name'])
        cls = registered(DATASET_REGISTRY, section.get('type'), f'{where}: type')
        if is_owned(cls):
            _check_keys(section, DATASET | _known(cls), where, open_to=_read_keys(cls))
    if is_train and 'train' not in datasets:
        raise UserError('datasets: train: is missing; training needs this set')


def _check_train(train: dict[str, Any]) -> None:
    for key in ('total_iter', 'optim_g', 'scheduler'):
        if key not in train:
            raise UserError(f'train: {key}: is missing')
    for key, section in train.items():
        if isinstance(section, dict) and key.endswith('_opt'):
            _check_typed(section, LOSS_REGISTRY, f'train: {key}', extra={'type'})
        if key.startswith('optim_') and isinstance(section, dict):
            optimisers = {n: c for n, c in vars(torch.optim).items() if inspect.isclass(c) and n not in NOT_FOR_SR}
            _check_choice(section, optimisers, f'train: {key}', without={'params'})
    if 'lr' not in train['optim_g']:
        raise UserError("train: optim_g: lr: is missing; write the learning rate, as in 'lr: 2e-4'")
    scheduler = train['scheduler']
    cls = _check_choice(scheduler, SCHEDULERS, 'train: scheduler', without={'optimizer', 'last_epoch'})
    if cls is SCHEDULERS['CosineAnnealingRestartLR'] and sum(scheduler.get('periods', [])) < train['total_iter']:
        raise UserError(f"train: scheduler: periods: {scheduler.get('periods')} end before total_iter, "
                        f"{train['total_iter']}; their sum must reach it")


def _check_typed(section: Any, registry: Registry, where: str, extra: set[str]) -> Any:
    if not isinstance(section, dict):
        raise UserError(f'{where}: must be {SECTION.wanted}')
    cls = registered(registry, section.get('type'), f'{where}: type')
    if is_owned(cls):
        _check_keys(section, _rules(_parameters(cls) | extra), where)
    return cls


def _check_choice(section: dict[str, Any], choices: Mapping[str, Any], where: str, without: set[str]) -> Any:
    name = section.get('type')
    if not isinstance(name, str) or name not in choices:
        raise UserError(f"{where}: type: '{name}' is not known{suggest(name, choices)}")
    _check_keys(section, _rules(_parameters(choices[name]) - without | {'type'}), where)
    return choices[name]


def _check_keys(section: dict[str, Any],
                known: Mapping[str, Rule],
                where: str,
                open_to: Iterable[str] = (),
                near: Iterable[str] = ()) -> None:
    prefix = f'{where}: ' if where else ''
    for key, value in section.items():
        rule = known.get(key)
        if rule is None:
            if key not in open_to:
                raise UserError(f"{prefix}{key}: is not a known key{suggest(key, {*known, *near, *open_to})}")
        elif not rule.holds(value):
            raise UserError(f'{prefix}{key}: must be {rule.wanted}, not {value!r}')
        elif rule is WHOLE:
            section[key] = int(value)


def _known(cls: type) -> dict[str, Rule]:
    return getattr(cls, 'OPTIONS', {})


def _rules(names: Iterable[str]) -> dict[str, Rule]:
    return {name: ARGUMENTS.get(name, ANY) for name in names}


def _parameters(cls: Callable) -> set[str]:
    """Names of the arguments of a function or class, those of its bases included where it passes ``**kwargs`` on."""
    functions = [vars(c)['__init__'] for c in cls.__mro__ if '__init__' in vars(c)] if inspect.isclass(cls) else [cls]
    names: set[str] = set()
    for function in functions:
        try:
            parameters = inspect.signature(inspect.unwrap(function)).parameters.values()
        except ValueError:  # object.__init__
            continue
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {'self', 'img', 'img2'}


@functools.cache
def _read_keys(cls: type) -> frozenset[str]:
    """Keys that a class of BasicSR reads, as its source tells: they are written down nowhere else."""
    if cls.__module__.startswith('reflash_sr'):
        return frozenset()
    keys = set()
    for owner in (c for c in cls.__mro__ if c.__module__.startswith('basicsr')):
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(owner)))):
            parts = {
                ast.Subscript: lambda n: [n.slice],
                ast.Call: lambda n: n.args[:1] if isinstance(n.func, ast.Attribute) else [],
                ast.Compare: lambda n: [n.left],
            }.get(type(node), lambda n: [])(node)
            keys |= {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
    return frozenset(keys)
