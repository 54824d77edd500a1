"""Weights of another network: the message says which network the file holds, as far as its weights tell that."""

import pytest
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from reflash_sr.archs import DropoutMSRResNet, DropoutRRDBNet
from reflash_sr.errors import UserError
from reflash_sr.weights.state_dict import Weights, check_fit

RRDB = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 2, 'num_grow_ch': 4}
SRRESNET = {'num_feat': 8, 'num_block': 2}


def said(net, other):
    with pytest.raises(UserError, match='does not fit') as caught:
        check_fit(net, Weights('x.pth', 'params', dict(other.state_dict()), None))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value).split('; ')[-1]


@pytest.mark.parametrize('change', [{'num_block': 3}, {'num_feat': 12}, {'num_grow_ch': 6}, {'scale': 2}, {'scale': 1},
                                    {'num_block': 1, 'num_feat': 4}])
def test_options_that_differ_from_those_of_the_file(change):
    listed = ', '.join(f'{key}: {value}' for key, value in sorted(change.items(), reverse=True))
    assert said(DropoutRRDBNet(**RRDB), RRDBNet(**RRDB | change)) == (
        f'its network has {listed}: write that under network_g, or give the weights of this network')


@pytest.mark.parametrize(('net', 'other', 'held'), [
    (DropoutMSRResNet(**SRRESNET), MSRResNet(**SRRESNET, upscale=3), 'its network has upscale: 3: '),
    (DropoutMSRResNet(**SRRESNET), RRDBNet(**RRDB), 'it holds RRDBNet with num_in_ch: 3, num_out_ch: 3, num_feat: 8, '
     'num_block: 2, num_grow_ch: 4, scale: 4: '),
    (DropoutRRDBNet(**RRDB), SRVGGNetCompact(num_feat=8, num_conv=2), 'it holds SRVGGNetCompact with num_in_ch: 3, '),
])
def test_another_network(net, other, held):
    text = said(net, other)
    assert text.startswith(held) and text.endswith(': write that under network_g, or give the weights of this network')


def test_networks_that_weights_do_not_tell():
    unknown = SRVGGNetCompact(num_feat=8, num_conv=2, act_type='relu')
    partly = MSRResNet(**SRRESNET)
    del partly.conv_last.bias
    partly.conv_last.register_parameter('bias', None)
    for other in (unknown, partly):
        assert said(DropoutMSRResNet(**SRRESNET), other) == 'change network_g, or give the weights of this network'
