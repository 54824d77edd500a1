"""Weights files and training states with damages."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.errors import UserError
from reflash_sr.weights import state_dict as weights
from tests.fuzz.strategies import damages, examples, is_one_line

OURS = ('x.pth', 'x.state', 'x.safetensors')
OTHERS = ('stock.pth', 'legacy.pth', 'stock.safetensors')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('weights')
    torch.manual_seed(0)
    net = DropoutMSRResNet(num_feat=4, num_block=1, upscale=2)
    state = net.state_dict()
    content = {'params': state, 'params_ema': state, 'network_g': {'type': 'MSRResNet'}, 'trained': {'iter': 3}}
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.zeros(1, 3, 8, 8)).mean().backward()
    optimiser.step()
    weights.save(content, folder / 'x.pth')
    weights.save(content, folder / 'x.safetensors')
    weights.save({'iter': 3, 'optimizers': [optimiser.state_dict()]}, folder / 'x.state')
    torch.save({'params': state}, folder / 'stock.pth')
    torch.save({'params': state}, folder / 'legacy.pth', _use_new_zipfile_serialization=False)
    save_file(state, folder / 'stock.safetensors')
    return {path.name: path.read_bytes() for path in folder.iterdir()}, folder


@examples(60)
@given(data=st.data(), name=st.sampled_from(OURS))
def test_any_damage_to_a_file_of_ours_is_refused(files, data, name):
    contents, folder = files
    path = folder / f'damaged {name}'
    path.write_bytes(data.draw(damages(contents[name])))
    with pytest.raises(UserError) as caught:
        weights.load_file(path)
    assert is_one_line(caught.value, str(path))


@examples(60)
@given(data=st.data(), name=st.sampled_from(OTHERS))
def test_a_damaged_file_of_others_is_read_or_refused(files, data, name):
    contents, folder = files
    path = folder / f'damaged {name}'
    path.write_bytes(data.draw(damages(contents[name])))
    try:
        loaded = weights.load_weights(path)
    except UserError as error:
        assert is_one_line(error, str(path))
    else:
        assert all(torch.isfinite(value).all() for value in loaded.state_dict.values())
