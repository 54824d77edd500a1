"""Base class of the networks with dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from reflash_sr.dropout import BLOCK, insert_dropout


class DropoutArch(nn.Module):
    """A mixin that adds dropout to a plain network: ``class DropoutMSRResNet(DropoutArch, MSRResNet)``.

    State-dict keys are those of the plain network; outputs in eval mode, too.

    Args:
        *args: As for the plain network.
        dropout_position: Where to drop (paper Sec. 4.1): a name or a list of names, see :mod:`reflash_sr.positions`.
        dropout_dim: What to drop (Sec. 4.2): ``'channel'`` or ``'element'``; others: :func:`feature_dropout`.
        dropout_p: Drop probability, 0 ≤ p < 1; 0 switches dropout off. The default differs by network.
        dropout_stage: Where the ``…-part`` positions drop inside a block: after its residual branch (``'branch'``) or
            after the first stage of this branch (``'first'``).
        dropout_noise: As for :func:`reflash_sr.dropout.feature_dropout`, as are ``dropout_blend`` and
            ``dropout_block``.
        dropout_schedule: How p or blend change in training (:mod:`reflash_sr.options.dropout_schedule`).
        **kwargs: As for the plain network.

    Raises:
        UserError: A dropout argument is out of its range, or the network does not have the position.
    """

    def __init__(self, *args, dropout_position: str | Sequence[str] = 'last-conv', dropout_dim: str = 'channel',
                 dropout_p: float = 0.5, dropout_stage: str = 'branch', dropout_noise: str = 'zero',
                 dropout_blend: float = 0.0, dropout_block: int = BLOCK,
                 dropout_schedule: Mapping[str, Any] | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        insert_dropout(self, dropout_position, dropout_dim, dropout_p, dropout_stage, noise=dropout_noise,
                       blend=dropout_blend, block=dropout_block, schedule=dropout_schedule)
