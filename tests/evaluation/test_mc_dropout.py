"""MC dropout: its mean, its deviation, and that nothing else is touched."""

import copy

import pytest
import torch
from torch import nn

from reflash_sr.archs.dropout_msrresnet_arch import DropoutMSRResNet
from reflash_sr.dropout import FeatureDropout, insert_dropout
from reflash_sr.errors import UserError
from reflash_sr.evaluation.mc_dropout import dropout_on, has_dropout, mc_dropout
from reflash_sr.evaluation.tiled_inference import Restorer


def network(p=0.5, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DropoutMSRResNet(num_feat=8, num_block=1, upscale=2, dropout_p=p, **options).eval()


def image(height=12, width=14):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.25


def test_p_0_has_no_deviation_and_the_plain_result():
    restorer = Restorer(network(0), 2)
    mean, std = mc_dropout(restorer, image(), 3)
    assert torch.allclose(mean, restorer(image()).clamp(0, 1), atol=1e-6)
    assert std.shape == (24, 28)
    assert std.max() < 1e-6


def test_mean_converges_to_the_plain_result():
    """All that is behind dropout in front of the last convolution is linear: what is expected is the plain result."""
    restorer = Restorer(network(), 2)
    plain = restorer(image())

    def error(passes, seed=0):
        return float((mc_dropout(restorer, image(), passes, seed)[0] - plain).abs().mean())

    many = error(256)
    _, std = mc_dropout(restorer, image(), 256)
    assert std.mean() > 1e-5
    assert many < 3 * std.mean() / 256**0.5
    assert many < sum(error(4, seed) for seed in range(8)) / 8 / 2, 'a single seed may be lucky'


@pytest.mark.parametrize('position, dim', [('last-conv', 'channel'), ('all-part', 'element'), ('B1', 'channel')])
def test_same_seed_and_name_same_result_whatever_ran_before(position, dim):
    net = network(dropout_position=position, dropout_dim=dim)
    first = mc_dropout(Restorer(net, 2), image(), 3, 7, 'a')
    torch.rand(5)
    restorer = Restorer(net, 2)
    mc_dropout(restorer, image(), 2, 9, 'b')
    again = mc_dropout(restorer, image(), 3, 7, 'a')
    assert all(torch.equal(one, other) for one, other in zip(first, again))
    assert not torch.equal(first[0], mc_dropout(restorer, image(), 3, 8, 'a')[0])
    assert not torch.equal(first[0], mc_dropout(restorer, image(), 3, 7, 'c')[0])


def test_an_estimate_of_memory_in_between_changes_nothing():
    large = image(80, 80)  # of so many pixels, the restorer runs the network once to estimate what it takes
    whole = mc_dropout(Restorer(network(), 2, tile=0), large, 2)
    chosen = mc_dropout(Restorer(network(), 2), large, 2)
    assert torch.equal(whole[0], chosen[0])


def test_tiles_have_the_masks_of_the_whole_image():
    whole = mc_dropout(Restorer(network(), 2, tile=0), image(40, 44), 3)
    tiles = mc_dropout(Restorer(network(), 2, tile=16, overlap=16), image(40, 44), 3)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(whole, tiles))


def test_network_and_random_numbers_are_left_as_found():
    net = network()
    net.conv_first.train()
    before = {name: module.training for name, module in net.named_modules()}
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in net.modules()]
    state = copy.deepcopy(net.state_dict())
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    mc_dropout(Restorer(net, 2), image(), 2)
    assert torch.equal(torch.rand(3), wanted)
    with pytest.raises(ZeroDivisionError), dropout_on(net):
        raise ZeroDivisionError
    assert {name: module.training for name, module in net.named_modules()} == before
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in net.modules()] == hooks
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_only_dropout_is_on():
    class Noise(nn.Module):
        """Stands for DropPath: a layer that is random in training."""

        def forward(self, x):
            assert not self.training
            return x

    net = nn.Sequential(nn.BatchNorm2d(3), Noise(), FeatureDropout(0.5), nn.Dropout2d(0.1), nn.Conv2d(3, 3, 3))
    insert_dropout(net, 'input of 0', 'channel', 0.5)
    with dropout_on(net):
        assert [module.training for module in net] == [False, False, True, True, False]
        x = torch.rand(1, 3, 4, 4)
        assert not torch.equal(net[0](x), net[0](x))  # ours is on even at a module in eval mode
        assert torch.equal(net[0].running_mean, torch.zeros(3))
    assert net[0].num_batches_tracked == 0


def test_which_networks_have_dropout():
    assert has_dropout(network())
    assert has_dropout(nn.Sequential(nn.Dropout(0.1)))
    assert not has_dropout(network(0))
    assert not has_dropout(nn.Sequential(FeatureDropout(0)))


def test_one_pass_and_results_that_are_not_finite_are_refused():
    net = network()
    with pytest.raises(UserError, match='2 or more'):
        mc_dropout(Restorer(net, 2), image(), 1)
    nn.init.constant_(net.conv_last.bias, float('nan'))
    with pytest.raises(UserError, match='not finite'):
        mc_dropout(Restorer(net, 2), image(), 2)
