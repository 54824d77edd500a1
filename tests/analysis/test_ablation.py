"""Ablation by replay, in closed form and by brute force are the same; the edges are defined."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reflash_sr.analysis.ablation import (
    ORDERS,
    Ablation,
    channel_order,
    drop,
    gini,
    share_dispensable,
    share_rising,
)
from reflash_sr.analysis.closed_form_ablation import ClosedForm
from reflash_sr.analysis.features import channel_dim, find_layer, study_layers, tap
from reflash_sr.analysis.psnr import Target
from reflash_sr.errors import UserError
from tests.analysis.networks import PAPER, small
from tests.analysis.test_replay_from_layer import run_with
from tests.test_positions import FSRCNN


@pytest.fixture
def lq():
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def tamed(name):
    """A network whose output is not far beyond [0, 1], where every PSNR would be the same."""
    net = small(name)
    with torch.no_grad():
        for parameter in net.get_submodule(study_layers(net)['last'].module).parameters():
            parameter.mul_(0.1)
    return net


def near(net, lq):
    """An image near to what the network makes."""
    with torch.no_grad():
        image = net(lq)[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    return (image + noise).clip(0, 255).round().astype(np.uint8)


def removed_by_hand(features, removed):
    """The definition, word by word."""
    dim = channel_dim(features)
    strength = features.abs().double().transpose(1, dim).flatten(2).sum((0, 2))
    left = [channel for channel in range(len(strength)) if channel not in removed]
    factor = strength.sum() / strength[left].sum() if strength[left].sum() > 0 else 1
    changed = features.clone()
    changed.transpose(1, dim)[:, list(removed)] = 0
    return changed * float(factor)


def psnr_by_hand(output, gt):
    levels = np.round(output[0].clamp(0, 1).double().permute(1, 2, 0).numpy() * 255)
    return 10 * np.log10(255**2 / np.mean((levels - gt)**2))


class Doing(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def ends_with(*modules, channels=3):
    """A network whose last convolution these modules follow; what they get is in the range of an image."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        convs = torch.nn.Conv2d(3, 8, 3, 1, 1), torch.nn.Conv2d(8, channels, 3, 1, 1)
    with torch.no_grad():
        convs[1].bias += 0.4
    return torch.nn.Sequential(convs[0], torch.nn.LeakyReLU(0.1), convs[1], *modules)


def half_doubled(x):
    """Changes a view in place."""
    x[:, :1].mul_(2)
    return x


def mean_shift(channels=3):
    conv = torch.nn.Conv2d(channels, channels, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.diag(torch.linspace(0.5, 1, channels))[..., None, None])
        conv.bias.copy_(torch.linspace(0, 0.2, channels))
    return conv


LINEAR = {
    'shuffle': ends_with(torch.nn.PixelShuffle(4), channels=48),
    'shuffle twice': ends_with(torch.nn.PixelShuffle(2), torch.nn.PixelShuffle(2), channels=48),
    'shuffle by hand': ends_with(Doing(lambda x: x.view(len(x), 3, 2, 2, *x.shape[2:]).permute(
        0, 1, 4, 2, 5, 3).reshape(len(x), 3, 2 * x.shape[2], -1)), channels=12),
    'shuffle for one image': ends_with(Doing(lambda x: x.view(1, 3, 2, 2, *x.shape[2:]).permute(
        0, 1, 4, 2, 5, 3).reshape(1, 3, 2 * x.shape[2], -1)), channels=12),
    'mean and range': ends_with(torch.nn.PixelShuffle(2), Doing(lambda x: (x * 255 + 3).div_(255)), channels=12),
    'colours': ends_with(torch.nn.PixelShuffle(2), mean_shift(), channels=12),
    'colours, then shuffle': ends_with(mean_shift(12), torch.nn.PixelShuffle(2), channels=12),
    'depthwise': ends_with(torch.nn.Conv2d(3, 3, 1, groups=3)),
    'subtracted': ends_with(Doing(lambda x: torch.sub(1, x, alpha=0.5))),
    'from the right': ends_with(Doing(lambda x: torch.rsub(x, 1, alpha=0.5).neg().add(torch.ones(3, 1, 1)))),
    'added in place': ends_with(Doing(lambda x: x.new_full((len(x), 3, 2 * x.shape[2], 2 * x.shape[3]), 0.1).add_(
        torch.nn.functional.pixel_shuffle(x, 2), alpha=0.9)), channels=12),
    'clamped': ends_with(torch.nn.PixelShuffle(2), torch.nn.Hardtanh(0, 1), channels=12),
    'clamped in place, then shuffled': ends_with(Doing(lambda x: x.clamp_(min=-0.5)), torch.nn.PixelShuffle(2),
                                                 channels=12),
    'cut, but nothing is cut': ends_with(torch.nn.PixelShuffle(2), Doing(lambda x: x[:, :, :16, :16].contiguous()),
                                         channels=12),
}


