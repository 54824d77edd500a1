"""Networks with dropout; importing this package registers them in BasicSR's ``ARCH_REGISTRY``."""

from reflash_sr.archs.dropout_msrresnet_arch import DropoutMSRResNet
from reflash_sr.archs.dropout_rrdbnet_arch import DropoutRRDBNet

__all__ = ['DropoutMSRResNet', 'DropoutRRDBNet']
