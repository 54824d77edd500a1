"""DropoutRRDBNet."""

from basicsr.archs.rrdbnet_arch import RRDBNet

from reflash_sr.archs import DropoutRRDBNet
from tests.archs.base import ArchTester


class TestDropoutRRDBNet(ArchTester):
    dropout_class = DropoutRRDBNet
    plain_class = RRDBNet
    kwargs = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 1, 'num_grow_ch': 8}
    scale_key = 'scale'
    scales = (1, 2, 4)
    default_p = 0.5
