"""A weights file: what it holds, whether it fits, and writing it so that it cannot be torn."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reflash_sr.authors import translate_keys
from reflash_sr.errors import UserError
from reflash_sr.files import atomic_write

KEYS = ('params_ema', 'params')


@dataclass(frozen=True)
class Weights:
    """What was read from a weights file.

    Attributes:
        path: The file.
        key: ``'params_ema'``, ``'params'``, or ``'bare'`` where the file is the state dict itself.
        state_dict: The weights by name, without DDP's ``module.``, the authors' names translated.
        network_g: The options of the network, where the file carries them: the file alone says what it is.
    """

    path: str
    key: str
    state_dict: dict[str, torch.Tensor]
    network_g: dict[str, Any] | None


def load_file(path: str | os.PathLike) -> Any:
    """Read a ``.pth`` or ``.state`` file with ``weights_only=True``, onto the CPU.

    Raises:
        UserError: The file is missing, damaged, or holds more than weights and plain values.
    """
    if not Path(path).is_file():
        raise UserError(f'{path}: no such weights file')
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except (RuntimeError, OSError, ValueError, EOFError, LookupError, zipfile.BadZipFile, pickle.PickleError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f'{path}: not a weights file that can be read safely, or damaged ({reason})') from error


def load_weights(path: str | os.PathLike, key: str | None = None) -> Weights:
    """Read the weights of one network.

    Args:
        path: A file that BasicSR, Real-ESRGAN or this package wrote, or a bare state dict.
        key: The key to prefer, ``'params'`` or ``'params_ema'``. Default: EMA weights where there are any.

    Returns:
        The weights; ``key`` says which were taken.

    Raises:
        UserError: As for :func:`load_file`, or no state dict is found in the file.
    """
    content = load_file(path)
    if not isinstance(content, Mapping):
        raise UserError(f'{path}: holds a {type(content).__name__}, not weights')
    keys = sorted(KEYS, key=lambda name: name != key) if key in KEYS else KEYS
    taken = next((name for name in keys if isinstance(content.get(name), Mapping)), 'bare')
    state_dict = content if taken == 'bare' else content[taken]
    names = translate_keys([str(name).removeprefix('module.') for name in state_dict])
    state_dict = dict(zip(names, state_dict.values()))
    if not state_dict or not all(isinstance(value, torch.Tensor) for value in state_dict.values()):
        raise UserError(f'{path}: no weights found: neither {" nor ".join(KEYS)} nor a state dict; it holds '
                        f'{", ".join(map(str, list(content)[:6]))}')
    network_g = content.get('network_g') if taken != 'bare' else None
    return Weights(str(path), taken, state_dict, network_g)


def differences(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> list[str]:
    """List what keeps weights from fitting a network.

    Args:
        wanted: State dict of the network.
        given: State dict of the file.

    Returns:
        One phrase for each missing, superfluous or differently shaped entry; empty where the weights fit.
    """
    return ([f'missing {name}' for name in wanted if name not in given] +
            [f'unexpected {name}' for name in given if name not in wanted] + [
                f'{name} is {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}'
                for name in wanted
                if name in given and wanted[name].shape != given[name].shape
            ])


def check_fit(net: torch.nn.Module, weights: Weights, shown: int = 6) -> None:
    """Refuse weights that do not fit a network, key for key and shape for shape.

    Raises:
        UserError: Lists the differences, at most ``shown`` of them.
    """
    found = differences(net.state_dict(), weights.state_dict)
    if found:
        more = f' and {len(found) - shown} more' if len(found) > shown else ''
        raise UserError(f'{weights.path} [{weights.key}]: does not fit {type(net).__name__}: '
                        f'{", ".join(found[:shown])}{more}; give the weights of this network, or change network_g')


def save(content: Any, path: str | os.PathLike) -> None:
    """Write a file with ``torch.save``, whole or not at all; raises ``OSError`` as :func:`atomic_write` does."""
    with atomic_write(path) as file:
        torch.save(content, file)
