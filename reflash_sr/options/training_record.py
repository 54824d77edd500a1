"""What a network was trained with: the options that shape its weights, as a flat dict of plain values.

Every checkpoint stores it, so that networks are compared which differ in dropout alone. The same training gives the
same record: on any machine, by any number of processes, with a default value written down or left out.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY

from reflash_sr.options.known_keys import SCHEDULERS, UNREAD_AT_TOP, WITHOUT_EFFECT
from reflash_sr.system.files import sha256

# Keys at the top of expanded options that shape no weights, or stand elsewhere in a checkpoint or in the record.
_APART = {
    'name', 'study', 'manual_seed', 'network_g', 'path', 'val', 'logger', 'datasets', 'dist_params', 'num_gpu',
    'device', 'channels_last', 'compile', 'dist', 'rank', 'world_size', 'is_train', 'root_path', 'auto_resume',
    *UNREAD_AT_TOP,
}  # yapf: disable
# Of a training set: what names its files, which a checksum stands for, and what follows from other keys.
_NOT_RECORDED = re.compile(r'train:accumulate|datasets:train:(name|phase|scale|manual_seed|batch_size_per_gpu|'
                           r'dataroot\w*|meta_info\w*|filename_tmpl|io_backend|pairs_cache|raw_cache\w*)(:.+)?')
_TRAIN = {'ema_decay': 0, 'warmup_iter': -1}  # defaults of BasicSR's models
_TOP = {'allow_tf32': True, 'deterministic': False}  # defaults at the top
_YOUNGER = {'datasets:train:second_lq': False}  # keys that the first records do not have, left out at these defaults
_LENGTH = 'train:total_iter'  # changes no weights of a run that goes on after its end
_START, _UNTIL = 'path:', 'until '  # of keys: with which weights it began; what was changed on the way
_SHOWN, _LETTERS = 4, 32  # differences in a message, letters of a value


def training_record(opt: Mapping[str, Any], dataset: Any) -> dict[str, Any]:
    """Collect the options of a run that shape its weights.

    Args:
        opt: Expanded options.
        dataset: The training set, built.

    Returns:
        Values by ``section:key``: text, numbers, bools and lists of these. Keys that are empty (``~``), or that have
        the default value of an optimiser, scheduler or loss, are left out. For the data, ``datasets:train:images`` is
        the number of images and ``datasets:train:files`` a checksum of their names and sizes. For the weights with
        which training began, ``path:pretrain_network_g`` is the SHA-256 of their file.
    """
    data = opt['datasets']['train']
    sections = {key: value for key, value in opt.items() if key not in _APART and (key, value) not in _TOP.items()}
    sections['train'] = {**_TRAIN, **_given(opt['train'])}
    sections['datasets'] = {'train': {**getattr(_class_of(data['type']), 'DEFAULTS', {}), **_given(data),
                                      'total_batch_size': data['batch_size_per_gpu'] * opt['world_size']}}
    record = {key: value for key, value in _flat(sections)
              if value is not None and not WITHOUT_EFFECT.fullmatch(key) and not _NOT_RECORDED.fullmatch(key)
              and (key, value) not in _YOUNGER.items()}
    return record | _data_of(dataset, data) | _start_of(opt['path'])


def continued_record(now: Mapping[str, Any], opt: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of a run that continues from a checkpoint: it began with the weights of the first start.

    Args:
        now: The record of the options with which it continues.
        opt: These options, expanded.
        state: The training state of the checkpoint, which holds the record until then as ``options``, and the network.

    Returns:
        ``now`` with the start of the earlier record; what differed until then, and the network and the seed if they
        did, is kept as ``until 1000:section:key``. None if the checkpoint has no record.
    """
    before = read_record(state.get('options'))
    if before is None:
        return None
    own, _ = split_record(now)
    earlier, start = split_record(before)
    kept = {key: value for key, value in earlier.items() if key.startswith(_UNTIL)}
    apart = [{'manual_seed': seed, **dict(_flat({'network_g': network}))} for seed, network in (
        (opt['manual_seed'], opt['network_g']),
        (state.get('stream', {}).get('seed', opt['manual_seed']), state.get('network_g', opt['network_g'])))]
    changed = {f"{_UNTIL}{state['iter']}:{key}": value
               for key, (_, value) in (differences(own, earlier) | differences(*apart)).items()
               if key != _LENGTH and not key.startswith(_UNTIL)}
    return {**own, **start, **kept, **changed}