@pytest.mark.parametrize('name', LINEAR)
def test_closed_form_through_what_is_linear_against_brute_force(name, lq):
    net = LINEAR[name].eval()
    gt = near(net, lq)
    ablation = Ablation(net, lq, gt, 'last')
    assert ablation.closed
    with tap(net, 'last') as seen, torch.no_grad():
        assert ablation.psnr == pytest.approx(psnr_by_hand(net(lq), gt), abs=1e-3)
    single = ablation.single()
    for channel in range(8):
        expected = run_with(net, lq, 'last', removed_by_hand(seen['last'], [channel]))
        assert single[channel] == pytest.approx(psnr_by_hand(expected, gt), abs=0.01)
    assert len(set(single.round(3))) > 6
    order = channel_order('random', single)
    in_turn = ablation.in_turn(order)
    for count in range(1, 9):
        expected = run_with(net, lq, 'last', removed_by_hand(seen['last'], list(order[:count])))
        assert in_turn[count] == pytest.approx(psnr_by_hand(expected, gt), abs=0.01)


class Beside(torch.nn.Module):
    """Features that the network changes in place after the convolution has read them, and an image of its own too."""

    def __init__(self, conv):
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(3, 8, 3, 1, 1), conv

    def forward(self, x):
        x *= 0.5
        features = self.first(x)
        out = self.last(input=features)
        return out * 0.5 + 0.2 + features.relu_()[:, :3] * 0.1 + x


class Standardised(torch.nn.Conv2d):
    def forward(self, input):
        return torch.nn.functional.conv2d(input, self.weight / self.weight.std(), self.bias, 1, 1)


def hooked():
    net = ends_with()
    net[2].register_forward_hook(lambda module, args, output: output * 0.5 + 0.2)
    return net


@pytest.mark.parametrize('padding', [1, 'same'])
def test_what_is_changed_in_place_afterwards_was_copied(padding, lq):
    torch.manual_seed(0)
    net = Beside(torch.nn.Conv2d(8, 3, 3, 1, padding)).eval()
    gt, before = near(net, lq.clone()), lq.clone()
    ablation = Ablation(net, lq, gt, 'input of last')
    assert ablation.closed and torch.equal(lq, before)
    features = net.first(before * 0.5).detach()
    for channel, psnr in enumerate(ablation.single()):
        changed = net.last(removed_by_hand(features, [channel])).detach()
        expected = changed * 0.5 + 0.2 + features.relu()[:, :3] * 0.1 + before * 0.5
        assert psnr == pytest.approx(psnr_by_hand(expected, gt), abs=0.01)


def test_a_tail_that_refuses_a_batch_of_two_is_followed_twice(lq):

    def refuse(x):
        assert len(x) == 1
        return x * 0.5 + 0.1

    assert ClosedForm.find(ends_with(Doing(refuse)).eval(), lq, 'input of 2') is not None


@pytest.mark.parametrize('closed_form', [False, True])
@pytest.mark.parametrize('name', PAPER)
def test_against_brute_force(name, closed_form, lq):
    net = tamed(name)
    gt = near(net, lq)
    for layer in ['last'] if closed_form else study_layers(net):
        ablation = Ablation(net, lq, gt, layer, batch=3, closed_form=closed_form)
        assert ablation.closed == closed_form
        with tap(net, layer) as seen, torch.no_grad():
            assert ablation.psnr == pytest.approx(psnr_by_hand(net(lq), gt), abs=1e-3)
        single = ablation.single()
        for channel in (0, 3, ablation.channels - 1):
            expected = run_with(net, lq, layer, removed_by_hand(seen[layer], [channel]))
            assert single[channel] == pytest.approx(psnr_by_hand(expected, gt), abs=0.01)
        order = channel_order('random', single)
        in_turn = ablation.in_turn(order)
        assert len(in_turn) == ablation.channels + 1 and in_turn[0] == ablation.psnr
        for count in (1, 4, ablation.channels - 1, ablation.channels):
            expected = run_with(net, lq, layer, removed_by_hand(seen[layer], list(order[:count])))
            assert in_turn[count] == pytest.approx(psnr_by_hand(expected, gt), abs=0.01)


