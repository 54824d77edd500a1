"""Properties of dropout."""

import copy
import pickle

import pytest
import torch
from torch import nn

from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.dropout import DIMS, FeatureDropout, feature_dropout, insert_dropout
from reflash_sr.errors import UserError

FEATURES = [(8, 64, 12, 10), (8, 50, 64)]  # (B, C, H, W) and tokens (B, N, C)


@pytest.mark.parametrize('shape', FEATURES)
@pytest.mark.parametrize('dim', DIMS)
def test_p_zero_and_eval_are_the_identity(shape, dim):
    x = torch.randn(shape)
    assert feature_dropout(x, 0, dim) is x
    assert feature_dropout(x, 0.7, dim, training=False) is x
    assert FeatureDropout(0.7, dim).eval()(x) is x


@pytest.mark.parametrize('shape', FEATURES)
@pytest.mark.parametrize('dim', DIMS)
@pytest.mark.parametrize('p', [0.1, 0.5, 0.9])
def test_share_of_zeros_and_scale_of_the_rest(shape, dim, p):
    torch.manual_seed(0)
    out = torch.cat([feature_dropout(torch.ones(shape), p, dim) for _ in range(20)])
    assert abs((out == 0).float().mean() - p) < 0.03
    torch.testing.assert_close(out[out != 0], torch.full_like(out[out != 0], 1 / (1 - p)))


def test_channel_dropout_drops_whole_maps():
    out = feature_dropout(torch.rand(4, 32, 6, 5) + 1, 0.5)
    dropped = (out == 0).flatten(2)
    assert (dropped.all(2) == dropped.any(2)).all()
    assert dropped.any()


def test_channel_dropout_of_tokens_never_drops_a_token():
    out = feature_dropout(torch.rand(4, 30, 32) + 1, 0.5)
    dropped = out == 0
    assert (dropped.all(1) == dropped.any(1)).all()
    assert not dropped.all(2).any()


@pytest.mark.parametrize('dim', DIMS)
def test_samples_of_a_batch_and_channels_last_and_slices(dim):
    x = torch.rand(6, 16, 8, 9) + 1
    masks = (feature_dropout(x, 0.5, dim) == 0).flatten(1)
    assert any((masks[0] != masks[i]).any() for i in range(1, 6))
    assert feature_dropout(x.to(memory_format=torch.channels_last), 0.5, dim).shape == x.shape
    sliced = x.transpose(2, 3)[:, ::2]
    assert feature_dropout(sliced, 0.5, dim).shape == sliced.shape


def test_gradient_flows_through_kept_channels_only():
    x = torch.rand(2, 16, 4, 4, requires_grad=True)
    out = feature_dropout(x, 0.5)
    out.sum().backward()
    assert ((x.grad != 0) == (out != 0)).all()


@pytest.mark.parametrize(('p', 'dim', 'word'), [(1, 'channel', 'dropout_p'), (-0.1, 'channel', 'dropout_p'),
                                                (float('nan'), 'channel', 'dropout_p'), ('0.5', 'channel', 'dropout_p'),
                                                (True, 'channel', 'dropout_p'),
                                                (0.5, 'chanel', "did you mean 'channel'")])
def test_wrong_arguments_are_named(p, dim, word):
    for make in (lambda: feature_dropout(torch.ones(1, 2, 3, 3), p, dim), lambda: FeatureDropout(p, dim),
                 lambda: insert_dropout(DropoutMSRResNet(num_feat=4, num_block=1), dim=dim, p=p)):
        with pytest.raises(UserError, match=word):
            make()


def test_features_of_other_dimensions_are_refused():
    with pytest.raises(UserError, match=r'\(B, C, H, W\)'):
        feature_dropout(torch.ones(2, 3), 0.5)


def test_unknown_position_and_network():
    with pytest.raises(UserError, match="did you mean 'last-conv'"):
        insert_dropout(DropoutMSRResNet(num_feat=4, num_block=1, dropout_p=0), position='lastconv')
    with pytest.raises(UserError, match='Linear has no convolution'):
        insert_dropout(nn.Linear(2, 2))


def net_and_input():
    torch.manual_seed(0)
    return DropoutMSRResNet(num_feat=16, num_block=1, upscale=2, dropout_p=0.5).train(), torch.rand(2, 3, 8, 8)


def test_handle_takes_the_dropout_out_again():
    net, x = net_and_input()
    net = DropoutMSRResNet(num_feat=16, num_block=1, upscale=2, dropout_p=0).train()
    before = net(x)
    with pytest.raises(RuntimeError, match='inside'), insert_dropout(net, p=0.9) as handle:
        assert len(handle) == 1
        assert not torch.equal(net(x), before)
        raise RuntimeError('inside')
    assert torch.equal(net(x), before)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in net.modules())


@pytest.mark.parametrize('again', [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_use_their_own_mode(again):
    net, x = net_and_input()
    twin = again(net).eval()
    assert net.training and not twin.training
    assert torch.equal(twin(x), twin(x)), 'a copy in eval mode must not drop'
    assert not torch.equal(net(x), net(x)), 'the original still trains'
    net.eval()
    twin.train()
    assert torch.equal(net(x), net(x))
    assert not torch.equal(twin(x), twin(x))
