"""Finding and checking the checkpoint from which a run continues: the newest intact one."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from reflash_sr.errors import UserError
from reflash_sr.models.optimisers import OF_SCHEDULERS
from reflash_sr.options.known_keys import IMAGE_MODELS
from reflash_sr.system.files import relative
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.network_from_file import build_network

logger = logging.getLogger('basicsr')
FACTORED = ('row_var', 'col_var')  # Adafactor's moments, whose shape differs from that of their parameter


def newest_whole(opt: Mapping[str, Any]) -> Path | None:
    """Find the newest intact checkpoint of an experiment; warn about every newer one, which is skipped.

    Args:
        opt: Expanded options.

    Returns:
        The state file; None if the experiment has no states.

    Raises:
        UserError: There are states, but none of them is intact.
    """
    found = Path(relative(opt['path']['training_states'])).glob('*.state')
    states = sorted((path for path in found if path.stem.isdigit()), key=lambda path: int(path.stem), reverse=True)
    if not states:
        return None
    for path in states:
        try:
            read(path, opt)
            return path
        except UserError as error:
            reason = error
            if path != states[-1]:
                logger.warning('%s is skipped, an older one is tried: %s', path.name, error)
    raise UserError(f'none of the {len(states)} states in {states[0].parent} can be continued from ({reason}); '
                    'start without --auto_resume, which renames the folder, or restore an intact state')


def read(path: str | os.PathLike, opt: Mapping[str, Any]) -> dict[str, Any]:
    """Read a state; check that its weights exist and fit, and that its optimiser fits.

    Args:
        opt: Expanded options.

    Returns:
        The state.

    Raises:
        UserError: Something is missing or damaged, or does not fit.
    """
    state = weights.load_file(path)
    wanted = {'iter': int, 'optimizers': list, 'schedulers': list}
    if not isinstance(state, Mapping) or not all(isinstance(state.get(k), kind) for k, kind in wanted.items()):
        raise UserError(f'{path}: is not a training state: it must contain {", ".join(wanted)}')
    iteration = state['iter']
    if str(iteration) != Path(path).stem and Path(path).stem.isdigit():
        raise UserError(f'{path}: holds iteration {iteration}, but its name says another')
    ignored = opt['path'].get('ignore_resume_networks') or ()
    if opt['model_type'] in IMAGE_MODELS:
        net = build_network(deepcopy(opt['network_g']))
        if 'network_g' not in ignored:
            _check_weights(net, iteration, opt, path)
        _check_optimiser(net, state['optimizers'], opt['train']['optim_g'], path)
    else:
        for key in (key for key in opt if key.startswith('network_') and key not in ignored):
            weights.load_weights(weights_of(path, iteration, opt, f'net_{key[8:]}'))
    return dict(state)


def _check_weights(net: torch.nn.Module, iteration: int, opt: Mapping[str, Any], state: str | os.PathLike) -> None:
    path = weights_of(state, iteration, opt)
    for key in ('params', 'params_ema') if opt['train'].get('ema_decay') else ('params',):
        loaded = weights.load_weights(path, key)
        if loaded.key != key:
            raise UserError(f'{path}: {key}: is missing; it is needed to continue')
        weights.check_fit(net, loaded)
        iteration_inside = loaded.trained.get('iter', iteration)
        if iteration_inside != iteration:
            raise UserError(f'{path}: holds the weights of iteration {iteration_inside}')


def _check_optimiser(net: torch.nn.Module, states: list, section: Mapping[str, Any], path: Any) -> None:
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    arguments = {key: value for key, value in section.items() if key != 'type'}
    try:
        optimiser = getattr(torch.optim, section['type'])(parameters, **arguments)
    except Exception as error:  # optimisers raise many types
        raise UserError(f'train: optim_g: {section["type"]} does not accept these options: {error}') from error
    problem = _misfit(optimiser, parameters, states)
    if problem:
        raise UserError(f'{path}: its optimiser does not fit train: optim_g: type: {section["type"]}: {problem}')


def _misfit(optimiser: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], states: list) -> str | None:
    """Say why the states of a file do not fit an optimiser; None if they fit."""
    if len(states) != 1 or not isinstance(states[0], Mapping):
        return f'it holds {len(states)} optimisers'
    groups, moments = states[0].get('param_groups'), states[0].get('state')
    if not isinstance(groups, list) or len(groups) != 1 or not isinstance(moments, Mapping):
        return 'it is not one group of parameters'
    unknown = sorted(map(str, set(groups[0]) - {*optimiser.param_groups[0], *OF_SCHEDULERS}))
    if unknown:
        return f'it has {", ".join(unknown)}'
    count = len(groups[0].get('params', []))
    if count != len(parameters):
        return f'it has {count} parameters, the network {len(parameters)}'
    for index, moment in moments.items():
        for name, value in moment.items():
            if not isinstance(value, torch.Tensor) or value.numel() == 1 or name in FACTORED:
                continue
            if not (isinstance(index, int) and index < count and value.shape == parameters[index].shape):
                return f'{name} of parameter {index} is {tuple(value.shape)}'
    return None


def weights_of(state: str | os.PathLike, iteration: int, opt: Mapping[str, Any], label: str = 'net_g') -> Path:
    """The weights file of a state, ``.pth`` or ``.safetensors``: in the experiment of the state, else in the run's."""
    folder = Path(state).parent.parent / 'models'
    if not (Path(state).parent.name == 'training_states' and folder.is_dir()):
        folder = Path(relative(opt['path']['models']))
    endings = dict.fromkeys((weights.suffix_of(opt), '.pth', '.safetensors'))
    paths = [folder / f'{label}_{iteration}{ending}' for ending in endings]
    return next((path for path in paths if path.is_file()), paths[0])


def check_stream(state: Mapping[str, Any], stream: Mapping[str, Any]) -> None:
    """Warn if the order of the data changes: other images, another total batch size or another seed.

    Args:
        state: The state that the run continues from.
        stream: ``images``, ``batch`` and ``seed`` of this run.
    """
    before = state.get('stream') or {}
    changes = [f'{key} {before[key]} → {value}' for key, value in stream.items() if before.get(key, value) != value]
    if changes:
        logger.warning('The order of the training data changes from here on: %s.', ', '.join(changes))


def remove_parts(opt: Mapping[str, Any]) -> None:
    """Delete files that a killed run was writing; the caller must hold the experiment's lock."""
    for folder in ('models', 'training_states', 'validation'):
        for path in Path(opt['path']['experiments_root'], folder).glob('.*.part'):
            path.unlink(missing_ok=True)
