"""The network of a training step, compiled where the options ask for it."""

from __future__ import annotations

from typing import Any

import torch

from reflash_sr.options.value_rules import BOOL, Rule

MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')  # of torch.compile
COMPILE = Rule(f"true, false, or a mode of torch.compile: {', '.join(MODES)}", lambda v: BOOL.holds(v) or v in MODES)


def compiled_step(net: torch.nn.Module, wanted: bool | str | None) -> Any:
    """Compile a network for training steps; it has the weights of ``net``, which itself stays as it is.

    ``net`` may be in DistributedDataParallel: compiled from outside, it still exchanges gradients during the backward
    pass. Validation, on images of many sizes, runs ``net``. Dropout draws the masks that it draws without compiling.

    Args:
        wanted: Whether to compile, or one of :data:`MODES`.
    """
    if not wanted:
        return net
    options = torch._inductor.list_mode_options('default' if wanted is True else wanted)
    return torch.compile(net, options={**options, 'fallback_random': True})
