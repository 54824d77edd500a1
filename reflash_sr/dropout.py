"""Dropout in a super-resolution network (paper Sec. 4).

Forward hooks do the dropout. They have no parameters or buffers, so the state-dict keys do not change: the checkpoint
of a network trained with dropout loads into the plain network.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from reflash_sr.errors import UserError, suggest
from reflash_sr.options.value_rules import DROP_RATE
from reflash_sr.positions import find_sites

DIMS = ('channel', 'element')


def feature_dropout(x: torch.Tensor, p: float = 0.5, dim: str = 'channel', training: bool = True) -> torch.Tensor:
    """Drop channels or single elements of features, and scale the others by 1 / (1 - p).

    Args:
        x: Features (B, C, H, W), or tokens (B, N, C).
        p: Probability that a channel or element is dropped, 0 ≤ p < 1; 0 is the identity.
        dim: ``'channel'`` drops whole feature maps of a sample (for tokens: the same channels in every token);
            ``'element'`` drops single values (paper Sec. 4.2).
        training: False is the identity.

    Returns:
        A tensor of the shape and dtype of ``x``; ``x`` itself if ``p`` is 0 or ``training`` is False.

    Raises:
        UserError: ``p`` or ``dim`` is not one of the above, or ``x`` has neither 3 nor 4 dimensions.
    """
    _check(p, dim)
    if not training or p == 0:
        return x
    if dim == 'element':
        return F.dropout(x, p)
    if x.dim() not in (3, 4):
        raise UserError(f'channel dropout: features must be (B, C, H, W) or tokens (B, N, C), not {tuple(x.shape)}')
    shape = (x.shape[0], x.shape[1], 1, 1) if x.dim() == 4 else (x.shape[0], 1, x.shape[2])
    return x * F.dropout(x.new_ones(shape), p)


class FeatureDropout(nn.Module):
    """:func:`feature_dropout` as a layer: ``train()`` switches it on, ``eval()`` off."""

    def __init__(self, p: float = 0.5, dim: str = 'channel'):
        super().__init__()
        _check(p, dim)
        self.p = p
        self.dim = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return feature_dropout(x, self.p, self.dim, self.training)

    def extra_repr(self) -> str:
        return f'p={self.p}, dim={self.dim}'


def insert_dropout(net: nn.Module, position: str | Sequence[str] = 'last-conv', dim: str = 'channel', p: float = 0.5,
                   stage: str = 'branch') -> DropoutHandle:
    """Insert dropout into any network, in place; returns a handle that removes it again.

    Args:
        net: The network.
        position: Where to drop (Sec. 4.1): a name or a list of names, see :mod:`reflash_sr.positions`.
        dim: What to drop: ``'channel'`` or ``'element'`` (Sec. 4.2).
        p: Drop probability, 0 ≤ p < 1; 0 inserts nothing.
        stage: Where ``all-part``, ``half-part`` and ``quarter-part`` drop inside a block: after its residual branch
            (``'branch'``) or after the first stage of this branch (``'first'``).

    Raises:
        UserError: An argument is out of its range, or the network does not have the position.
    """
    _check(p, dim)
    sites = find_sites(net, position, stage)
    if p == 0:
        return DropoutHandle([])
    description = f'{dim} dropout, p = {p:g}, at ' + ', '.join(f'{site.side} of {site.module}' for site in sites)
    logging.getLogger('basicsr').info('%s: %s', type(net).__name__, description)
    handles = []
    for site in sites:
        module = net.get_submodule(site.module)
        register = module.register_forward_pre_hook if site.side == 'input' else module.register_forward_hook
        handles.append(register(DropoutHook(p, dim)))
    return DropoutHandle(handles, description)


class DropoutHandle:
    """Removes the dropout that :func:`insert_dropout` inserted. Also a context manager."""

    def __init__(self, handles: Iterable[Any], description: str = 'no dropout'):
        self._handles = list(handles)
        self._description = description

    def __repr__(self) -> str:
        return f'<{self._description if self._handles else "no dropout"}>'

    def __len__(self) -> int:
        return len(self._handles)

    def remove(self) -> None:
        """Restore the network as it was before. A second call changes nothing."""
        while self._handles:
            self._handles.pop().remove()

    def __enter__(self) -> DropoutHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class DropoutHook:
    """Applies dropout to the first input or to the output of the module on which it is registered.

    It is an object without a reference to a network, not a closure: a deep copy or a pickle of the network gets its own
    hook, which follows the ``training`` flag of its own module.
    """

    def __init__(self, p: float, dim: str):
        self.p = p
        self.dim = dim

    def __repr__(self) -> str:
        return f'{type(self).__name__}(p={self.p}, dim={self.dim!r})'

    def __call__(self, module: nn.Module, args: tuple, *output: object) -> Any:
        """Drop from ``output`` as a forward hook, or from ``args[0]`` as a forward pre-hook, which gets no output."""
        x = output[0] if output else args[0] if args else None
        if not isinstance(x, torch.Tensor):
            raise UserError(f"dropout_position: the {'output' if output else 'input'} of {type(module).__name__} is a "
                            f'{type(x).__name__}, not a tensor of features; choose another position')
        x = feature_dropout(x, self.p, self.dim, module.training)
        return x if output else (x, *args[1:])


def drop_rate(net: nn.Module) -> float:
    """The largest p of the dropout in a network; 0 without dropout."""
    return max((hook.p for module in net.modules()
                for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
                if isinstance(hook, DropoutHook)), default=0.0)


def _check(p: float, dim: str) -> None:
    if not DROP_RATE.holds(p):
        raise UserError(f'dropout_p: must be {DROP_RATE.wanted}, not {p!r}')
    if dim not in DIMS:
        raise UserError(f"dropout_dim: must be one of {', '.join(DIMS)}, not {dim!r}{suggest(dim, DIMS)}")
