"""Dropout in any registered network, by one block in an option file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from reflash_sr.dropout import insert_dropout
from reflash_sr.errors import UserError
from reflash_sr.options.registry import registered


@ARCH_REGISTRY.register()
def WithDropout(base: Mapping[str, Any],
                dropout_position: str | Sequence[str] = 'last-conv',
                dropout_dim: str = 'channel',
                dropout_p: float = 0.5,
                dropout_stage: str = 'branch',
                window_size: int | None = None) -> nn.Module:
    """Build a registered network and put dropout into it.

    A function, not a class around the network: what comes back is the network itself, so its weights have the keys
    they always had.

    Args:
        base: ``type`` and arguments of the network, as under ``network_g``.
        dropout_position: Where: ``last-conv`` (found by running the network once), ``every-conv``, a module's path such
            as ``body.7`` or ``input of conv_last``, or a list; and the paper's names in networks that have them.
        dropout_dim: ``'channel'`` or ``'element'`` (paper Sec. 4.2).
        dropout_p: Share that is dropped, 0 ≤ p < 1; 0 switches dropout off.
        dropout_stage: As for ``DropoutMSRResNet``.
        window_size: Not used here; BasicSR's ``SwinIRModel`` looks for the network's window size in this place.

    Returns:
        The network.

    Raises:
        UserError: The network is not registered or has no such position, or an argument is out of its range.
    """
    if not isinstance(base, Mapping):
        raise UserError(f"base: must be a section with a 'type', not {base!r}")
    arguments = dict(base)
    net = registered(ARCH_REGISTRY, arguments.pop('type', None), 'base: type')(**arguments)
    insert_dropout(net, dropout_position, dropout_dim, dropout_p, dropout_stage)
    return net
