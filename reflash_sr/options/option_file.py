"""Option files: safe reading, overrides from the command line, and the values that BasicSR's pipelines add."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reflash_sr.errors import UserError, suggest
from reflash_sr.options.safe_yaml import MOST_BYTES, parse
from reflash_sr.options.value_rules import is_number
from reflash_sr.system.files import check_regular

TOTAL_ITER = 'total_iter'  # of train; in train: scheduler, the word stands for the number
OTHER_FORMATS = {'.json': 'an option file of KAIR', '.toml': 'an option file of neosr'}


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Read an option file without running any code in it.

    Raises:
        UserError: The file is missing, not YAML, has a tag that would build an object, or does not hold keys.
    """
    check_regular(path, 'option file')
    if Path(path).suffix.lower() in OTHER_FORMATS:
        raise UserError(f'{path}: is not YAML; {OTHER_FORMATS[Path(path).suffix.lower()]} describes other classes. '
                        'docs/coming-from.md says what to write instead')
    try:
        with open(path, 'rb') as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UserError(f'{path}: not an option file: it is larger than {MOST_BYTES // 1024} KB')
        opt = parse(data.decode('utf-8-sig'), str(path))  # some editors write a byte order mark
    except OSError as error:
        raise UserError(f'{path}: the option file cannot be read ({error.strerror})') from error
    except UnicodeDecodeError as error:
        raise UserError(f'{path}: not an option file, or not UTF-8 (byte {error.start}); save it as UTF-8') from error
    if not isinstance(opt, dict):
        raise UserError(f"{path}: not an option file: it must hold 'key: value' lines")
    paths: Any = opt.get('path')
    for key, value in paths.items() if isinstance(paths, dict) else ():
        if isinstance(value, str) and value.lower() in ('none', 'null', ''):  # words of Python and JSON for YAML's ~
            paths[key] = None
    return opt


def force(opt: dict[str, Any], entries: Iterable[str], where: str = '--force_yml') -> None:
    """Override options in place; messages begin with ``where``.

    Each entry is ``section:key=value``; the value is parsed as YAML (``1e-4`` is a number, ``~`` is None).

    Raises:
        UserError: There is no such section, no ``=``, or text would replace a number, or a value a section.
    """
    for entry in entries:
        keys, equals, text = entry.partition('=')
        *sections, last = path = [key.strip() for key in keys.split(':')]
        if not equals or not all(path):
            raise UserError(f"{where}: '{entry}' must be section:key=value, as in train:ema_decay=0.999")
        section = opt
        for depth, key in enumerate(sections, 1):
            if not isinstance(section.get(key), dict):
                raise UserError(f"{where}: {entry}: there is no section '{':'.join(path[:depth])}'"
                                f'{suggest(key, [k for k, v in section.items() if isinstance(v, dict)])}')
            section = section[key]
        value = parse(text, f'{where}: {entry}')
        value = None if isinstance(value, str) and value.lower() == 'none' else value
        before = section.get(last)
        if is_number(before) and isinstance(value, str) and value != TOTAL_ITER:
            raise UserError(f"{where}: {entry}: '{keys.strip()}' is a number ({before}), not '{value}'")
        if isinstance(before, dict) and not isinstance(value, dict) and value is not None:
            raise UserError(f"{where}: {entry}: '{keys.strip()}' is a section; name one of its keys: "
                            f'{", ".join(f"{keys.strip()}:{key}" for key in before)}')
        section[last] = value


def settle_schedule(opt: Mapping[str, Any]) -> None:
    """Write numbers for what depends on ``train: total_iter``, in place.

    In ``train: scheduler`` the word ``total_iter`` may be a value or in a list: ``periods: [total_iter]`` end with the
    run, however long it is. In ``network_g: dropout_schedule``, a number of iterations below 1 is a share of the run.
    """
    train, network = opt.get('train'), opt.get('network_g')
    if not isinstance(train, dict) or not is_number(train.get(TOTAL_ITER)):
        return
    changes: Any = network.get('dropout_schedule') if isinstance(network, dict) else None
    for key in ('over', 'every') if isinstance(changes, dict) else ():
        if is_number(changes.get(key)) and 0 < changes[key] < 1:
            changes[key] = max(1, int(changes[key] * train[TOTAL_ITER]))
    if not isinstance(train.get('scheduler'), dict):
        return

    def settle(value: Any) -> Any:
        if isinstance(value, list):
            return [settle(one) for one in value]
        return train[TOTAL_ITER] if value == TOTAL_ITER else value

    train['scheduler'] = {key: settle(value) for key, value in train['scheduler'].items()}


def expand(opt: dict[str, Any], root: str | os.PathLike, is_train: bool, world_size: int = 1) -> None:
    """Add the values that BasicSR's pipelines expect, in place: paths, phases, scale, batch size, debug mode.

    ``root`` is the folder of ``experiments``, ``results`` and ``tb_logger``; ``world_size`` processes share
    ``total_batch_size``.

    Raises:
        UserError: ``total_batch_size`` is not a multiple of ``world_size``.
    """
    opt.update(is_train=is_train, root_path=str(root))
    for key, section in opt['datasets'].items():
        section.update(phase=key.split('_')[0], scale=opt['scale'])
        for name in ('dataroot_gt', 'dataroot_lq', 'meta_info'):
            if isinstance(section.get(name), str):
                section[name] = os.path.expanduser(section[name])
        if section['phase'] == 'train':
            section.setdefault('manual_seed', opt.get('manual_seed') or 0)
            section.setdefault('num_worker_per_gpu', 2)
            total = section.pop('total_batch_size', None)
            if total is None:
                section.setdefault('batch_size_per_gpu', 16)
            elif total % world_size:
                raise UserError(f'datasets: train: total_batch_size: {total} cannot be divided over {world_size} '
                                f'processes; write {max(1, round(total / world_size)) * world_size}')
            else:
                section['batch_size_per_gpu'] = total // world_size
    paths = opt['path']
    for key, value in paths.items():
        if isinstance(value, str) and ('pretrain_network' in key or key == 'resume_state'):
            paths[key] = os.path.expanduser(value)
    kind = 'experiments' if is_train else 'results'
    base = Path(root, kind, opt['name'])
    if is_train:
        paths |= {name: str(base / name) for name in ('models', 'training_states')}
    paths |= {'log': str(base), 'visualization': str(base / 'visualization'), f'{kind}_root': str(base)}
    if is_train and 'debug' in opt['name']:  # as in BasicSR: log, save and validate often
        opt['logger'].update(print_freq=1, save_checkpoint_freq=8)
        if opt.get('val'):
            opt['val']['val_freq'] = 8
