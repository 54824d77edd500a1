"""What a network does with the output of its last convolution, if that is linear: pixel shuffles, additions, scaling.

The operations are watched while the network runs. Each value of the result is then ``scale · value + rest``: one of the
values of the convolution, and something that does not depend on them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

_aten = torch.ops.aten
_SHAPES = {_aten.new_full, _aten.new_zeros, _aten.new_ones, _aten.new_empty, _aten.full_like, _aten.zeros_like,
           _aten.ones_like, _aten.empty_like}  # take nothing but a shape
_SAME = {_aten.clone, _aten._to_copy, _aten.detach, _aten.alias, _aten.contiguous}
_MOVES = {_aten.view, _aten._unsafe_view, _aten.permute, _aten.transpose, _aten.pixel_shuffle, _aten.pixel_unshuffle,
          _aten.slice, _aten.squeeze, _aten.unsqueeze, _aten.select}
_ADDS = {_aten.add: (1, 1), _aten.add_: (1, 1), _aten.sub: (1, -1), _aten.sub_: (1, -1), _aten.rsub: (-1, 1)}  # signs
_SCALES = {_aten.mul, _aten.mul_, _aten.div, _aten.div_, _aten.neg}
_CLAMPS = {_aten.clamp, _aten.clamp_, _aten.hardtanh, _aten.hardtanh_}


@dataclass(frozen=True)
class Linear:
    """How a tensor is made of the convolution's output.

    Attributes:
        value: The tensor, before it was clamped.
        places: For each of its values, the number of the value that it is made of; None: all are at their places.
        scale: What those are multiplied by, a number or a tensor of the same shape.
        clamped: Whether it was clamped to a range that includes [0, 1]; nothing may be computed with it then.
    """

    value: torch.Tensor
    places: torch.Tensor | None = None
    scale: float | torch.Tensor = 1.0
    clamped: bool = False


@dataclass(frozen=True)
class Tail:
    """A linear end of a network.

    Attributes:
        features: Input of the convolution, (1, C, H, W).
        fed: Its output as the network went on with it, (B, N, h, w).
        scale: By channel of that output, (1, N, 1, 1).
        rest: What is added to it, (B, N, h, w).
        order: For each value of one image of the convolution's output, flat, its place in the network's output; None
            if both have the same shape and order.
        output: The network's output for the first of the batch, not clamped, (1, C, H · scale, W · scale).
        dtype: In which the convolution gave its output.
    """

    features: torch.Tensor
    fed: torch.Tensor
    scale: torch.Tensor
    rest: torch.Tensor
    order: torch.Tensor | None
    output: torch.Tensor
    dtype: torch.dtype

    @property
    def precision(self) -> float:
        """Rounding errors of :attr:`rest` and :attr:`output` are below this."""
        return 16 * torch.finfo(self.output.dtype).eps * float((self.fed * self.scale).abs().max() + 1)


def follow(net: nn.Module, conv: nn.Module, lq: torch.Tensor,
           change: Callable[[torch.Tensor], torch.Tensor]) -> Tail | None:
    """Run a network, and follow the output of one of its convolutions.

    Args:
        net: The network, in eval mode.
        conv: The convolution.
        lq: An image, (1, N, H, W).
        change: Function of the convolution's output; the network goes on with what it returns.

    Returns:
        None if the convolution runs more than once, or what comes after it is not linear.

    Raises:
        Exception: The network cannot go on with that.
    """
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []
    dtypes: list[torch.dtype] = []

    def hook(module: nn.Module, args: tuple, kwargs: dict, output: torch.Tensor) -> torch.Tensor:
        changed = change(output)
        features = args[0] if args else kwargs['input']
        if not calls:
            watching.enter_context(watch)  # from here on only: what comes before runs as fast as ever
        # Copies, because the network may change either in place.
        calls.append((features.to(torch.float32, copy=True), changed.to(torch.float32, copy=True)))
        dtypes.append(output.dtype)
        watch.begin(changed)
        return changed

    handle, watch = conv.register_forward_hook(hook, with_kwargs=True), _Watch()
    with contextlib.ExitStack() as watching:
        watching.callback(handle.remove)
        output = net(lq.clone())
    found = watch.known(output)
    if len(calls) != 1 or found is None:
        return None
    features, fed = calls[0]
    value = found.value.float()
    order = None
    if found.places is not None:
        order = _order(found.places, fed)
        if order is None:
            return None
        value = _in_order(value, order, fed)
    if value.shape != fed.shape:
        return None
    scale = found.scale
    if isinstance(scale, torch.Tensor):
        scale = scale.float() if order is None else _in_order(scale.float(), order, fed)
        if not torch.equal(scale, scale[:1, :, :1, :1].expand_as(scale)):
            return None
        scale = scale[:1, :, :1, :1]
    else:
        scale = fed.new_full((1, fed.shape[1], 1, 1), scale)
    tail = Tail(features, fed, scale, value - scale * fed, order, found.value[:1], dtypes[0])
    if found.value is not output:
        differs = (output.float().clamp(0, 1) - found.value.float().clamp(0, 1)).abs().max()
        if not float(differs) <= tail.precision:
            return None
    return tail


def _order(places: torch.Tensor, fed: torch.Tensor) -> torch.Tensor | None:
    """Where each value of an image of ``fed`` went; None if not each went to one place, or not alike in all images."""
    if places.numel() != fed.numel() or len(places) != len(fed):
        return None
    count = fed[0].numel()
    first = places[0].flatten().long()
    for number, other in enumerate(places):
        if not torch.equal(other.flatten() - count * number, places[0].flatten()):
            return None
    order = torch.full((count,), -1, device=fed.device)
    if int(first.min()) >= 0 and int(first.max()) < count:
        order[first] = torch.arange(count, device=fed.device)
    return order if int(order.min()) >= 0 else None


def _in_order(value: torch.Tensor, order: torch.Tensor, fed: torch.Tensor) -> torch.Tensor:
    return value.flatten(1)[:, order].view_as(fed)


class _Watch(TorchDispatchMode):
    """Knows how each tensor is made of the convolution's output, as long as that is linear."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[int, tuple[torch.Tensor, Linear]] = {}  # by id; the tensors are kept, so that ids stay theirs
        self._storages: set[int] = set()
        self._alive: list[torch.Tensor] = []  # so that no other tensor gets the place of one of them
        self._decided = False  # whether a number was taken out, on which the network may decide what it does

    def begin(self, output: torch.Tensor) -> None:
        """Begin with the convolution's output."""
        self._know(output, Linear(output))

    def known(self, tensor: object) -> Linear | None:
        """How a tensor is made; None if it is not, or not known."""
        return self._known[id(tensor)][1] if id(tensor) in self._known and not self._decided else None

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        touched = [one for one in tree_flatten((args, kwargs))[0] if _storage(one) in self._storages]
        if not touched or func.overloadpacket in _SHAPES:
            return func(*args, **kwargs)
        before = self.known(touched[0]) if len(touched) == 1 else None
        writes = any(argument.alias_info is not None and argument.alias_info.is_write
                     for argument in func._schema.arguments)
        if func.overloadpacket in _CLAMPS and before is not None and writes:
            before = replace(before, value=before.value.clone())
        result = func(*args, **kwargs)
        after = None if before is None else _after(before, touched[0], func, args, kwargs, result)
        if writes:  # other views of the same values are not known any more
            changed = {_storage(one) for one in tree_flatten(args)[0]} & {*self._storages, _storage(result)}
            self._known = {key: (one, linear) for key, (one, linear) in self._known.items()
                           if not changed & {_storage(one), _storage(linear.value)}}
        for one in tree_flatten(result)[0]:
            if isinstance(one, torch.Tensor):
                self._know(one, after)
            else:
                self._decided = True
        return result

    def _know(self, tensor: torch.Tensor, linear: Linear | None) -> None:
        self._storages.add(_storage(tensor))
        self._alive.append(tensor)
        if linear is not None:
            self._known[id(tensor)] = tensor, linear


