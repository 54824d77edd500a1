"""Finds the layer whose backward pass produces a gradient that is not finite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from reflash_sr.errors import RunError


@contextlib.contextmanager
def watched(net: torch.nn.Module, iteration: int, paths: Sequence[str], wanted: bool = True) -> Iterator[None]:
    """Check the gradients of every operation inside the ``with``; slow, because it waits for the device after each.

    Args:
        net: The network; layers are named as in ``named_modules()``.
        iteration: For the message.
        paths: Files of the batch, for the message.
        wanted: If False, nothing is checked.

    Raises:
        RunError: The backward pass of an operation received finite gradients and produced a gradient that is not
            finite; the message names the operation and its layer.
    """
    if not wanted:
        yield
        return
    layers: list[str] = []  # layers whose forward pass is running, the innermost last
    handles: list[Any] = []
    for name, module in net.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: layers.append(name)))
        handles.append(module.register_forward_hook(lambda *_: layers.__delitem__(-1), always_call=True))
    try:
        with _Watch(layers, iteration, paths):
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Watch(TorchFunctionMode):
    """Registers a hook on the backward node of every operation, together with the name of its layer."""

    def __init__(self, layers: list[str], iteration: int, paths: Sequence[str]):
        super().__init__()
        self.layers, self.iteration, self.paths = layers, iteration, paths

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.grad_fn is not None:
            node: Any = result.grad_fn
            layer = (self.layers[-1] or 'the network itself') if self.layers else 'the loss'
            if 'watched by reflash_sr' not in node.metadata:
                node.metadata['watched by reflash_sr'] = True
                node.register_hook(lambda before, after: self._check(before, after, node.name(), layer))
        return result

    def _check(self, before: Sequence[Any], after: Sequence[Any], operation: str, layer: str) -> None:
        if all(map(_is_finite, after)) and not all(map(_is_finite, before)):
            raise RunError(f'the backward pass of {layer} ({operation}) produced a gradient that is not finite at '
                           f'iteration {self.iteration}; its batch: {", ".join(self.paths)}. Nothing was saved since')


def _is_finite(gradient: torch.Tensor | None) -> bool:
    return gradient is None or bool(torch.isfinite(gradient).all())
