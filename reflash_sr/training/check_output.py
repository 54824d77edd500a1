"""Checks of the folders that a run writes, without making them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from reflash_sr.errors import UserError
from reflash_sr.system.files import check_writable, existing_part


def check_folders(opt: Mapping[str, Any]) -> None:
    """Raise ``UserError`` if the folder of the experiment or results, or that of TensorBoard, cannot be written."""
    folders = [Path(opt['path']['experiments_root' if opt['is_train'] else 'results_root'])]
    if opt['is_train'] and opt['logger'].get('use_tb_logger'):
        folders.append(Path(opt['root_path'], 'tb_logger', opt['name']))
    for folder in folders:
        for one in (folder.parent, folder):  # an earlier folder of this name is renamed
            try:
                check_writable(one)
            except OSError as error:
                raise UserError(f'{one}: cannot be written ({error.strerror}); remove whatever blocks this path, or '
                                'start in another folder') from error


def check_result_names(opt: Mapping[str, Any], sets: Mapping[str, Iterable[Path]]) -> None:
    """Warn if two images that ``val: save_img`` writes have one name; ``sets`` are the LQ files of validation sets."""
    seen: dict[Path, Path] = {}
    for key, paths in sets.items() if (opt.get('val') or {}).get('save_img') else ():
        for path in paths:
            name = Path('' if opt['is_train'] else key, path.stem)  # in training, one folder for all sets
            if seen.setdefault(name, path) != path:
                logging.getLogger('basicsr').warning(
                    'val: save_img: the result of %s replaces that of %s; give them different names', path, seen[name])
                return


def check_room(opt: Mapping[str, Any], net: torch.nn.Module) -> None:
    """Raise ``UserError`` if the disk has no room for the weights of the first checkpoint."""
    folder = existing_part(Path(opt['path']['models']))
    copies = 2 if opt['train'].get('ema_decay') else 1
    needed = copies * sum(value.numel() * value.element_size() for value in net.state_dict().values())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(f'{folder}: {free / 1e6:,.1f} MB are free, and the weights of one checkpoint take '
                        f'{needed / 1e6:,.1f} MB; make room, or start in another folder')
