"""Shrunk weights give the shrunk result."""

from pathlib import Path

import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from shrink_weights import shrink_weights

from reflash_sr.errors import UserError
from reflash_sr.weights.network_from_file import open_network

WEIGHTS = Path(__file__).parents[2] / 'docs/evidence/weights/srresnet32x8_p0_seed0.pth'


def test_what_the_network_adds_is_multiplied(tmp_path):
    shrink_weights(WEIGHTS, 0.45, tmp_path / 'shrunk.pth')
    network, shrunk = open_network(WEIGHTS), open_network(tmp_path / 'shrunk.pth')
    lq = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    base = torch.nn.functional.interpolate(lq, scale_factor=4, mode='bilinear', align_corners=False)
    torch.testing.assert_close(shrunk.net(lq), base + 0.45 * (network.net(lq) - base), rtol=0, atol=1e-5)
    assert (shrunk.known_p, shrunk.trained) == (network.known_p, network.trained)


def test_a_network_without_an_interpolated_image_is_refused(tmp_path):
    path = tmp_path / 'rrdb.pth'
    torch.save({'params': RRDBNet(3, 3, num_feat=8, num_block=1, num_grow_ch=4).state_dict()}, path)
    with pytest.raises(UserError, match='adds its output to no interpolated image'):
        shrink_weights(path, 0.5, tmp_path / 'out.pth')
    with pytest.raises(UserError, match='from 0 to 2'):
        shrink_weights(WEIGHTS, 3, tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()
