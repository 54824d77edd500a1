"""Checks of all cells of a study, before any cell runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY

from reflash_sr.data.test_degradation.degradations import AS_GIVEN
from reflash_sr.errors import UserError, suggest
from reflash_sr.options import check_options as option_checks
from reflash_sr.options import option_file as options
from reflash_sr.options.registry import is_owned, registered
from reflash_sr.studies.grid import Study
from reflash_sr.system.devices import select_device
from reflash_sr.training import preflight


def check(study: Study, root: str | os.PathLike = '.', here: bool = True) -> None:
    """Check the options of every cell, and build its data and its network once; nothing is written.

    A cell of a further seed is checked if it differs in more than the seed: in a file that ``{seed}`` names.

    Args:
        root: Parent folder of ``experiments``.
        here: Whether the cells will run on this machine, which must then have their device.

    Raises:
        UserError: Something is wrong; names the cell.
    """
    checked: list[dict[str, Any]] = []
    opened: list[dict[str, Any]] = []
    for cell in study.cells:
        options_but_seed = {key: value for key, value in cell.options.items() if key not in ('name', 'manual_seed')}
        if options_but_seed in checked:
            continue
        checked.append(options_but_seed)
        opt = deepcopy(cell.options)
        where = f'{study.file}: cell {cell.name}' + (f', seed {cell.seed}' if cell.seed != study.seeds[0] else '')
        option_checks.check(opt, where, is_train=True)
        try:
            psnr_metric(opt)
            owned = is_owned(registered(MODEL_REGISTRY, opt['model_type'], 'model_type'))
            if owned and opt['model_type'] != 'ReflashSRModel':
                raise UserError(f"model_type: {opt['model_type']}: writes no table of its validation, which a study "
                                'needs; write ReflashSRModel')
            opt.update(dist=False, rank=0, world_size=1)
            options.expand(opt, root, is_train=True)
            if cell.options['datasets'] not in opened:
                _check_compared(study.compare_on, preflight.open_datasets(opt))
                opened.append(cell.options['datasets'])
            preflight.check_network(opt)
            if here:
                select_device(opt)
        except UserError as error:
            raise UserError(f'{where}: {error}') from error


def psnr_metric(opt: Mapping[str, Any]) -> str:
    """Find the name under which the validation measures PSNR.

    Raises:
        UserError: There is no such metric, or no validation dataset.
    """
    metrics = (opt.get('val') or {}).get('metrics') or {}
    name = next((name for name, metric in metrics.items() if metric.get('type') == 'calculate_psnr'), None)
    if name is None or not any(key.split('_')[0] == 'val' for key in opt['datasets']):
        raise UserError('val: a study compares by PSNR and needs a dataset under datasets: val, val: val_freq, and '
                        'val: metrics: psnr: {type: calculate_psnr, crop_border: 4}')
    return name


def _check_compared(wanted: list[str], datasets: Mapping[str, Any]) -> None:
    known = {name for key, dataset in datasets.items() if key.split('_')[0] == 'val'
             for name in getattr(dataset, 'degradations', [AS_GIVEN])}
    for name in wanted:
        if name not in known:
            raise UserError('study: compare_on: no validation dataset has the degradation '
                            f"'{name}'{suggest(name, known)}")
