"""Weights files and training states with damages."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.errors import UserError
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.network_from_file import open_network
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


NAMES = st.sampled_from((
    'conv_first.weight', 'conv_last.weight', 'conv_last.bias', 'upconv1.weight', 'upconv2.weight', 'conv_up3.weight',
    'body.0.conv1.weight', 'body.0.rdb1.conv1.weight', 'body.00.rdb1.conv1.weight', 'body.99999999999.conv1.weight',
    'body.0.weight', 'body.1.weight', 'body.2.weight', 'body1.0.conv1.weight', 'body..weight', 'trunk_conv.weight',
    'RRDB_trunk.0.RDB1.conv1.weight', 'HRconv.weight', 'recon_trunk.0.conv1.weight', 'model.0.weight', 'model.3.weight',
    'model.1.sub.0.RDB1.conv1.0.weight', 'model.6.weight', 'model.8.weight', 'model.10.weight', 'model.1.sub.1.weight',
    'net_g.conv_first.weight', 'net_d.conv.weight', 'module.n_averaged', 'n_averaged', 'state_dict', 'params', '', '.',
    'module.', 'model.model.0.weight', '_orig_mod.conv_last.weight', 'layers.0.attn_mask', 'generator.', 'loss',
    'ema.step')) | st.text(max_size=12)
TENSORS = st.lists(st.integers(0, 5), max_size=5).map(torch.zeros) | st.sampled_from((
    torch.zeros(64, 3, 3, 3), torch.zeros(12, 12, 1, 1), torch.tensor(3), torch.zeros(2, dtype=torch.bool)))
STATES = st.dictionaries(NAMES, TENSORS, max_size=8)
CONTENTS = st.recursive(STATES, lambda inner: st.dictionaries(
    NAMES | st.integers(0, 3), inner | TENSORS | st.none() | st.floats() | st.lists(inner, max_size=2), max_size=4),
                        max_leaves=6)


@examples(200)
@given(content=CONTENTS, key=st.none() | NAMES)
def test_any_dicts_of_tensors_are_opened_or_refused(files, content, key):
    path, net = files[1] / 'any.pth', DropoutMSRResNet(num_feat=4, num_block=1)
    torch.save(content, path)
    for act in (lambda: open_network(path, key), lambda: weights.load_weights(path, key),
                lambda: weights.load_into(net, weights.load_weights(path), strict=False)):
        try:
            act()
        except UserError as error:
            assert is_one_line(error, str(path)) or str(error).startswith('network_g: ')


@examples(60)
@given(head=st.binary(max_size=12), rest=st.binary(max_size=80))
def test_any_bytes_are_refused(files, head, rest):
    for begin in (head, b'PK\x03\x04' + head, b'\x80\x02' + head, b'{"' + head, b'\x08\x07\x12' + head):
        for name in ('any.pth', 'any.safetensors'):
            path = files[1] / name
            path.write_bytes(begin + rest)
            with pytest.raises(UserError) as caught:
                weights.load_weights(path)
            assert is_one_line(caught.value, str(path))
