"""Networks of Y and of RGBA in every analysis: each on its own channels, beside networks of RGB."""

import numpy as np
import pytest
import torch
from basicsr.utils import bgr2ycbcr

from reflash_sr.analysis.features import list_layers, tap
from reflash_sr.analysis.image_pairs import ImageSelection, load_pairs, pairs_from_arrays
from reflash_sr.analysis.measure_ablation import AblationPlan, ablate, layer_maps
from reflash_sr.analysis.measure_clusters import cluster_samples
from reflash_sr.analysis.measure_saliency import saliency_by_image
from reflash_sr.analysis.on_device import check_layers
from reflash_sr.weights.network_from_file import build_network, open_network
from tests.analysis.test_ablation import psnr_by_hand, removed_by_hand
from tests.analysis.test_replay_from_layer import run_with
from tests.conftest import fill, smooth_image

CHANNELS = (1, 3, 4)


@pytest.fixture
def networks(tmp_path):
    """A network of each kind, by its number of channels, with an output near to bilinear interpolation."""
    found = {}
    for channels in CHANNELS:
        torch.manual_seed(channels)
        section = {'type': 'MSRResNet', 'num_in_ch': channels, 'num_out_ch': channels, 'num_feat': 8, 'num_block': 1}
        net = build_network(section)
        for parameter in net.parameters():
            if parameter.dim() == 4:
                torch.nn.init.kaiming_normal_(parameter)
        with torch.no_grad():
            net.conv_last.weight.mul_(0.05)
        torch.save({'params': net.state_dict(), 'network_g': section}, tmp_path / f'{channels}.pth')
        found[channels] = open_network(tmp_path / f'{channels}.pth')
    return found


@pytest.fixture
def pairs(networks):
    return pairs_from_arrays([('a', smooth_image(0, 8, 10), smooth_image(0, 32, 40))], networks[3])


def seen(pair, channels):
    """What a network of these channels sees, and its GT, by hand."""
    lq = pair.lq[0].permute(1, 2, 0).numpy()
    if channels == 4:
        return torch.cat((pair.lq, torch.ones(1, 1, *pair.lq.shape[2:])), 1), pair.gt
    if channels == 3:
        return pair.lq, pair.gt
    lq, gt = (bgr2ycbcr(image[..., ::-1].astype(np.float32), y_only=True) for image in (lq, pair.gt / np.float32(255)))
    return torch.from_numpy(lq)[None, None], np.round(gt * 255)[..., None]


@pytest.mark.parametrize('closed', [True, False])
@pytest.mark.parametrize('channels', CHANNELS)
def test_ablation_is_brute_force_on_the_channels_of_the_network(networks, pairs, channels, closed):
    net, (lq, gt) = networks[channels].net, seen(pairs[0], channels)
    [found] = ablate(networks[channels], pairs, ['last'], AblationPlan(('index',), closed_form=closed))
    assert (found.closed, found.colours) == (closed, 'Y' if channels == 1 else 'RGB')
    with tap(net, 'last') as features, torch.no_grad():
        assert found.psnr[0] == pytest.approx(psnr_by_hand(net(lq)[:, :3], gt), abs=1e-3)
    for channel in range(8):
        without = run_with(net, lq, 'last', removed_by_hand(features['last'], [channel]))
        assert found.single[0, channel] == pytest.approx(psnr_by_hand(without[:, :3], gt), abs=0.01)
        without = run_with(net, lq, 'last', removed_by_hand(features['last'], list(range(channel + 1))))
        assert found.in_turn['index'][0, channel + 1] == pytest.approx(psnr_by_hand(without[:, :3], gt), abs=0.01)
    np.testing.assert_allclose(layer_maps(networks[channels], pairs[0], 'last'), features['last'][0], atol=1e-5)


@pytest.mark.parametrize('channels', CHANNELS)
def test_saliency_is_the_gradient_of_detail_in_the_colours(networks, pairs, channels):
    net, (lq, _) = networks[channels].net, seen(pairs[0], channels)
    [found] = saliency_by_image(networks[channels], pairs, ['last'], correlate=True)
    with torch.no_grad(), tap(net, 'last') as features:
        net(lq)
    last = features['last'].requires_grad_()
    sr = (net.conv_last(last) + torch.nn.functional.interpolate(lq, scale_factor=4, mode='bilinear'))[:, :3]
    down, right = sr[..., 1:, :-1] - sr[..., :-1, :-1], sr[..., :-1, 1:] - sr[..., :-1, :-1]
    [gradient] = torch.autograd.grad((down**2 + right**2).sqrt().sum(), last)
    np.testing.assert_allclose(found['last'].maps, gradient[0].abs() / gradient.abs().max(), atol=1e-3)
    np.testing.assert_array_equal(found['last'].drops, ablate(networks[channels], pairs)[0].drops[0])


def test_networks_of_different_channels_are_compared_on_the_same_images(networks, tmp_path):
    opened = list(networks.values())
    pairs = load_pairs(ImageSelection(str(fill(tmp_path / 'gt', 2, 32))), opened)
    assert check_layers(opened, ['B1']) == [['B1']] * 3
    assert [ablate(network, pairs)[0].psnr.shape for network in opened] == [(2,)] * 3
    assert all('8 channels of 48×48' in dict(list_layers(one.net, channels=one.channels))['B1'] for one in opened)


@pytest.mark.parametrize('channels', CHANNELS)
def test_clusters_of_every_kind_of_network(networks, channels, tmp_path):
    lq = np.stack([smooth_image(seed, 16, 16) // (1 + seed % 2) for seed in range(12)])
    found = cluster_samples(networks[channels], lq, np.arange(12) % 2, 'first', perplexity=3, seeds=(0,),
                            scratch=tmp_path)
    assert found.points.shape == (1, 12, 2) and found.chi_pca > 0