def _after(one: Linear, tensor: torch.Tensor, func: Any, args: tuple, kwargs: dict, result: Any) -> Linear | None:
    """What an operation makes of a tensor; None if the operation is not linear in it."""
    kind = func.overloadpacket
    if not isinstance(result, torch.Tensor):
        return None
    if kind in _SAME:
        return replace(one, value=one.value.to(result.dtype) if one.clamped else result)
    if kind in _MOVES:
        return _moved(one, func, args, kwargs, result)
    if one.clamped:
        return None
    if kind in _CLAMPS:
        low, high = _bounds(func, args, kwargs)
        return replace(one, clamped=True) if low <= 0 and high >= 1 else None
    if result.shape != tensor.shape:
        return None
    if kind in _ADDS:
        mine = 0 if args[0] is tensor else 1
        factor: float | torch.Tensor = _ADDS[kind][mine]
        if mine == (0 if kind is _aten.rsub else 1):
            factor *= kwargs.get('alpha', args[2] if len(args) > 2 else 1)
    elif kind is _aten.neg:
        factor = -1.0
    elif kind in _SCALES:
        if (args[0] is not tensor and kind in (_aten.div, _aten.div_)) or kwargs.get('rounding_mode') is not None:
            return None
        factor = _number(args[1] if args[0] is tensor else args[0])
        factor = 1 / factor if kind in (_aten.div, _aten.div_) else factor
    elif kind is _aten.convolution and args[0] is tensor:
        diagonal = _diagonal(args)
        if diagonal is None:
            return None
        factor = diagonal
    else:
        return None
    scale = one.scale * factor
    if isinstance(scale, torch.Tensor):
        scale = scale.expand_as(result)
    return replace(one, value=result, scale=scale)


