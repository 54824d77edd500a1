"""Option files: safe loading, changes from the command line, and the expansion that BasicSR's pipelines expect."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reflash_sr.errors import UserError, suggest
from reflash_sr.options.rules import is_number
from reflash_sr.options.safe_yaml import MOST_BYTES, parse
from reflash_sr.system.files import check_regular


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Load an option file without running anything that stands in it.

    Args:
        path: A YAML file.

    Returns:
        Its content.

    Raises:
        UserError: The file is missing, not YAML, holds a tag that would build an object, or is no list of keys.
    """
    check_regular(path, 'option file')
    try:
        with open(path, 'rb') as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UserError(f'{path}: not an option file: it has more than {MOST_BYTES // 1024} KB')
        text = data.decode('utf-8-sig')  # some editors put a mark at the beginning
    except OSError as error:
        raise UserError(f'{path}: the option file cannot be read ({error.strerror})') from error
    except UnicodeDecodeError as error:
        raise UserError(f'{path}: not an option file, or not in UTF-8 (byte {error.start}); save it so') from error
    opt = parse(text, str(path))
    if not isinstance(opt, dict):
        raise UserError(f"{path}: not an option file: it must hold 'key: value' lines")
    return opt


def force(opt: dict[str, Any], entries: Iterable[str], where: str = '--force_yml') -> None:
    """Change options as ``--force_yml`` asks, in place.

    Args:
        opt: The options.
        entries: ``section:key=value`` each; the value is read as YAML reads it (``1e-4`` is a number, ``~`` nothing).
        where: For messages.

    Raises:
        UserError: A section that is not there, no ``=``, or text where a number stood.
    """
    for entry in entries:
        keys, equals, text = entry.partition('=')
        path = [key.strip() for key in keys.split(':')]
        if not equals or not all(path):
            raise UserError(f"{where}: '{entry}' must be section:key=value, as in train:ema_decay=0.999")
        section = opt
        for depth, key in enumerate(path[:-1]):
            if not isinstance(section.get(key), dict):
                raise UserError(f"{where}: {entry}: there is no section '{':'.join(path[:depth + 1])}'"
                                f'{suggest(key, [k for k, v in section.items() if isinstance(v, dict)])}')
            section = section[key]
        value = parse(text, f'{where}: {entry}')
        value = None if isinstance(value, str) and value.lower() == 'none' else value
        before = section.get(path[-1])
        if is_number(before) and isinstance(value, str):
            raise UserError(f"{where}: {entry}: '{keys.strip()}' is a number ({before}), not '{value}'")
        if isinstance(before, dict) and not isinstance(value, dict):
            raise UserError(f"{where}: {entry}: '{keys.strip()}' is a section; name one of its keys: "
                            f'{", ".join(f"{keys.strip()}:{key}" for key in before)}')
        section[path[-1]] = value


def expand(opt: dict[str, Any], root: str | os.PathLike, is_train: bool, world_size: int = 1) -> None:
    """Fill in what BasicSR's pipelines read beyond the file, in place: paths, phases, scale, batch size, debug mode.

    Args:
        opt: Checked options.
        root: Folder under which ``experiments``, ``results`` and ``tb_logger`` stand.
        is_train: Training or testing.
        world_size: Number of processes, over which ``total_batch_size`` is divided.

    Raises:
        UserError: ``total_batch_size`` cannot be divided.
    """
    opt['is_train'] = is_train
    opt['root_path'] = str(root)
    for key, section in opt['datasets'].items():
        section['phase'] = key.split('_')[0]
        section['scale'] = opt['scale']
        for name in ('dataroot_gt', 'dataroot_lq', 'meta_info'):
            if isinstance(section.get(name), str):
                section[name] = os.path.expanduser(section[name])
        if section['phase'] == 'train':
            section.setdefault('manual_seed', opt.get('manual_seed') or 0)
            section.setdefault('num_worker_per_gpu', 2)
            _divide_batch(section, world_size)
    for key, value in opt['path'].items():
        if isinstance(value, str) and ('pretrain_network' in key or key == 'resume_state'):
            opt['path'][key] = os.path.expanduser(value)
    opt['path'].update(_folders(Path(root), opt['name'], is_train))
    if is_train and 'debug' in opt['name']:  # as in BasicSR: everything soon and often
        opt['logger'].update(print_freq=1, save_checkpoint_freq=8)
        if opt.get('val'):
            opt['val']['val_freq'] = 8


def _divide_batch(section: dict[str, Any], world_size: int) -> None:
    total = section.pop('total_batch_size', None)
    if total is None:
        section.setdefault('batch_size_per_gpu', 16)
        return
    if total % world_size:
        raise UserError(f'datasets: train: total_batch_size: {total} cannot be divided over {world_size} processes; '
                        f'write {max(1, round(total / world_size)) * world_size}')
    section['batch_size_per_gpu'] = total // world_size


def _folders(root: Path, name: str, is_train: bool) -> Mapping[str, str]:
    base = root / ('experiments' if is_train else 'results') / name
    inner = {'models': 'models', 'training_states': 'training_states'} if is_train else {}
    inner |= {'log': '', 'visualization': 'visualization', f'{"experiments" if is_train else "results"}_root': ''}
    return {key: str(base / folder) for key, folder in inner.items()}
