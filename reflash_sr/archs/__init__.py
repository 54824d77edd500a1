"""Networks with dropout; importing this package registers them in BasicSR's ``ARCH_REGISTRY``."""

from reflash_sr.archs.dropout_msrresnet_arch import DropoutMSRResNet
from reflash_sr.archs.dropout_rrdbnet_arch import DropoutRRDBNet
from reflash_sr.archs.dropout_swinir_arch import DropoutSwinIR
from reflash_sr.archs.spandrel_network_arch import SpandrelNetwork
from reflash_sr.archs.with_dropout_arch import WithDropout

__all__ = ['DropoutMSRResNet', 'DropoutRRDBNet', 'DropoutSwinIR', 'SpandrelNetwork', 'WithDropout']
