"""The state dict of a weights file, and whether it fits a network."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from reflash_sr.errors import UserError
from reflash_sr.weights.bundled import real_path
from reflash_sr.weights.choose_weights import choose
from reflash_sr.weights.families import other_options
from reflash_sr.weights.file_formats import KEYS, load_file, save, suffix_of
from reflash_sr.weights.key_names import other_layout, plain_names

__all__ = ['KEYS', 'Weights', 'check_fit', 'differences', 'load_file', 'load_into', 'load_pretrained', 'load_weights',
           'save', 'suffix_of', 'unlike']

# Buffers that follow from a network's options, such as SwinIR's training size: they are no weights.
_RECOMPUTED = re.compile(r'(?:.*\.)?(?:attn_mask(?:_\d+)?|(?:aligned_)?relative_position_index(?:_\w+)?|'
                         r'relative_coords_table|rpe_biases)')


@runtime_checkable
class OwnNames(Protocol):
    """A network that knows more layouts of its weights than :mod:`reflash_sr.weights.key_names`."""

    def in_own_names(self, state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights of such a network by the names of this one; as they are if that fails."""


@dataclass(frozen=True)
class Weights:
    """Content of a weights file."""

    path: str
    key: str  # 'params_ema', 'params', 'state_dict.net_g', …, or 'bare' if the file is the state dict itself
    state_dict: dict[str, torch.Tensor]  # by plain names, see key_names
    network_g: dict[str, Any] | None  # options of the network; None if the file has none: it needs an option file
    trained: dict[str, Any] = field(default_factory=dict)  # experiment, iter, total_iter, manual_seed; may be empty


def load_weights(path: str | os.PathLike, key: str | Iterable[str] | None = None, named: str | None = None) -> Weights:
    """Read the weights of one network.

    Args:
        path: A file of BasicSR, Real-ESRGAN, KAIR, Lightning or this package, or a bare state dict; or
            ``bundled:NAME``.
        key: The preferred key or keys, such as ``'params'``. Default: EMA weights if there are any. The key of the
            result may differ.
        named: A key that must exist if ``key`` does not.

    Raises:
        UserError: As for :func:`load_file`; the file holds no state dict of finite real numbers, no ``named`` weights,
            or several networks and no name.
    """
    path = real_path(path)
    content = load_file(path)
    if not isinstance(content, Mapping):
        raise UserError(f'{path}: holds a {type(content).__name__}, not weights')
    taken, state = choose(path, content, (key,) if isinstance(key, str) else key or (), named)
    names = plain_names([*state])
    if len(set(names)) < len(names):
        raise UserError(f"{path}: a weight occurs twice, with and without 'module.'; save one of them")
    state_dict = dict(zip(names, state.values()))
    for name, value in state_dict.items():
        if value.is_meta:
            raise UserError(f'{path}: {name} has a shape, but no values; save the weights themselves')
        number = value.float() if value.element_size() == 1 else value  # isfinite does not support 8-bit floats
        if value.is_complex() or (value.is_floating_point() and not torch.isfinite(number).all()):
            raise UserError(f'{path}: {name} holds values that are not finite real numbers; take an earlier checkpoint')
    network_g, trained = (content.get(name) if taken != 'bare' else None for name in ('network_g', 'trained'))
    return Weights(str(path), taken, state_dict, network_g if isinstance(network_g, dict) else None,
                   trained if isinstance(trained, dict) else {})


def load_pretrained(section: Mapping[str, Any], label: str = 'g', key: str | None = None) -> Weights:
    """Read ``pretrain_network_{label}`` of an option file's ``path`` section.

    Its ``param_key_{label}``, if it is written there, must exist: BasicSR would silently take other weights.

    Args:
        section: The ``path`` section.
        label: Which network.
        key: Preferred key, for the EMA network ``'params_ema'``. Default: ``param_key_{label}``, or ``'params'``.

    Raises:
        UserError: As for :func:`load_weights`.
    """
    written = f'param_key_{label}'
    key = section.get(written, 'params') if key is None else key
    return load_weights(section[f'pretrain_network_{label}'], key, section.get(written))


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


def unlike(net: torch.nn.Module, weights: Weights) -> list[str]:
    """List the differences between a network and weights, as :func:`differences` does; without computed buffers."""
    return differences(*_compared(net, weights))


def check_fit(net: torch.nn.Module, weights: Weights, shown: int = 6, strict: bool = True) -> None:
    """Check that weights fit a network in every key and shape; if not ``strict``, that any of them do.

    Raises:
        UserError: They do not; the message lists at most ``shown`` differences.
    """
    own, given = _compared(net, weights)
    found = differences(own, given)
    if not found or (not strict and _fitting(own, given)):
        return
    what = 'does not fit' if strict else f'not one of its {len(given):,} tensors fits'
    where = f'{weights.path} [{weights.key}]: {what} {type(net).__name__}'
    if other := other_layout(weights.state_dict):
        raise UserError(f'{where}: {other}; pip install -e ".[models]" adds the networks of other projects')
    more = f' and {len(found) - shown} more' if len(found) > shown else ''
    shapes = ({name: tuple(value.shape) for name, value in state.items()} for state in (own, weights.state_dict))
    held = other_options(*shapes)
    remedy = f'{held}: write that under network_g, or give' if held else 'change network_g, or give'
    raise UserError(f'{where}: {", ".join(found[:shown])}{more}; {remedy} the weights of this network')


def load_into(net: torch.nn.Module, weights: Weights, strict: bool = True) -> tuple[list[str], list[str]]:
    """Load weights into a network, by its own names; buffers that the network computes stay as they are.

    Args:
        strict: All of them must fit; else those that do are loaded.

    Returns:
        The names of the network's tensors that were loaded, and of those that were not (none if ``strict``).

    Raises:
        UserError: As for :func:`check_fit`.
    """
    check_fit(net, weights, strict=strict)
    own, given = _compared(net, weights)
    fitting = _fitting(own, given)
    net.load_state_dict(fitting, strict=False)
    return [*fitting], [name for name in own if name not in fitting]


def _compared(net: torch.nn.Module, weights: Weights) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The tensors of a network and of a file that are compared, both by the names of the network."""
    own, given = net.state_dict(), weights.state_dict
    if isinstance(net, OwnNames):
        given = net.in_own_names(given)
    names = dict(zip(plain_names([*own]), own))
    if len(names) < len(own):
        names = {}
    given = {names.get(name, name): value for name, value in given.items()}
    parameters = {name for name, _ in net.named_parameters()}
    left_out = {name for name in (*own, *given) if _RECOMPUTED.fullmatch(name)} - parameters
    return _without(own, left_out), _without(given, left_out)


def _without(state: Mapping[str, torch.Tensor], names: Set[str]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if name not in names}


def _fitting(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in given.items()
            if name in own and not differences({name: own[name]}, {name: value})}
