"""DropoutMSRResNet."""

from basicsr.archs.srresnet_arch import MSRResNet

from reflash_sr.archs import DropoutMSRResNet
from tests.archs.base import ArchTester


class TestDropoutMSRResNet(ArchTester):
    dropout_class = DropoutMSRResNet
    plain_class = MSRResNet
    kwargs = {'num_feat': 16, 'num_block': 2}
    scale_key = 'upscale'
    scales = (2, 3, 4)
    default_p = 0.7
