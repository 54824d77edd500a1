"""A limit on the size of a network from an option file or a weights file, so that it cannot fill the memory."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reflash_sr.errors import UserError
from reflash_sr.options.known_keys import ARGUMENTS
from reflash_sr.options.registry import is_owned, registered

MOST_BYTES = 2**31  # about 30 times the largest SwinIR and RRDBNet
MOST_TENSORS = 10_000  # the largest SwinIR has 2,000; a network of a million blocks takes minutes to build


def check_arguments(cls: Any, arguments: Mapping[str, Any]) -> None:
    """Check the arguments of a network by the rules of an option file; its class knows which arguments exist.

    Args:
        cls: The class, or the function that builds it.
        arguments: Its arguments; a section ``base`` describes another network.

    Raises:
        UserError: A value is out of its range.
    """
    for name, value in arguments.items() if is_owned(cls) else ():
        rule = ARGUMENTS.get(name)
        if rule and not rule.holds(value):
            raise UserError(f'{name}: must be {rule.wanted}, not {str(value)[:80]}')
        if name == 'base' and isinstance(value, Mapping):
            check_arguments(registered(ARCH_REGISTRY, value.get('type'), 'base: type'), value)


class Bounded(TorchDispatchMode):
    """While active, raises a ``UserError`` before the tensors of a new ``nn.Module`` exceed the limits.

    Every operation that makes a tensor is first done without memory, on torch's ``meta`` device, which tells the size
    of its result. What has been freed does not count.
    """

    def __init__(self) -> None:
        super().__init__()
        self._alive: list[tuple[StorageWeakRef, int]] = []
        self._bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if not _makes_tensors(func):
            return func(*args, **kwargs)
        self._check(sum(_size(tensor) for tensor in _tensors(_on_meta(func, args, kwargs))))
        result = func(*args, **kwargs)
        for tensor in _tensors(result):
            self._alive.append((StorageWeakRef(tensor.untyped_storage()), _size(tensor)))
            self._bytes += _size(tensor)
        self._check(0)  # the size of some results depends on the values
        return result

    def _check(self, more: int) -> None:
        if self._is_too_much(more):
            self._alive = [(storage, size) for storage, size in self._alive if not storage.expired()]
            self._bytes = sum(size for _, size in self._alive)
        if self._is_too_much(more):
            raise UserError(f'is larger than any network for super-resolution (more than {MOST_BYTES // 2**30} GiB or '
                            f'{MOST_TENSORS:,} tensors); lower its widths, depths or img_size')

    def _is_too_much(self, more: int) -> bool:
        return self._bytes + more > MOST_BYTES or len(self._alive) > MOST_TENSORS


@functools.cache
def _makes_tensors(func: Any) -> bool:
    """Whether an operation allocates memory: its result is no view of its input, and not the input itself."""
    return 'resize' in func._schema.name or any(result.alias_info is None for result in func._schema.returns)


def _on_meta(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The result of an operation, without memory; None if the operation needs values."""
    kwargs = {name: _moved(value) for name, value in kwargs.items()} | _meta_arguments(func)
    try:
        return func(*map(_moved, args), **kwargs)
    except Exception:  # no implementation without values
        return None


@functools.cache
def _meta_arguments(func: Any) -> dict[str, Any]:
    names = {argument.name for argument in func._schema.arguments}
    wanted = {'device': torch.device('meta'), 'pin_memory': False}
    return {name: value for name, value in wanted.items() if name in names}


def _moved(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device='meta')
    if isinstance(value, (list, tuple)) and any(isinstance(one, torch.Tensor) for one in value):
        return [_moved(one) for one in value]
    return value


def _tensors(result: Any) -> list[torch.Tensor]:
    found = [result] if isinstance(result, torch.Tensor) else tree_leaves(result)
    return [value for value in found if isinstance(value, torch.Tensor)]


def _size(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().nbytes()
