"""The state dict of a weights file, and whether it fits a network."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from reflash_sr.errors import UserError
from reflash_sr.weights.file_formats import KEYS, load_file, save, suffix_of

__all__ = ['KEYS', 'Weights', 'check_fit', 'differences', 'load_file', 'load_weights', 'save', 'suffix_of']

_AUTHORS_BLOCK = re.compile(r'^body(?P<number>[1-9]\d*)\.0\.(?=conv[12]\.|rdb[123]\.)')


@dataclass(frozen=True)
class Weights:
    """Content of a weights file."""

    path: str
    key: str  # 'params_ema', 'params', or 'bare' if the file is the state dict itself
    state_dict: dict[str, torch.Tensor]  # names without DDP's 'module.', and translated from the authors' names
    network_g: dict[str, Any] | None  # options of the network; None if the file has none: it needs an option file
    trained: dict[str, Any] = field(default_factory=dict)  # experiment, iter, total_iter, manual_seed; may be empty


def load_weights(path: str | os.PathLike, key: str | None = None) -> Weights:
    """Read the weights of one network.

    Args:
        path: A ``.pth`` or ``.safetensors`` file of BasicSR, Real-ESRGAN or this package, or a bare state dict.
        key: The preferred key, ``'params'`` or ``'params_ema'``. Default: EMA weights if there are any. The key of the
            result may differ.

    Raises:
        UserError: As for :func:`load_file`, or the file holds no state dict of finite real numbers.
    """
    content = load_file(path)
    if not isinstance(content, Mapping):
        raise UserError(f'{path}: holds a {type(content).__name__}, not weights')
    taken = next((name for name in (key, *KEYS) if name in KEYS and isinstance(content.get(name), Mapping)), 'bare')
    state_dict = content if taken == 'bare' else content[taken]
    names = translate_keys([str(name).removeprefix('module.') for name in state_dict])
    if len(set(names)) < len(names):
        raise UserError(f"{path}: a weight occurs twice, with and without 'module.'; save one of them")
    state_dict = dict(zip(names, state_dict.values()))
    if not state_dict or not all(isinstance(value, torch.Tensor) for value in state_dict.values()):
        raise UserError(f'{path}: no weights found: neither {" nor ".join(KEYS)} nor a state dict; it holds '
                        f'{", ".join(str(name)[:40] for name in list(content)[:6])}')
    for name, value in state_dict.items():
        if value.is_meta:
            raise UserError(f'{path}: {name} has a shape, but no values; save the weights themselves')
        number = value.float() if value.element_size() == 1 else value  # isfinite does not support 8-bit floats
        if value.is_complex() or (value.is_floating_point() and not torch.isfinite(number).all()):
            raise UserError(f'{path}: {name} holds values that are not finite real numbers; take an earlier checkpoint')
    network_g, trained = (content.get(name) if taken != 'bare' else None for name in ('network_g', 'trained'))
    return Weights(str(path), taken, state_dict, network_g if isinstance(network_g, dict) else None,
                   trained if isinstance(trained, dict) else {})


def translate_keys(names: list[str]) -> list[str]:
    """Translate the keys of the paper's authors, in order: ``body1.0.conv1.weight`` becomes ``body.0.conv1.weight``.

    All keys stay as they are if any ``body1``, ``body2``, … contains anything but one residual block.
    """
    if not all(_AUTHORS_BLOCK.match(name) for name in names if re.match(r'body\d+\.', name)):
        return list(names)
    return [_AUTHORS_BLOCK.sub(lambda match: f"body.{int(match['number']) - 1}.", name) for name in names]


def differences(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> list[str]:
    """List the differences between the weights of a file, ``given``, and a network's state dict, ``wanted``.

    Returns:
        A phrase per missing, unexpected or differently shaped entry, and per integer instead of float entry.
    """
    both = [(name, value, given[name]) for name, value in wanted.items() if name in given]
    return [*(f'missing {name}' for name in wanted if name not in given),
            *(f'unexpected {name}' for name in given if name not in wanted),
            *(f'{name} is {tuple(b.shape)}, not {tuple(a.shape)}' for name, a, b in both if a.shape != b.shape),
            *(f'{name} is {b.dtype}, not {a.dtype}' for name, a, b in both
              if a.is_floating_point() and not b.is_floating_point())]


def check_fit(net: torch.nn.Module, weights: Weights, shown: int = 6) -> None:
    """Check that weights fit a network in every key and shape.

    Raises:
        UserError: They do not; the message lists at most ``shown`` differences.
    """
    found = differences(net.state_dict(), weights.state_dict)
    if found:
        more = f' and {len(found) - shown} more' if len(found) > shown else ''
        raise UserError(f'{weights.path} [{weights.key}]: does not fit {type(net).__name__}: '
                        f'{", ".join(found[:shown])}{more}; give the weights of this network, or change network_g')
