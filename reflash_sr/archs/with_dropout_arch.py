"""Dropout in any registered network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from reflash_sr.dropout import insert_dropout
from reflash_sr.errors import UserError
from reflash_sr.options.registry import registered


@ARCH_REGISTRY.register()
def WithDropout(base: Mapping[str, Any], dropout_position: str | Sequence[str] = 'last-conv',
                dropout_dim: str = 'channel', dropout_p: float = 0.5, dropout_stage: str = 'branch',
                window_size: int | None = None) -> nn.Module:
    """Build a registered network and insert dropout; returns the network itself, so state-dict keys do not change.

    Args:
        base: ``type`` and arguments of the network, as under ``network_g``.
        dropout_position: Where to drop: a name or a list of names, see :mod:`reflash_sr.positions`. ``'last-conv'`` is
            found by running the network once.
        dropout_dim: As for :class:`DropoutArch`, as are ``dropout_p`` and ``dropout_stage``.
        window_size: Not used here; BasicSR's ``SwinIRModel`` reads it from ``network_g``.

    Raises:
        UserError: The network is not registered or has no such position, or an argument is out of its range.
    """
    if not isinstance(base, Mapping):
        raise UserError(f"base: must be a section with a 'type', not {base!r}")
    arguments = dict(base)
    net = registered(ARCH_REGISTRY, arguments.pop('type', None), 'base: type')(**arguments)
    insert_dropout(net, dropout_position, dropout_dim, dropout_p, dropout_stage)
    return net
