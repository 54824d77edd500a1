"""Properties of dropout."""

import copy
import pickle

import pytest
import torch
from torch import nn

from reflash_sr.archs import DropoutMSRResNet, DropoutSwinIR
from reflash_sr.dropout import (
    DIMS,
    NOISES,
    FeatureDropout,
    drop_rate,
    end_of_schedule,
    feature_dropout,
    go_to,
    insert_dropout,
)
from reflash_sr.errors import UserError

PAPER_DIMS = ('channel', 'element')
FEATURES = [(8, 64, 12, 10), (8, 50, 64)]  # (B, C, H, W) and tokens (B, N, C)


@pytest.mark.parametrize('shape', FEATURES)
@pytest.mark.parametrize('dim', DIMS)
def test_p_zero_and_eval_are_the_identity(shape, dim):
    x = torch.randn(shape)
    assert feature_dropout(x, 0, dim) is x
    assert feature_dropout(x, 0.7, dim, training=False) is x
    assert FeatureDropout(0.7, dim).eval()(x) is x


@pytest.mark.parametrize('shape', FEATURES)
@pytest.mark.parametrize('dim', PAPER_DIMS)
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


@pytest.mark.parametrize('dim', PAPER_DIMS)
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


# Along which axes of (B, C, H, W), or (B, N, C), what is dropped is dropped together.
TOGETHER = {'channel': ((2, 3), (1,)), 'element': ((), ()), 'path': ((1, 2, 3), (1, 2)), 'pixel': ((1,), (2,))}


@pytest.mark.parametrize('place', [0, 1])
@pytest.mark.parametrize('dim', TOGETHER)
@pytest.mark.parametrize('noise', NOISES)
def test_mean_and_variance_of_every_noise_and_what_goes_together(noise, dim, place):
    torch.manual_seed(0)
    p, shape, axes = 0.6, [(400, 8, 6, 7), (400, 12, 8)][place], TOGETHER[dim][place]
    factors = feature_dropout(torch.ones(shape), p, dim, noise=noise)
    alone = factors if not axes else factors.amax(axes)
    if axes:
        assert torch.equal(alone, factors.amin(axes))
    mean, variance = (1 - p, p * (1 - p)) if noise == 'mask' else (1, p / (1 - p))
    assert alone.mean() == pytest.approx(mean, abs=0.25)
    assert alone.var() == pytest.approx(variance, rel=0.3)
    values = {'zero': {0.0, 2.5}, 'mask': {0.0, 1.0}, 'sign': {2.2247, -0.2247}}.get(noise)
    assert values is None or {round(v, 4) for v in alone.flatten().tolist()} == values


@pytest.mark.parametrize('blend', [0.0, 0.3, 1.0])
@pytest.mark.parametrize('dim', [dim for dim in DIMS if dim != 'key'])
def test_a_blend_is_the_weighted_mean_of_input_and_result(dim, blend):
    x = torch.rand(8, 16, 12, 10) + 1
    torch.manual_seed(0)
    dropped = feature_dropout(x, 0.5, dim)
    torch.manual_seed(0)
    blended = feature_dropout(x, 0.5, dim, blend=blend)
    torch.testing.assert_close(blended, blend * x + (1 - blend) * dropped)
    assert (blended is x) == (blend == 1)


def test_blocks_are_squares_of_single_maps():
    torch.manual_seed(0)
    out = feature_dropout(torch.ones(16, 8, 20, 20), 0.1, 'block', block=5)
    zero = (out == 0).float()
    assert 0.05 < zero.mean() < 0.15
    kept = 1 - zero
    # Every dropped pixel lies in a dropped 5 × 5 square: opening with it changes nothing.
    eroded = torch.nn.functional.avg_pool2d(zero, 5, 1) > 0.999
    opened = torch.nn.functional.max_pool2d(torch.nn.functional.pad(eroded.float(), (4, 4, 4, 4)), 5, 1)
    assert torch.equal(opened, zero)
    assert out.mean() == pytest.approx(1, abs=1e-3)
    assert (kept.amin((2, 3)) == 0).any() and (kept.amin((2, 3)) == 1).any()


def test_dropped_keys_get_no_attention_and_the_others_share_it():
    torch.manual_seed(0)
    weights = feature_dropout(torch.zeros(4, 2, 64, 64), 0.7, 'key').softmax(-1)
    assert (weights == 0).float().mean() == pytest.approx(0.7, abs=0.02)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 2, 64))


@pytest.mark.parametrize(('how', 'words'), [
    ({'noise': 'gausian'}, "did you mean 'gaussian'"), ({'blend': 1.5}, 'dropout_blend: must be a probability'),
    ({'dim': 'block', 'block': 0}, 'dropout_block: must be an odd whole number above 0'),
    ({'dim': 'block', 'block': 4}, 'dropout_block: must be an odd whole number above 0'),
    ({'dim': 'block', 'noise': 'mask'}, 'dropout_noise: mask: is not possible with dropout_dim: block'),
    ({'dim': 'key', 'blend': 0.5}, 'dropout_blend: is not possible with dropout_dim: key'),
])
def test_what_does_not_go_together_is_refused(how, words):
    for make in (lambda: feature_dropout(torch.ones(1, 2, 3, 3), **how), lambda: FeatureDropout(**how),
                 lambda: insert_dropout(DropoutMSRResNet(num_feat=4, num_block=1), **how)):
        with pytest.raises(UserError, match=words):
            make()


