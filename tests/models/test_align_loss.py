"""Alignment of the features of two views."""

import copy

import pytest
import torch
from torch import nn

from reflash_sr.errors import UserError
from reflash_sr.models import AlignLoss, ReflashSRModel


def by_hand(features):
    """The linear part, written as a loop."""
    u, v = features.mean((2, 3)).chunk(2)
    u, v = u - u.mean(0), v - v.mean(0)
    total = 0.0
    for a, b in zip(u.double(), v.double()):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(a))]
        total += float(((a - b)**2).mean()) + sum(float(a[i] * a[j] - b[i] * b[j])**2 for i, j in pairs) / len(pairs)
    return total


def test_the_linear_part_is_that_of_the_formula():
    features = torch.rand(6, 4, 5, 3, generator=torch.Generator().manual_seed(0))
    assert AlignLoss(fourier=0)(features) == pytest.approx(by_hand(features), rel=1e-4)
    assert AlignLoss(loss_weight=0.5, linear=3, fourier=0)(features) == pytest.approx(1.5 * by_hand(features), rel=1e-4)


def test_two_channels_on_paper():
    # Two samples; the channels' means less their mean over the batch are u = ±(1, 0) and v = ±(0, 1). For each sample
    # the mean square of u - v is 1, and of u·uᵀ - v·vᵀ = diag(1, -1) it is 1/2: together 3.
    means = torch.tensor([[2.0, 5.0], [0, 5], [7, 1], [7, -1]])
    assert AlignLoss(fourier=0)(means[:, :, None, None].expand(4, 2, 3, 3)) == pytest.approx(3)


def test_equal_views_and_views_that_differ_by_a_constant_cost_nothing():
    view = torch.rand(3, 8, 4, 4)
    for fourier in (0, 1):
        loss = AlignLoss(fourier=fourier)
        assert loss(torch.cat([view, view])) == pytest.approx(0, abs=1e-9)
        assert loss(torch.cat([view, view + 2])) == pytest.approx(0, abs=1e-7)
        assert loss(torch.cat([view, view.flip(0)])) > 1e-4


def test_tokens_are_as_maps_and_gradients_reach_both_views():
    maps = torch.rand(4, 6, 3, 5, requires_grad=True)
    tokens = maps.flatten(2).transpose(1, 2)
    torch.manual_seed(0)
    loss = AlignLoss()(maps)
    torch.manual_seed(0)
    torch.testing.assert_close(AlignLoss()(tokens), loss)
    loss.backward()
    assert (maps.grad.flatten(1).abs().sum(1) > 0).all()


def test_flat_features_give_no_nan():
    assert torch.isfinite(AlignLoss()(torch.zeros(4, 3, 2, 2)))


@pytest.mark.parametrize('name', ['loss_weight', 'linear', 'fourier'])
def test_weights_below_zero_are_named(name):
    with pytest.raises(UserError, match=f'{name}: must be a number, 0 or above'):
        AlignLoss(**{name: -1})


def trained(opt, views, steps=2, **train):
    torch.manual_seed(0)
    model = ReflashSRModel(copy.deepcopy({**opt, 'train': {**opt['train'], **train}}))
    torch.manual_seed(1)
    data = {'lq': torch.rand(4, 3, 8, 8), 'gt': torch.rand(4, 3, 32, 32)}
    if views == 2:
        data['lq_2'] = torch.rand(4, 3, 8, 8)
    for iteration in range(1, steps + 1):
        model.feed_data(data)
        model.optimize_parameters(iteration)
    return model


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.net_g.parameters()])


def test_a_step_with_two_views_has_the_loss_and_leaves_no_hooks(opt):
    opt['network_g']['dropout_p'] = 0
    plain = trained(opt, 2)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in plain.net_g.modules()]
    aligned = trained(opt, 2, align_opt={'type': 'AlignLoss', 'loss_weight': 10.0})
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in aligned.net_g.modules()]
    assert not torch.equal(weights(plain), weights(aligned))
    assert aligned.get_current_log()['l_align'] > 0
    assert 'l_align' not in plain.get_current_log()
    assert not torch.equal(weights(plain), weights(trained(opt, 1)))
    assert torch.equal(weights(aligned), weights(trained(opt, 2, align_opt={'type': 'AlignLoss', 'loss_weight': 10.0})))


def test_alignment_alone_makes_the_features_alike(opt):
    opt['network_g']['dropout_p'] = 0
    opt['train']['pixel_opt']['loss_weight'] = 0.0
    align = {'type': 'AlignLoss', 'loss_weight': 1.0, 'fourier': 0, 'layer': 'output of conv_hr'}
    first = trained(opt, 2, steps=1, align_opt=align).get_current_log()['l_align']
    last = trained(opt, 2, steps=60, align_opt=align)
    last.get_current_log()
    last.optimize_parameters(61)
    assert last.get_current_log()['l_align'] < 0.7 * first


def test_a_loss_of_images_is_no_loss_of_features(opt):
    with pytest.raises(UserError, match='type: L1Loss is not a loss of features; write AlignLoss'):
        trained(opt, 2, align_opt={'type': 'L1Loss'})
    with pytest.raises(UserError, match="has no layer 'B9'"):
        trained(opt, 2, align_opt={'type': 'AlignLoss', 'layer': 'B9'})


def test_a_network_of_another_project_is_aligned_too():
    from reflash_sr.models.training_losses import alignment, run_network
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
    aligned = alignment({'align_opt': {'type': 'AlignLoss', 'fourier': 0}}, net)
    lq = torch.rand(4, 3, 6, 6)
    output, losses = run_network(net, lq, aligned)
    assert torch.equal(output, net(lq))
    assert losses['l_align'].detach() == pytest.approx(by_hand(net[1](net[0](lq)).detach()), rel=1e-4)