@pytest.mark.parametrize('name', ['SRResNet', 'RRDB', 'SwinIR'])
@pytest.mark.parametrize('steep', [False, True])
def test_closed_form_images(name, steep, lq):
    net = small(name)
    with tap(net, 'last') as seen, torch.no_grad():
        net(lq)
    if steep:  # one channel has nearly everything
        with torch.no_grad():
            net.conv_last.weight[:, 1:] *= 1e-3
    form = ClosedForm.find(net, lq, 'last')
    size = form.output.abs().max()
    factors = np.linspace(1, 30, form.features.shape[1])
    factors[0] = 1000 if steep else 1  # without it, what is left is faint
    for channel, image in enumerate(form.single(factors)):
        changed = seen['last'].clone()
        changed[:, channel] = 0
        expected = run_with(net, lq, 'last', changed * factors[channel])
        assert (image - expected).abs().max() / max(size, expected.abs().max()) < 1e-5


@pytest.mark.parametrize(('net', 'layer'), [
    (small('SRResNet'), 'hr'),
    (small('SRResNet'), 'conv_hr'),
    (hooked(), 'last'),
    (torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 1, 1), Standardised(8, 3, 3)), 'last'),
    (ends_with(torch.nn.Hardtanh(0.1, 1)), 'last'),
    (ends_with(torch.nn.Hardtanh(0, 0.9)), 'last'),
    (ends_with(torch.nn.Hardtanh(0, 1), Doing(lambda x: x + 0.1)), 'last'),
    (ends_with(torch.nn.ReLU()), 'last'),
    (ends_with(torch.nn.Conv2d(3, 3, 1)), 'last'),  # colours are mixed
    (ends_with(torch.nn.PixelShuffle(4), Doing(lambda x: x * x.mean()), channels=48), 'last'),
    (ends_with(Doing(lambda x: x + x.roll(1, 2))), 'last'),
    (ends_with(Doing(lambda x: x + x)), 'last'),
    (ends_with(Doing(lambda x: 1 / x)), 'last'),
    (ends_with(Doing(lambda x: x[..., 1:] )), 'last'),
    (ends_with(Doing(lambda x: x.repeat(1, 2, 1, 1))), 'last'),
    (ends_with(Doing(lambda x: x if x.mean() > 0 else 2 * x)), 'last'),
    (ends_with(Doing(lambda x: x * torch.linspace(0, 1, x.shape[3]))), 'last'),  # not the same for a whole channel
    (ends_with(Doing(lambda x: half_doubled(x))), 'last'),
    (ends_with(Doing(lambda x: torch.flip(x, (0,)))), 'last'),
])
def test_no_closed_form_where_it_would_be_wrong(net, layer, lq):
    assert ClosedForm.find(net.eval(), lq, layer) is None


def test_a_transposed_last_convolution_against_brute_force(lq):
    torch.manual_seed(0)
    net = FSRCNN(scale=3).eval()
    with torch.no_grad():
        net.tail.bias += 0.5
    gt = near(net, lq)
    ablation = Ablation(net, lq, gt, 'last')
    with tap(net, 'last') as seen, torch.no_grad():
        net(lq)
    images = [run_with(net, lq, 'last', removed_by_hand(seen['last'], [channel])) for channel in range(12)]
    assert ablation.single() == pytest.approx([psnr_by_hand(image, gt) for image in images], abs=0.01)
    assert len({round(drop, 3) for drop in ablation.single()}) > 6


@pytest.mark.parametrize('layer', ['B1', 'last'])
def test_a_dead_channel_changes_nothing(layer, lq):
    net = tamed('SRResNet')
    site = find_layer(net, layer)
    net.get_submodule(site.module).register_forward_pre_hook(lambda module, args: (args[0] * mask,))
    if site.side == 'output':
        net.body[1].register_forward_pre_hook(lambda module, args: (args[0] * mask,))
        layer = 'input of body.1'
    mask = torch.ones(1, 8, 1, 1)
    mask[:, 5] = 0
    ablation = Ablation(net, lq, near(net, lq), layer)
    assert ablation.strength[5] == 0
    single = ablation.single()
    assert single[5] == pytest.approx(ablation.psnr, abs=1e-4)
    assert max(abs(np.delete(single, 5) - ablation.psnr)) > 0.05
    assert ablation.in_turn([5, *range(5), 6, 7])[1] == pytest.approx(ablation.psnr, abs=1e-4)


