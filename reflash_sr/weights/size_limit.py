"""A limit on the size of a network from an option file or a weights file, so that it cannot fill the memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reflash_sr.errors import UserError

MOST_PARAMETERS = 2**29  # about 30 times the largest SwinIR and RRDBNet
MOST_TENSORS = 10_000  # the largest SwinIR has 2,000; a network of a million blocks takes minutes to build


class Bounded(TorchDispatchMode):
    """While active, raises a ``UserError`` before the parameters of a new ``nn.Module`` exceed the limits."""

    def __init__(self) -> None:
        super().__init__()
        self._values = self._tensors = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is torch.ops.aten.empty.memory_format:
            self._values += math.prod(max(int(side), 0) for side in args[0])
            self._tensors += 1
            if self._values > MOST_PARAMETERS or self._tensors > MOST_TENSORS:
                raise UserError(f'is larger than any network for super-resolution (more than {MOST_PARAMETERS:,} '
                                f'parameters or {MOST_TENSORS:,} tensors); lower its widths and depths')
        return func(*args, **(kwargs or {}))
