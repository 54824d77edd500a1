"""SwinIR with dropout."""

from functools import partialmethod

from basicsr.archs.swinir_arch import SwinIR
from basicsr.utils.registry import ARCH_REGISTRY

from reflash_sr.archs.dropout_arch import DropoutArch


@ARCH_REGISTRY.register()
class DropoutSwinIR(DropoutArch, SwinIR):
    """BasicSR's ``SwinIR`` with dropout (arguments: :class:`DropoutArch`).

    Blocks are its residual Swin groups; ``dropout_stage`` is ``'branch'``, after their convolution, or ``'first'``,
    after their Swin layers. Channel dropout drops the same channels in all tokens of a sample. The last convolution is
    ``conv_last``, or for ``pixelshuffledirect`` that of the upsampler.
    """

    __init__ = partialmethod(DropoutArch.__init__, dropout_p=0.5)  # as for RRDB