def split_record(record: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a record, and what it says of the weights with which training began."""
    options, start = ({key: value for key, value in record.items() if key.startswith(_START) == is_start}
                      for is_start in (False, True))
    return options, start


def read_record(found: Any) -> dict[str, Any] | None:
    """The record that stands in a file, which may hold anything there; None if that is no record."""
    if not isinstance(found, Mapping):
        return None
    record = {str(key): _plain(value) for key, value in found.items()}
    return {key: value for key, value in record.items() if key not in _YOUNGER or value != _YOUNGER[key]}


def without_dropout(network_g: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a network without those of its dropout, and without arguments that have their default value."""
    section = network_g
    while isinstance(section.get('base'), Mapping):  # WithDropout
        section = section['base']
    name = str(section.get('type')).removeprefix('Dropout')
    section = {key: value for key, value in section.items() if not key.startswith('dropout_')}
    return dict(_flat({**section, 'type': name}))


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys in which two records differ, with both values; None where a record does not have the key."""
    return {key: (one.get(key), other.get(key)) for key in {**one, **other} if one.get(key) != other.get(key)}


def describe(found: Mapping[str, tuple[Any, Any]]) -> str:
    """Differences as text, such as ``datasets:train:gt_usm (true, false)``."""
    texts = [f"{key} ({', '.join(_say(value, key) for value in values)})" for key, values in [*found.items()][:_SHOWN]]
    return ' '.join(', '.join(texts).split()) + (f' and {len(found) - _SHOWN} more' if len(found) > _SHOWN else '')


def _say(value: Any, key: str) -> str:
    absent = 'none' if key.startswith(_START) else 'default'
    text = absent if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LETTERS else f'{text[:_LETTERS // 2]}…'


def _flat(section: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Values by ``section:key``; without those that a class of BasicSR, PyTorch or this package has by default."""
    cls = _class_of(section.get('type'))
    defaults = _defaults_of(cls) if cls is not None and not prefix.startswith('datasets:') else {}
    section = {key: value for key, value in defaults.items() if key == 'lr'} | dict(section)  # always there
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f'{prefix}{key}:')
        elif key == 'lr' or key not in defaults or _plain(value) != _plain(defaults[key]):
            if key == 'type' and isinstance(value, str) and value in SCHEDULERS:
                value = SCHEDULERS[value].__name__  # some have two names
            yield f'{prefix}{key}', _plain(value)


def _given(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if value is not None}


def _plain(value: Any) -> Any:
    """A value that every format of weights files holds."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def _class_of(name: Any) -> Callable | None:
    """The class of this name that an option file may mean, of whatever kind."""
    for registry in (ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY):
        if isinstance(name, str) and name in registry:
            return registry.get(name)
    return SCHEDULERS.get(name) or getattr(torch.optim, name, None) if isinstance(name, str) else None


def _defaults_of(cls: Callable) -> dict[str, Any]:
    """Default values of the arguments of a class, including those of its bases if it has ``**kwargs``."""
    owners = [one for one in cls.__mro__[:-1] if '__init__' in vars(one)] if inspect.isclass(cls) else [cls]
    found: dict[str, Any] = {}
    for owner in owners:
        parameters = inspect.signature(owner).parameters.values()
        found = {p.name: p.default for p in parameters if p.default is not p.empty} | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def _data_of(dataset: Any, section: Mapping[str, Any]) -> dict[str, Any]:
    """The number of images, and a checksum of their names and sizes, as far as the dataset lists its files."""
    listed = next((found for found in (getattr(getattr(dataset, 'source', dataset), 'paths', None),
                                       getattr(dataset, 'keys', None)) if isinstance(found, list)), [])
    files = [str(path) for one in listed for path in (one.values() if isinstance(one, Mapping) else [one])]
    roots = [value for key, value in section.items() if key.startswith('dataroot') and isinstance(value, str)]
    files += [str(Path(root).expanduser() / 'data.mdb') for root in roots if root.endswith('.lmdb')]
    facts: dict[str, Any] = {'datasets:train:images': len(dataset)}
    if files:
        entries = sorted(f'{PurePath(file).name} {_size_of(file)}' for file in files)
        facts['datasets:train:files'] = hashlib.sha256('\n'.join(entries).encode(errors='surrogateescape')).hexdigest()
    return facts


def _size_of(file: str) -> int | None:
    try:
        return os.stat(file).st_size
    except (OSError, ValueError):  # a key of an LMDB
        return None


def _start_of(paths: Mapping[str, Any]) -> dict[str, Any]:
    """Checksums of the weights files with which training begins, the keys in them, and whether all had to fit."""
    found: dict[str, Any] = {}
    for key, path in paths.items():
        if key.startswith('pretrain_network_') and path is not None:
            label = key.removeprefix('pretrain_network_')
            found[f'{_START}{key}'] = sha256(path)
            found[f'{_START}param_key_{label}'] = paths.get(f'param_key_{label}', 'params') or 'any'
            if not paths.get(f'strict_load_{label}', True):
                found[f'{_START}strict_load_{label}'] = False
    return found
