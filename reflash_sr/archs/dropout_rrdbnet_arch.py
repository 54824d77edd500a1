"""RRDB with dropout."""

from __future__ import annotations

from collections.abc import Sequence

from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.utils.registry import ARCH_REGISTRY

from reflash_sr.dropout import insert_dropout


@ARCH_REGISTRY.register()
class DropoutRRDBNet(RRDBNet):
    """BasicSR's ``RRDBNet`` with dropout put into it: same outputs in eval mode, same state-dict keys.

    Units are its RRDBs.

    Args:
        *args: As for ``RRDBNet``.
        dropout_position: Where (paper Sec. 4.1): ``last-conv``, ``B1``, ``B2``, …, ``all-part``, ``half-part``,
            ``quarter-part``, ``every-conv``, or a list. Default: in front of the last convolution.
        dropout_dim: ``'channel'`` or ``'element'`` (Sec. 4.2).
        dropout_p: Share that is dropped, 0 ≤ p < 1; 0 switches dropout off. Default: as in the paper.
        dropout_stage: Where inside the blocks of the ``…-part`` positions: ``'branch'``, after rdb3, or ``'first'``,
            after rdb1.
        **kwargs: As for ``RRDBNet``.

    Raises:
        UserError: A dropout argument is out of its range, or the network does not have the position.
    """

    def __init__(self,
                 *args,
                 dropout_position: str | Sequence[str] = 'last-conv',
                 dropout_dim: str = 'channel',
                 dropout_p: float = 0.5,
                 dropout_stage: str = 'branch',
                 **kwargs):
        super().__init__(*args, **kwargs)
        insert_dropout(self, dropout_position, dropout_dim, dropout_p, dropout_stage)