def _moved(one: Linear, func: Any, args: tuple, kwargs: dict, result: torch.Tensor) -> Linear | None:

    def move(tensor: torch.Tensor) -> torch.Tensor:
        if func.overloadpacket in (_aten.view, _aten._unsafe_view):  # the tensor may be laid out in another way
            return tensor.reshape(result.shape)
        return func(tensor, *args[1:], **kwargs)

    if func is _aten.view.dtype:
        return None
    places = one.places
    if places is None:
        places = torch.arange(one.value.numel(), dtype=torch.int32, device=result.device).view(one.value.shape)
    return Linear(move(one.value) if one.clamped else result, move(places),
                  move(one.scale) if isinstance(one.scale, torch.Tensor) else one.scale, one.clamped)


def _bounds(func: Any, args: tuple, kwargs: dict) -> tuple[float, float]:
    """Range of a clamp; one that nothing is in, if it is not made of numbers."""
    names = [argument.name for argument in func._schema.arguments]
    given = {**dict(zip(names, args)), **kwargs}
    default = (-1.0, 1.0) if 'min_val' in names else (None, None)
    low, high = (given.get(name, value) for name, value in zip(names[1:3], default))
    if isinstance(low, torch.Tensor) or isinstance(high, torch.Tensor):
        return float('inf'), float('-inf')
    return float('-inf') if low is None else low, float('inf') if high is None else high


def _number(value: float | torch.Tensor) -> float | torch.Tensor:
    """A tensor of equal values as that value: it fits every shape."""
    if isinstance(value, torch.Tensor):
        value = value.float()
        return float(value.max()) if value.numel() and value.min() == value.max() else value
    return float(value)


def _diagonal(args: tuple) -> torch.Tensor | None:
    """Factors of a 1×1 convolution that multiplies each channel by a number, as a mean shift does."""
    weight, groups = args[1], args[8]
    count = len(weight)
    if weight.shape[2:] != (1, 1) or set(args[3]) != {1} or any(args[4]) or args[6]:
        return None
    factors = weight.float().flatten(1) if groups == count else torch.diag(weight.float()[..., 0, 0])
    if groups != count and (groups != 1 or not torch.equal(torch.diag(factors), weight.float()[..., 0, 0])):
        return None
    return factors.reshape(1, -1, 1, 1)


def _storage(tensor: object) -> int:
    return tensor.untyped_storage()._cdata if isinstance(tensor, torch.Tensor) else 0
