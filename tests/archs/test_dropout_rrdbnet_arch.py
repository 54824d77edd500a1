"""DropoutRRDBNet."""

import inspect

from basicsr.archs.rrdbnet_arch import RRDBNet

from reflash_sr.archs import DropoutRRDBNet
from tests.archs.base import ArchTester


class TestDropoutRRDBNet(ArchTester):
    dropout_class = DropoutRRDBNet
    plain_class = RRDBNet
    kwargs = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 1, 'num_grow_ch': 8}
    scale_key = 'scale'
    scales = (1, 2, 4)

    def test_default_is_the_papers(self):
        parameters = inspect.signature(DropoutRRDBNet).parameters
        assert parameters['dropout_p'].default == 0.5
        assert parameters['dropout_position'].default == 'last-conv'
        assert parameters['dropout_dim'].default == 'channel'
