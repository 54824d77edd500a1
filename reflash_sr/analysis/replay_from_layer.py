"""Replay: run only the part of a network after a layer, with changed features; for any network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from reflash_sr.analysis.features import check_features, find_layer
from reflash_sr.errors import RunError, UserError
from reflash_sr.positions import Site


class Replay:
    """Runs a network once on an image, and then again from a layer on, with changed features.

    In a replay, the whole forward pass runs again, but modules that finished before the layer return their recorded
    outputs. So skips, functional operations and modules that are called several times work as usual. Operations outside
    modules before the layer (interpolations, additions) are computed again.

    If a module is called several times, its first call is the layer. The first dimension of what modules take and
    return must be the batch, or the batch times windows, and the control flow must not depend on values.

    Args:
        net: The network, in eval mode. It is changed only while it runs.
        lq: An image, (1, C, H, W).
        layer: As in :func:`reflash_sr.analysis.features.find_layer`.

    Attributes:
        features: Features of the layer, (1, C, H, W) or (1, N, C).
        output: Output of the network, (1, C, H · scale, W · scale).

    Raises:
        UserError: There is no such layer, it is not reached, or it does not hold features of one image.
    """

    @torch.no_grad()
    def __init__(self, net: nn.Module, lq: torch.Tensor, layer: str | Site):
        self.net = net
        self.site = find_layer(net, layer)
        self.layer = layer if isinstance(layer, str) else f'{layer.side} of {layer.module}'
        self.tapped = net.get_submodule(self.site.module)
        self._around = {module for module in net.modules()
                        if module is not self.tapped and any(part is self.tapped for part in module.modules())}
        self._lq = lq
        self._flow = _Flow()
        self._tape: list[tuple[nn.Module, Any]] = []
        with _forwards(net, self._recorder), self._flow:
            self.output = net(lq.clone())  # a network may change its input in place
        if self._flow.tapped is None:
            raise UserError(f"layer '{self.layer}': was not reached in the forward pass; give another layer")
        self.features = self._flow.tapped.value
        if self.features.shape[0] != lq.shape[0]:
            raise UserError(f"layer '{self.layer}': holds {tuple(self.features.shape)} for one image, in which "
                            'channels cannot be distinguished from windows; give another layer')
        self._flow.close(self.output)
        self._written = self._flow.tapped.written

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *exc: object) -> None:
        """Free the kept outputs."""
        self._tape.clear()

    @torch.no_grad()
    def __call__(self, changed: torch.Tensor, overwrite: bool = False) -> torch.Tensor:
        """Run the part of the network after the layer.

        Args:
            changed: K variants of :attr:`features`, (K, C, H, W) or (K, N, C).
            overwrite: Whether the network may work in place on ``changed``, which saves a copy.

        Returns:
            (K, C, H · scale, W · scale).
        """
        if changed.shape[1:] != self.features.shape[1:]:
            raise ValueError(f'changed must be (K, {", ".join(map(str, self.features.shape[1:]))}), not '
                             f'{tuple(changed.shape)}')
        changed = changed.to(self.features)
        if self._written and not overwrite:
            changed = changed.clone()
        count = changed.shape[0]
        pass_ = _Pass(changed, iter(self._tape))
        lq = self._lq.repeat(count, *[1] * (self._lq.dim() - 1))
        lq = lq.contiguous(memory_format=torch.channels_last) if lq.dim() == 4 else lq
        with _forwards(self.net, lambda module, forward: self._replayer(module, forward, pass_)):
            return self.net(lq)

    def _recorder(self, module: nn.Module, forward: Callable) -> Callable:
        """The ``forward`` of a module in the first run: keeps the output if the module finishes before the layer."""
        flow = self._flow

        def record(*args: Any, **kwargs: Any) -> Any:
            if flow.tapped is not None or not flow.live or module in self._around:
                return forward(*args, **kwargs)
            if module is self.tapped and self.site.side == 'input':
                # A copy, because other modules may change the same tensor in place.
                flow.live = False
                features = self._check(args[0] if args else None).clone()
                flow.live = True
                flow.reach(features)
                return forward(features, *args[1:], **kwargs)
            flow.live = False
            try:
                output = forward(*args, **kwargs)
            finally:
                flow.live = True
            if module is self.tapped:
                flow.reach(self._check(output))
            else:
                self._tape.append((module, tree_map_only(torch.Tensor, flow.keep, output)))
            return output

        return record

    def _check(self, value: object) -> torch.Tensor:
        return check_features(self.layer, self.tapped, value, self.site.side)

    def _replayer(self, module: nn.Module, forward: Callable, now: _Pass) -> Callable:
        """The ``forward`` of a module in a replay."""

        def replay(*args: Any, **kwargs: Any) -> Any:
            if now.reached or module in self._around:
                return forward(*args, **kwargs)
            if module is self.tapped:
                now.reached = True
                return now.changed if self.site.side == 'output' else forward(now.changed, *args[1:], **kwargs)
            expected, kept = next(now.tape, (None, None))
            if expected is not module:
                raise RunError(f"layer '{self.layer}': {type(self.net).__name__} calls its modules in another order "
                               'when it runs again; it cannot be replayed from there')
            return tree_map_only(_Kept, now.hand_back, kept)

        return replay


class _Kept:
    """An output of a module that finished before the layer."""

    def __init__(self, value: torch.Tensor):
        self.value = value
        self.needed = False  # whether an operation of a replay reads it
        self.written = False  # whether an operation of a replay changes it in place


class _Pass:
    """One run from the layer on."""

    def __init__(self, changed: torch.Tensor, tape: Iterator):
        self.changed = changed
        self.tape = tape
        self.reached = False
        self._handed: dict[_Kept, torch.Tensor] = {}

    def hand_back(self, kept: _Kept) -> torch.Tensor:
        """The kept output for the whole batch, one tensor per replay; a copy only if it is changed in place."""
        if kept not in self._handed:
            value, count = kept.value, self.changed.shape[0]
            if value.dim():
                if not kept.needed:
                    value = value.as_strided((count * value.shape[0], *value.shape[1:]), [0] * value.dim())
                elif value.shape[0] == 1:
                    value = value.expand(count, *value.shape[1:])
                else:
                    value = value.repeat(count, *[1] * (value.dim() - 1))
            self._handed[kept] = value.clone() if kept.written else value
        return self._handed[kept]


class _Flow(TorchDispatchMode):
    """Records which kept outputs are read, or changed in place, by the operations of a replay.

    Attributes:
        live: False inside a module whose output is kept: a replay does not run its operations.
        tapped: The features of the layer.
    """

    def __init__(self):
        super().__init__()
        self.live = True
        self.tapped: _Kept | None = None
        self._by_storage: dict[int, list[_Kept]] = {}
        self._all: list[_Kept] = []

    def reach(self, features: torch.Tensor) -> None:
        """Note that the layer is reached, and its features."""
        self.tapped = self._track(_Kept(features))

    def keep(self, output: torch.Tensor) -> _Kept:
        """Keep an output; a tensor that was kept before, and changed in place since, is not kept twice."""
        for kept in self._by_storage.get(_storage(output), ()):
            if kept.value is output:
                return kept
        kept = _Kept(output)
        self._all.append(kept)
        return self._track(kept)

    def close(self, output: Any) -> None:
        """After the first run, free the values that no replay reads; their shapes remain."""
        for tensor in tree_flatten(output)[0]:
            for kept in self._by_storage.get(_storage(tensor), ()):
                kept.needed = True
        for kept in self._all:
            if not kept.needed:
                kept.value = kept.value.new_zeros(()).expand(kept.value.shape)
        self._by_storage.clear()

    def _track(self, kept: _Kept) -> _Kept:
        self._by_storage.setdefault(_storage(kept.value), []).append(kept)
        return kept

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        for place, argument in enumerate(func._schema.arguments):
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            for tensor in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(tensor, torch.Tensor) and _storage(tensor) in self._by_storage:
                    self._use(tensor, argument.alias_info is not None and argument.alias_info.is_write)
        return func(*args, **kwargs)

    def _use(self, tensor: torch.Tensor, write: bool) -> None:
        storage = _storage(tensor)
        for kept in self._by_storage[storage][:]:
            read_before = kept.needed
            kept.needed |= self.live
            kept.written |= self.live and write
            # Operations that read the value before the write need a copy of the old one.
            if write and (self.live or read_before):
                kept.value = kept.value.clone()
                self._by_storage[storage].remove(kept)


def _storage(tensor: object) -> int:
    return tensor.untyped_storage()._cdata if isinstance(tensor, torch.Tensor) else 0


@contextmanager
def _forwards(net: nn.Module, wrap: Callable[[nn.Module, Callable], Callable]) -> Iterator[None]:
    """Replace the ``forward`` of every module, and restore it afterwards."""
    before = {module: module.__dict__.get('forward') for module in net.modules()}
    try:
        for module in before:
            module.__dict__['forward'] = wrap(module, module.forward)
        yield
    finally:
        for module, forward in before.items():
            if forward is None:
                module.__dict__.pop('forward', None)
            else:
                module.__dict__['forward'] = forward
