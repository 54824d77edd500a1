"""Networks with BasicSR's CUDA operations (deformable convolutions, StyleGAN's): where they can run, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import basicsr
import torch

from reflash_sr.errors import UserError
from reflash_sr.training.attempt import attempt

_OPS = Path(basicsr.__file__).parent / 'ops'
_BUILD = ('install BasicSR with BASICSR_EXT=True, or set BASICSR_JIT=True, which builds them at the first start '
          '(docs/installing.md)')


def try_network(net: torch.nn.Module, image: torch.Tensor, device: str) -> Any:
    """Run a network on an image, on the CPU; if it cannot run there, on the device of the run.

    Args:
        net: In eval mode; it may be moved to the device.
        image: Input, on the CPU.
        device: Type of the device that the run will use.

    Raises:
        UserError: The network cannot be run.
    """
    for place in dict.fromkeys(('cpu', device)):
        try:
            return attempt('network_g', type(net), net.to(place), image.to(place))
        except Exception as error:
            operation = _operation_of(error)
            if operation is None:
                raise
            cause: Exception = error
    name = type(net).__name__
    raise UserError(f"network_g: {name} uses BasicSR's CUDA operations ({operation}), which " + (
        f'a CPU does not have; train it on a GPU, and {_BUILD}' if device == 'cpu' else
        f'are not there; {_BUILD}')) from cause


def _operation_of(error: BaseException | None) -> str | None:
    """The operation in which an error was raised; None if it was raised elsewhere."""
    while error is not None:
        frame = error.__traceback__
        while frame is not None:
            path = Path(frame.tb_frame.f_code.co_filename)
            if _OPS in path.parents:
                return path.parent.name
            frame = frame.tb_next
        error = error.__cause__
    return None
