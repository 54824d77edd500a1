"""``base: FILE`` in an option file: the network of a weights file, with its weights, to be trained further."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reflash_sr.errors import UserError
from reflash_sr.weights.bundled import real_path
from reflash_sr.weights.network_from_file import open_base
from reflash_sr.weights.state_dict import load_weights


def describe_bases(opt: dict[str, Any]) -> None:
    """Replace each ``base: FILE`` of a network by the options of the file's network; training begins with its weights.

    So a checkpoint says what its network is, whatever becomes of the file. ``path: pretrain_network_g``, if written,
    replaces the weights. A run that continues needs the file no longer.

    Args:
        opt: Expanded options; changed in place.

    Raises:
        UserError: A file cannot be opened.
    """
    for key in [key for key in opt if key.startswith('network_') and isinstance(opt[key], Mapping)]:
        base = opt[key].get('base')
        if not isinstance(base, str):
            continue
        path, paths, label = str(real_path(os.path.expanduser(base))), opt['path'], key.removeprefix('network_')
        described = None if os.path.exists(path) else _of_checkpoint(opt, label)
        if described is None:
            try:
                network = open_base(path)
            except UserError as error:
                raise UserError(f'{key}: base: {error}') from error
            described = network.network_g
            if paths.get(f'pretrain_{key}') is None:
                paths.setdefault(f'param_key_{label}', network.key)
        opt[key] = {**opt[key], 'base': described}
        if paths.get(f'pretrain_{key}') is None:
            paths[f'pretrain_{key}'] = path


def _of_checkpoint(opt: Mapping[str, Any], label: str) -> dict[str, Any] | None:
    """The base in the weights file of a run, or in the newest checkpoint of one that is continued; None without."""
    state, given = opt['path'].get('resume_state'), opt['path'].get(f'pretrain_network_{label}')
    found = [] if given is None else [Path(given)]
    if opt.get('auto_resume') or state is not None:
        folder = Path(opt['path']['models']) if state is None else Path(state).absolute().parents[1] / 'models'
        found = sorted(folder.glob(f'net_{label}_*'), key=os.path.getmtime, reverse=True) + found
    for path in found:
        try:
            base = (load_weights(path).network_g or {}).get('base')
        except UserError:
            continue  # damaged; an older one is taken, as for the state
        if isinstance(base, dict):
            return base
    return None
