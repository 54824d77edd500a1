"""RRDB with dropout."""

from functools import partialmethod

from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.utils.registry import ARCH_REGISTRY

from reflash_sr.archs.dropout_arch import DropoutArch


@ARCH_REGISTRY.register()
class DropoutRRDBNet(DropoutArch, RRDBNet):
    """BasicSR's ``RRDBNet`` with dropout (arguments: :class:`DropoutArch`).

    Blocks are its RRDBs; ``dropout_stage`` is ``'branch'``, after rdb3, or ``'first'``, after rdb1.
    """

    __init__ = partialmethod(DropoutArch.__init__, dropout_p=0.5)  # the paper's default
