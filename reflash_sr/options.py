"""Option files: safe loading, changes from the command line, and the expansion that BasicSR's pipelines expect."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from reflash_sr.errors import UserError, suggest
from reflash_sr.rules import is_number


class _Loader(yaml.SafeLoader):
    """YAML without code: tags that build objects are refused, a key may stand once, and ``1e-4`` is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str) and key_node.tag != 'tag:yaml.org,2002:merge':
                raise yaml.constructor.ConstructorError(None, None, f'a key must be text, not {key!r}',
                                                        key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' stands here twice",
                                                        key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver('tag:yaml.org,2002:float', re.compile(r'^[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$'),
                              list('-+0123456789'))


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Load an option file without running anything that stands in it.

    Args:
        path: A YAML file.

    Returns:
        Its content.

    Raises:
        UserError: The file is missing, not YAML, holds a tag that would build an object, or is no list of keys.
    """
    try:
        text = Path(path).read_text(encoding='utf-8')
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise UserError(f'{path}: the option file cannot be read ({reason})') from error
    opt = _parse(text, str(path))
    if not isinstance(opt, dict):
        raise UserError(f"{path}: not an option file: it must hold 'key: value' lines")
    return opt


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        mark = getattr(error, 'problem_mark', None)
        line = f'line {mark.line + 1}: ' if mark else ''
        reason = getattr(error, 'problem', None) or str(error) or type(error).__name__
        hint = '; an option file holds plain values only' if 'could not determine a constructor' in reason else ''
        raise UserError(f'{where}: {line}{reason}{hint}') from error


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
        value = _parse(text, f'{where}: {entry}')
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
            section.setdefault('manual_seed', opt['manual_seed'])
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
