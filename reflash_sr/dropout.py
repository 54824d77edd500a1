"""Dropout in a super-resolution network (paper Sec. 4), and its relatives.

Forward hooks do the dropout. They have no parameters or buffers, so the state-dict keys do not change: the checkpoint
of a network trained with dropout loads into the plain network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from reflash_sr.errors import UserError, suggest
from reflash_sr.options.dropout_schedule import Schedule, read_schedule
from reflash_sr.options.value_rules import DROP_RATE, POSITIVE_INT, PROBABILITY, Rule
from reflash_sr.positions import find_sites

# What is dropped together, as the axes along which masks differ: B, C, and H and W, or H for the N tokens.
_AXES = {'channel': 'BC', 'element': 'BCHW', 'path': 'B', 'pixel': 'BHW'}
_LAYOUTS = {4: 'BCHW', 3: 'BHC'}
DIMS = (*_AXES, 'block', 'key')
# Factors on features that are 1 in the mean and have the variance p / (1 - p), from ones; but 'mask' is not rescaled.
_NOISES: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    'zero': lambda ones, p: F.dropout(ones, p),
    'gaussian': lambda ones, p: ones + torch.randn_like(ones) * (p / (1 - p))**0.5,
    'sign': lambda ones, p: ones + (2 * torch.bernoulli(ones / 2) - 1) * (p / (1 - p))**0.5,
    'mask': lambda ones, p: torch.bernoulli(ones * (1 - p)),
}
NOISES = tuple(_NOISES)
_ODD = Rule('an odd whole number above 0', lambda v: POSITIVE_INT.holds(v) and v % 2 == 1)
BLOCK = 7  # px: side of the squares of DropBlock, its authors' choice


def feature_dropout(x: torch.Tensor, p: float = 0.5, dim: str = 'channel', training: bool = True, *,
                    noise: str = 'zero', blend: float = 0.0, block: int = BLOCK) -> torch.Tensor:
    """Drop channels or single elements of features, and scale the others by 1 / (1 - p).

    Args:
        x: Features (B, C, H, W), or tokens (B, N, C); for ``'key'`` the logits of an attention.
        p: Probability that a channel or element is dropped, 0 ≤ p < 1; 0 is the identity.
        dim: What is dropped together. ``'channel'``: a whole feature map of a sample (for tokens: the same channels in
            every token); ``'element'``: single values (paper Sec. 4.2). ``'path'``: all features of a sample, as in
            DropPath (arXiv 1603.09382), which drops residual branches. ``'pixel'``: all channels of a pixel or token.
            ``'block'``: squares of a map (DropBlock, arXiv 1810.12890). ``'key'``: keys of an attention, whose logits
            become the lowest number (DropKey, arXiv 2208.02646).
        training: False is the identity.
        noise: The factor on what is not kept: ``'zero'`` as above. Without zeroes, but with the same mean and variance:
            ``'gaussian'``, and ``'sign'``, which is 1 ± √(p / (1 - p)). ``'mask'`` is zero too, but does not rescale
            the others, as in masked training (arXiv 2303.13132).
        blend: Share of ``x`` itself in the result, in [0, 1]: blend · x + (1 - blend) · drop(x), as in Adaptive Dropout
            (arXiv 2506.12738, Sec. 3); 1 is the identity.
        block: Side of the squares of ``'block'``, px; odd. In a smaller map, the largest odd number that fits.

    Returns:
        A tensor of the shape and dtype of ``x``; ``x`` itself if it is the identity.

    Raises:
        UserError: An argument is not one of the above, or ``x`` has not so many dimensions.
    """
    _check(p, dim, noise, blend, block)
    if not training or p == 0 or blend == 1:
        return x
    if dim == 'key':
        return x.masked_fill(torch.rand_like(x) < p, torch.finfo(x.dtype).min)
    if dim == 'element' and noise == 'zero' and blend == 0:
        return F.dropout(x, p)
    factors = _blocks(x, p, block) if dim == 'block' else _NOISES[noise](x.new_ones(_shape(x, dim)), p)
    return x * (blend + (1 - blend) * factors if blend else factors)


def _shape(x: torch.Tensor, dim: str) -> list[int]:
    """The shape of the factors."""
    if x.dim() not in _LAYOUTS:
        raise UserError(f'{dim} dropout: features must be (B, C, H, W) or tokens (B, N, C), not {tuple(x.shape)}')
    return [size if axis in _AXES[dim] else 1 for axis, size in zip(_LAYOUTS[x.dim()], x.shape)]


def _blocks(x: torch.Tensor, p: float, block: int) -> torch.Tensor:
    from torchvision.ops import drop_block2d  # slow to import
    if x.dim() != 4:
        raise UserError(f'block dropout: features must be (B, C, H, W), not {tuple(x.shape)}')
    side = min(block, *x.shape[2:])
    return drop_block2d(torch.ones_like(x), p, side - 1 + side % 2)


class FeatureDropout(nn.Module):
    """:func:`feature_dropout` as a layer: ``train()`` switches it on, ``eval()`` off."""

    def __init__(self, p: float = 0.5, dim: str = 'channel', noise: str = 'zero', blend: float = 0.0,
                 block: int = BLOCK):
        super().__init__()
        _check(p, dim, noise, blend, block)
        self.p, self.dim, self.noise, self.blend, self.block = p, dim, noise, blend, block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return feature_dropout(x, self.p, self.dim, self.training, noise=self.noise, blend=self.blend, block=self.block)

    def extra_repr(self) -> str:
        return f'p={self.p}, {_words(self.dim, self.noise, self.blend, self.block)}'


def insert_dropout(net: nn.Module, position: str | Sequence[str] = 'last-conv', dim: str = 'channel', p: float = 0.5,
                   stage: str = 'branch', *, noise: str = 'zero', blend: float = 0.0, block: int = BLOCK,
                   schedule: Mapping[str, Any] | None = None) -> DropoutHandle:
    """Insert dropout into any network, in place; returns a handle that removes it again.

    Args:
        net: The network.
        position: Where to drop (Sec. 4.1): a name or a list of names, see :mod:`reflash_sr.positions`.
        dim: What to drop: ``'channel'`` or ``'element'`` (Sec. 4.2), or another of :func:`feature_dropout`.
        p: Drop probability, 0 ≤ p < 1; 0 inserts nothing.
        stage: Where ``all-part``, ``half-part`` and ``quarter-part`` drop inside a block: after its residual branch
            (``'branch'``) or after the first stage of this branch (``'first'``).
        noise: As for :func:`feature_dropout`, as are ``blend`` and ``block``.
        schedule: How p or blend change in training (:mod:`reflash_sr.options.dropout_schedule`); ``ReflashSRModel``
            sets the iteration, other programs with :func:`go_to`.

    Raises:
        UserError: An argument is out of its range, or the network does not have the position.
    """
    _check(p, dim, noise, blend, block)
    plan = read_schedule(schedule)
    sites = find_sites(net, position, stage)
    if dim == 'key' and not all(isinstance(net.get_submodule(site.module), nn.Softmax) for site in sites):
        raise UserError('dropout_dim: key: is for the logits of attentions; write dropout_position: attention')
    if max(p, 0 if plan is None else plan.to) == 0:
        return DropoutHandle([])
    places = ', '.join(f"{site.side} of {site.module or 'the network'}" for site in sites)
    changes = f'; {plan.type}, until iteration {plan.end(len(sites)):,}' if plan else ''
    description = f'{_words(dim, noise, blend, block)} dropout, p = {p:g}, at {places}{changes}'
    logging.getLogger('basicsr').info('%s: %s', type(net).__name__, description)
    handles = []
    for place, site in enumerate(sites):
        module = net.get_submodule(site.module)
        register = module.register_forward_pre_hook if site.side == 'input' else module.register_forward_hook
        handles.append(register(DropoutHook(p, dim, noise, blend, block, plan, place)))
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

    def __init__(self, p: float, dim: str, noise: str = 'zero', blend: float = 0.0, block: int = BLOCK,
                 schedule: Schedule | None = None, place: int = 0):
        self.p, self.blend = p, blend
        self.dim, self.noise, self.block = dim, noise, block
        self.schedule, self._place, self._start = schedule, place, (p, blend)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(p={self.p}, dim={self.dim!r})'

    @property
    def largest_p(self) -> float:
        """p, or the larger of its ends if it changes."""
        return max(self._start[0], self.schedule.to if self.schedule else 0)

    def go_to(self, iteration: int) -> None:
        """Be as the schedule says for an iteration."""
        if self.schedule is not None:
            self.p, self.blend = self.schedule.at(iteration, self._place, *self._start)

    def __call__(self, module: nn.Module, args: tuple, *output: object) -> Any:
        """Drop from ``output`` as a forward hook, or from ``args[0]`` as a forward pre-hook, which gets no output."""
        x = output[0] if output else args[0] if args else None
        if not isinstance(x, torch.Tensor):
            raise UserError(f"dropout_position: the {'output' if output else 'input'} of {type(module).__name__} is a "
                            f'{type(x).__name__}, not a tensor of features; choose another position')
        x = feature_dropout(x, self.p, self.dim, module.training, noise=self.noise, blend=self.blend, block=self.block)
        return x if output else (x, *args[1:])


def hooks_of(net: nn.Module) -> list[DropoutHook]:
    """All dropout hooks in a network."""
    return [hook for module in net.modules()
            for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
            if isinstance(hook, DropoutHook)]


def drop_rate(net: nn.Module) -> float:
    """The largest p of the dropout in a network, at any time of its schedule; 0 without dropout."""
    return max((hook.largest_p for hook in hooks_of(net)), default=0.0)


def go_to(net: nn.Module, iteration: int) -> None:
    """Let the dropout of a network be as its schedule says for an iteration."""
    for hook in hooks_of(net):
        hook.go_to(iteration)


def end_of_schedule(net: nn.Module) -> int:
    """The last iteration at which the dropout of a network changes; 0 without a schedule."""
    hooks = [hook for hook in hooks_of(net) if hook.schedule is not None]
    return max((hook.schedule.end(len(hooks)) for hook in hooks if hook.schedule), default=0)


def _words(dim: str, noise: str, blend: float, block: int) -> str:
    """Describe a kind of dropout."""
    extra = [f'noise {noise}'] * (noise != 'zero') + [f'blend {blend:g}'] * (blend != 0) + [
        f'{block} px'] * (dim == 'block')
    return f"{dim}{' (' + ', '.join(extra) + ')' if extra else ''}"


def _check(p: float, dim: str, noise: str, blend: float, block: int) -> None:
    for name, value, rule in (('p', p, DROP_RATE), ('blend', blend, PROBABILITY), ('block', block, _ODD)):
        if not rule.holds(value):
            raise UserError(f'dropout_{name}: must be {rule.wanted}, not {value!r}')
    for name, word, known in (('dim', dim, DIMS), ('noise', noise, NOISES)):
        if word not in known:
            raise UserError(f"dropout_{name}: must be one of {', '.join(known)}, not {word!r}{suggest(word, known)}")
    if noise != 'zero' and dim not in _AXES:
        raise UserError(f'dropout_noise: {noise}: is not possible with dropout_dim: {dim}; write zero')
    if blend and dim == 'key':
        raise UserError('dropout_blend: is not possible with dropout_dim: key, whose logits cannot be blended; write 0')
