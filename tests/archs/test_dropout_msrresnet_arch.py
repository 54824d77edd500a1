"""DropoutMSRResNet."""

import inspect

from basicsr.archs.srresnet_arch import MSRResNet

from reflash_sr.archs import DropoutMSRResNet
from tests.archs.base import ArchTester


class TestDropoutMSRResNet(ArchTester):
    dropout_class = DropoutMSRResNet
    plain_class = MSRResNet
    kwargs = {'num_feat': 16, 'num_block': 2}
    scale_key = 'upscale'
    scales = (2, 3, 4)

    def test_default_is_the_papers(self):
        parameters = inspect.signature(DropoutMSRResNet).parameters
        assert parameters['dropout_p'].default == 0.7
        assert parameters['dropout_position'].default == 'last-conv'
        assert parameters['dropout_dim'].default == 'channel'
