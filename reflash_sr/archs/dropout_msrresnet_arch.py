"""SRResNet with dropout."""

from functools import partialmethod

from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.utils.registry import ARCH_REGISTRY

from reflash_sr.archs.dropout_arch import DropoutArch


@ARCH_REGISTRY.register()
class DropoutMSRResNet(DropoutArch, MSRResNet):
    """BasicSR's ``MSRResNet`` with dropout (arguments: :class:`DropoutArch`).

    Blocks are its residual blocks; ``dropout_stage`` is ``'branch'``, after conv2, or ``'first'``, after conv1.
    """

    __init__ = partialmethod(DropoutArch.__init__, dropout_p=0.7)  # the paper's default
