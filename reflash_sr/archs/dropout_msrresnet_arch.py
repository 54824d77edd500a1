"""SRResNet with dropout."""

from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.utils.registry import ARCH_REGISTRY

from reflash_sr.dropout import insert_dropout


@ARCH_REGISTRY.register()
class DropoutMSRResNet(MSRResNet):
    """BasicSR's MSRResNet with dropout put into it: same outputs in eval mode, same state-dict keys.

    Args:
        *args: As for ``MSRResNet``.
        dropout_position: Where (paper Sec. 4.1). Default: in front of the last convolution.
        dropout_dim: ``'channel'`` or ``'element'`` (Sec. 4.2).
        dropout_p: Share that is dropped, 0 ≤ p < 1; 0 switches dropout off. Default: the paper's for this network.
        **kwargs: As for ``MSRResNet``.

    Raises:
        UserError: A dropout argument is out of its range.
    """

    def __init__(self,
                 *args,
                 dropout_position: str = 'last-conv',
                 dropout_dim: str = 'channel',
                 dropout_p: float = 0.7,
                 **kwargs):
        super().__init__(*args, **kwargs)
        insert_dropout(self, dropout_position, dropout_dim, dropout_p)
