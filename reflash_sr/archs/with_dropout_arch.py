"""Dropout in any registered network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from reflash_sr.dropout import BLOCK, insert_dropout
from reflash_sr.errors import UserError
from reflash_sr.options.registry import registered
from reflash_sr.weights.network_from_file import open_base


@ARCH_REGISTRY.register()
def WithDropout(base: Mapping[str, Any] | str | os.PathLike, dropout_position: str | Sequence[str] = 'last-conv',
                dropout_dim: str = 'channel', dropout_p: float = 0.5, dropout_stage: str = 'branch',
                dropout_noise: str = 'zero', dropout_blend: float = 0.0, dropout_block: int = BLOCK,
                dropout_schedule: Mapping[str, Any] | None = None, window_size: int | None = None) -> nn.Module:
    """Build a registered network and insert dropout; returns the network itself, so state-dict keys do not change.

    Args:
        base: ``type`` and arguments of the network, as under ``network_g``; or a weights file: its network with its
            weights, without its own dropout.
        dropout_position: Where to drop: a name or a list of names, see :mod:`reflash_sr.positions`. ``'last-conv'`` is
            found by running the network once.
        dropout_dim: As for :class:`DropoutArch`, as are the other arguments that begin with ``dropout_``.
        window_size: Not used here; BasicSR's ``SwinIRModel`` reads it from ``network_g``.

    Raises:
        UserError: The network is not registered or has no such position, an argument is out of its range, or the file
            cannot be opened.
    """
    if isinstance(base, (str, os.PathLike)):
        net = open_base(base).net.requires_grad_(True).train()
    elif isinstance(base, Mapping):
        arguments = dict(base)
        net = registered(ARCH_REGISTRY, arguments.pop('type', None), 'base: type')(**arguments)
    else:
        raise UserError(f"base: must be a section with a 'type', or a weights file, not {base!r}")
    insert_dropout(net, dropout_position, dropout_dim, dropout_p, dropout_stage, noise=dropout_noise,
                   blend=dropout_blend, block=dropout_block, schedule=dropout_schedule)
    return net
