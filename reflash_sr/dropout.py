"""Dropout in a super-resolution network: what to drop, where, how much (paper Sec. 4).

Dropout is inserted from outside, by hooks, and owns neither parameters nor buffers: state-dict keys never change, and a
checkpoint trained with dropout is a checkpoint of the plain network.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from reflash_sr.errors import UserError, suggest
from reflash_sr.options.rules import DROP_RATE
from reflash_sr.positions import find_sites

DIMS = ('channel', 'element')


def feature_dropout(x: torch.Tensor, p: float = 0.5, dim: str = 'channel', training: bool = True) -> torch.Tensor:
    """Drop whole channels or single elements of a feature, and scale the rest by 1 / (1 - p).

    Args:
        x: Features, (B, C, H, W), or tokens, (B, N, C).
        p: Share that is dropped, 0 ≤ p < 1; 0 is the identity.
        dim: ``'channel'`` drops feature maps, (B, C, 1, 1), and of tokens the same channels everywhere, (B, 1, C),
            never a token; ``'element'`` drops single values (paper Sec. 4.2).
        training: False is the identity.

    Returns:
        A tensor of the shape and type of ``x``; ``x`` itself where nothing is to be dropped.

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
    """:func:`feature_dropout` as a layer, switched by ``train()`` and ``eval()``.

    Args:
        p: Share that is dropped, 0 ≤ p < 1; 0 switches dropout off.
        dim: ``'channel'`` or ``'element'``.
    """

    def __init__(self, p: float = 0.5, dim: str = 'channel'):
        super().__init__()
        _check(p, dim)
        self.p = p
        self.dim = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return feature_dropout(x, self.p, self.dim, self.training)

    def extra_repr(self) -> str:
        return f'p={self.p}, dim={self.dim}'


class DropoutHook:
    """Drops in front of, or behind, the module it is registered on.

    An object rather than a closure, and without a reference to a network: a deep copy or a pickle of the network
    carries a copy of it, and the ``training`` flag it obeys is always that of the module it is called for.
    """

    def __init__(self, p: float, dim: str):
        self.p = p
        self.dim = dim

    def __repr__(self) -> str:
        return f'{type(self).__name__}(p={self.p}, dim={self.dim!r})'

    def drop(self, x: object, module: nn.Module) -> torch.Tensor:
        """Drop from features of a module, if the module trains."""
        if not isinstance(x, torch.Tensor):
            raise UserError(f'dropout_position: what {type(module).__name__} takes or gives there is a '
                            f'{type(x).__name__}, not features')
        return feature_dropout(x, self.p, self.dim, module.training)


class _InputDropout(DropoutHook):

    def __call__(self, module: nn.Module, args: tuple) -> tuple:
        return (self.drop(args[0] if args else None, module), *args[1:])


class _OutputDropout(DropoutHook):

    def __call__(self, module: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
        return self.drop(output, module)


class DropoutHandle:
    """What :func:`insert_dropout` put into a network; takes it out again. Also a context manager."""

    def __init__(self, handles: Iterable, description: str = 'no dropout'):
        self._handles = list(handles)
        self._description = description

    def __repr__(self) -> str:
        return f'<{self._description if self._handles else "no dropout"}>'

    def __len__(self) -> int:
        return len(self._handles)

    def remove(self) -> None:
        """Take the dropout out; the network is as it was before. Doing it twice changes nothing."""
        while self._handles:
            self._handles.pop().remove()

    def __enter__(self) -> DropoutHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def insert_dropout(net: nn.Module, position: str | Sequence[str] = 'last-conv', dim: str = 'channel', p: float = 0.5,
                   stage: str = 'branch') -> DropoutHandle:
    """Insert dropout into any network, in place.

    Args:
        net: The network.
        position: Where: a name of the paper (Sec. 4.1), a module's path, or a list of them; see
            :func:`reflash_sr.positions.find_sites`.
        dim: ``'channel'`` or ``'element'`` (Sec. 4.2).
        p: Share that is dropped, 0 ≤ p < 1; at 0 nothing is inserted.
        stage: Where inside the dropped residual blocks of ``all-part``, ``half-part`` and ``quarter-part``: at the end
            of the residual branch (``'branch'``) or after its first stage (``'first'``).

    Returns:
        A handle that takes the dropout out again.

    Raises:
        UserError: An argument is out of its range, or the network does not have the position.
    """
    _check(p, dim)
    sites = find_sites(net, position, stage)
    if p == 0:
        return DropoutHandle([])
    register = {
        'input': lambda module: module.register_forward_pre_hook(_InputDropout(p, dim)),
        'output': lambda module: module.register_forward_hook(_OutputDropout(p, dim)),
    }
    places = ', '.join(f'{site.side} of {site.module}' for site in sites)
    description = f'{dim} dropout, p = {p:g}, at {places}'
    logging.getLogger('basicsr').info('%s: %s', type(net).__name__, description)
    return DropoutHandle([register[site.side](net.get_submodule(site.module)) for site in sites], description)


def drop_rate(net: nn.Module) -> float:
    """The p of the dropout in a network, the largest where there are several; 0 without any."""
    hooks = [hook for module in net.modules()
             for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values())]
    return max((hook.p for hook in hooks if isinstance(hook, DropoutHook)), default=0.0)


def _check(p: float, dim: str) -> None:
    if not DROP_RATE.holds(p):
        raise UserError(f'dropout_p: must be {DROP_RATE.wanted}, not {p!r}')
    if dim not in DIMS:
        raise UserError(f"dropout_dim: must be one of {', '.join(DIMS)}, not {dim!r}{suggest(dim, DIMS)}")