@pytest.mark.parametrize('closed_form', [False, True])
def test_a_dead_layer_and_all_channels(closed_form, lq):
    net = tamed('SRResNet')
    gt = near(net, lq)
    without = run_with(net, lq, 'last', torch.zeros(1, 8, 32, 32))
    ablation = Ablation(net, lq, gt, 'last', closed_form=closed_form)
    assert ablation.in_turn(range(8))[8] == pytest.approx(psnr_by_hand(without, gt), abs=1e-3)
    with torch.no_grad():
        net.conv_hr.weight.zero_()
        net.conv_hr.bias.zero_()
    dead = Ablation(net, lq, gt, 'last', closed_form=closed_form)
    assert np.ptp(dead.single()) < 1e-4 and np.ptp(dead.in_turn(range(8))) < 1e-4


def test_the_network_is_untouched(lq):
    net = tamed('SRResNet')
    plain = net(lq)
    for layer in ('B1', 'last'):
        ablation = Ablation(net, lq, near(net, lq), layer)
        assert torch.equal(net(lq), plain)
        torch.testing.assert_close(ablation.output, plain)
        first = ablation.single()
        assert np.array_equal(ablation.single(), first)


def test_batches_make_no_difference(lq):
    net = tamed('RRDB')
    ways = [Ablation(net, lq, near(net, lq), 'B1', batch).single() for batch in (1, 3, 64)]
    np.testing.assert_allclose(ways[0], ways[1], atol=0.01)
    np.testing.assert_allclose(ways[0], ways[2], atol=0.01)


def test_progress_counts_every_variant(lq):
    net = tamed('SRResNet')
    for layer in ('B1', 'last'):
        counts = []
        ablation = Ablation(net, lq, near(net, lq), layer, batch=3)
        ablation.single(counts.append)
        ablation.in_turn(range(8), counts.append)
        assert sum(counts) == 16


def test_what_cannot_be_ablated(lq):
    net = small('SRResNet')
    with pytest.raises(UserError, match='must be equal'):
        Ablation(net, lq, np.zeros((30, 32, 3), np.uint8), 'last')
    with pytest.raises(UserError, match='no layer'):
        Ablation(net, lq, np.zeros((32, 32, 3), np.uint8), 'B17')


def test_psnr():
    gt = np.full((4, 4, 3), 100, np.uint8)
    images = torch.full((3, 3, 4, 4), 100 / 255)
    images[1] += 10 / 255
    images[2] = -3  # clipped to 0
    psnr = Target(gt).psnr(images)
    assert psnr[0] == np.inf
    assert psnr[1:] == pytest.approx([10 * np.log10(255**2 / 100), 10 * np.log10(255**2 / 10000)])
    assert drop(np.inf, psnr[:1])[0] == 0


def test_orders():
    drops = np.array([0.3, 0.1, 0.5, 0.1])
    assert [list(channel_order(name, drops)) for name in ('index', 'most-important-first', 'least-important-first')
            ] == [[0, 1, 2, 3], [2, 0, 1, 3], [1, 3, 0, 2]]
    for name in ORDERS:
        assert sorted(channel_order(name, drops)) == [0, 1, 2, 3]
    many = np.zeros(64)
    assert list(channel_order('random', many, 1)) == list(channel_order('random', many, 1))
    assert list(channel_order('random', many, 1)) != list(channel_order('random', many, 2))
    with pytest.raises(UserError, match='did you mean'):
        channel_order('randon', drops)


def test_share_dispensable():
    assert share_dispensable(np.array([30, 29.5, 29, 28, 29.5])) == 0.5
    assert share_dispensable(np.array([30, 28, 30, 30, 30])) == 0
    assert share_dispensable(np.array([30, 30, 31, 30, 30])) == 1
    assert share_dispensable(np.array([30, 30, 30, 30, 20])) == 0.75


def test_gini():
    assert gini(np.array([1, 1, 1, 1])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 2])) == pytest.approx(0.75)
    assert gini(np.array([0, -1, 0, -3])) == 0
    assert gini(np.array([-5, 0, 0, 2])) == pytest.approx(0.75)
    worth = np.random.default_rng(0).random(10)
    expected = np.abs(worth[:, None] - worth).mean() / worth.mean() / 2
    assert gini(worth) == pytest.approx(expected)


def test_channels_without_which_psnr_rises_are_counted():
    drops = np.array([0.2, -0.1, 0, -0.3])
    assert share_rising(drops) == 0.5
    assert gini(drops) == pytest.approx(0.75)
    assert gini(abs(drops)) == pytest.approx(0.416667, abs=1e-6)