@pytest.mark.parametrize(('side', 'block'), [(8, 9), (1, 7), (6, 5)])
def test_blocks_fit_into_maps_that_are_smaller(side, block):
    torch.manual_seed(0)
    out = feature_dropout(torch.ones(64, 8, side, side), 0.3, 'block', block=block)
    assert torch.isfinite(out).all() and (out == 0).any() and (out > 0).any()


def test_blocks_of_tokens_are_refused():
    with pytest.raises(UserError, match=r'must be \(B, C, H, W\), not \(2, 5, 4\)'):
        feature_dropout(torch.ones(2, 5, 4), 0.5, 'block')


ADAPTIVE = {'dropout_position': ['all-part', 'last-conv'], 'dropout_stage': 'first', 'dropout_p': 0.5,
            'dropout_blend': 0.3, 'dropout_schedule': {'type': 'layers', 'every': 10}}


def blends(net):
    hooks = [*net.body[0].conv1._forward_hooks.values(), *net.body[1].conv1._forward_hooks.values(),
             *net.conv_last._forward_pre_hooks.values()]
    return [hook.blend for hook in hooks]


def test_layers_are_switched_off_one_by_one_from_the_first_to_the_last():
    net = DropoutMSRResNet(num_feat=4, num_block=2, **ADAPTIVE).train()
    x, plain = torch.rand(2, 3, 8, 8), DropoutMSRResNet(num_feat=4, num_block=2, dropout_p=0).train()
    plain.load_state_dict(net.state_dict())
    seen = []
    for iteration in (1, 9, 10, 19, 20, 29):
        go_to(net, iteration)
        seen.append(blends(net))
        assert not torch.equal(net(x), plain(x))
    assert seen == [[0.3, 0.3, 0.3]] * 2 + [[1, 0.3, 0.3]] * 2 + [[1, 1, 0.3]] * 2
    go_to(net, 30)
    assert torch.equal(net(x), plain(x))
    go_to(net, 1)  # what a schedule says depends on the iteration alone: a continued run is as one that never stopped
    assert blends(net) == [0.3, 0.3, 0.3]
    assert end_of_schedule(net) == 30


@pytest.mark.parametrize('kind', ['linear', 'cosine'])
def test_p_goes_from_one_end_to_the_other_and_stays(kind):
    net = DropoutMSRResNet(num_feat=4, num_block=1, dropout_p=0, dropout_schedule={'type': kind, 'to': 0.7, 'over': 8})
    hook = next(iter(net.conv_last._forward_pre_hooks.values()))
    found = []
    for iteration in range(11):
        go_to(net, iteration)
        found.append(hook.p)
    assert found[0] == 0 and found[4] == pytest.approx(0.35) and found[8:] == [0.7] * 3
    assert found == sorted(found) and drop_rate(net) == 0.7 and end_of_schedule(net) == 8
    assert (found[1] < 0.7 / 8) == (kind == 'cosine')


@pytest.mark.parametrize(('schedule', 'words'), [
    ('linear', 'dropout_schedule: must be a section'), ({'type': 'liner'}, "did you mean 'linear'"),
    ({'type': 'linear', 'to': 0.5}, 'over: must be a whole number above 0, not None'),
    ({'type': 'layers', 'every': 5, 'over': 3}, 'over: is not a key of layers'),
    ({'type': 'cosine', 'to': 1, 'over': 3}, 'to: must be a probability'),
])
def test_schedules_that_say_nothing_are_refused(schedule, words):
    with pytest.raises(UserError, match=words):
        DropoutMSRResNet(num_feat=4, num_block=1, dropout_schedule=schedule)


def test_a_constant_schedule_is_none_and_p_zero_without_one_inserts_nothing():
    for schedule in (None, {'type': 'constant'}):
        net = DropoutMSRResNet(num_feat=4, num_block=1, dropout_p=0, dropout_schedule=schedule)
        assert not net.conv_last._forward_pre_hooks and end_of_schedule(net) == 0


@pytest.mark.parametrize('how', [
    {'position': 'image', 'dim': 'pixel', 'noise': 'mask', 'p': 0.75}, {'position': 'all-part', 'dim': 'path'},
    {'position': 'conv_first', 'dim': 'block', 'block': 3}, {'noise': 'gaussian'}, {'noise': 'sign', 'dim': 'element'}])
def test_every_kind_leaves_keys_and_the_network_in_eval_mode_as_they_are(how):
    torch.manual_seed(0)
    net, x = DropoutMSRResNet(num_feat=16, num_block=2, upscale=2, dropout_p=0), torch.rand(2, 3, 8, 8)
    keys, before = list(net.state_dict()), net.eval()(x)
    with insert_dropout(net, **how):
        assert torch.equal(net(x), before) and list(net.state_dict()) == keys
        assert not torch.equal(net.train()(x), net(x))
    assert torch.equal(net(x), before)


def test_dropkey_in_swinir():
    torch.manual_seed(0)
    net = DropoutSwinIR(img_size=8, embed_dim=8, depths=[2], num_heads=[2], window_size=4, upscale=2,
                        upsampler='pixelshuffle', dropout_position='attention', dropout_dim='key', dropout_p=0.5)
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(net.eval()(x), net(x)) and not torch.equal(net.train()(x), net(x))
    with pytest.raises(UserError, match='key: is for the logits of attentions; write dropout_position: attention'):
        DropoutMSRResNet(num_feat=4, num_block=1, dropout_dim='key')
    with pytest.raises(UserError, match=r'MSRResNet has no nn\.Softmax; choose another position'):
        DropoutMSRResNet(num_feat=4, num_block=1, dropout_position='attention')
