"""A limit on the size of a network that an option file or a weights file asks for, before it fills the memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reflash_sr.errors import UserError

MOST_PARAMETERS = 2**29  # some 30 times the largest SwinIR and RRDBNet
MOST_TENSORS = 10_000  # the largest SwinIR has 2,000; a million blocks would take minutes to build


class Bounded(TorchDispatchMode):
    """While active, raises a ``UserError`` if new tensors would have more than ``MOST_PARAMETERS`` values in all.

    It counts what an ``nn.Module`` allocates, before it is allocated.
    """

    def __init__(self) -> None:
        super().__init__()
        self._values = self._tensors = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is torch.ops.aten.empty.memory_format:
            self._values += math.prod(max(int(side), 0) for side in args[0])
            self._tensors += 1
            if self._values > MOST_PARAMETERS or self._tensors > MOST_TENSORS:
                raise UserError(f'is larger than any network for super-resolution (more than {MOST_PARAMETERS:,} '
                                f'parameters or {MOST_TENSORS:,} tensors); look at its widths and depths')
        return func(*args, **(kwargs or {}))
