"""Measuring networks over images in memory: tables and maps are those of one layer and image at a time."""

import numpy as np
import pytest
import torch

from reflash_sr.analysis.ablation import Ablation
from reflash_sr.analysis.image_pairs import pairs_from_arrays
from reflash_sr.analysis.measure_ablation import AblationPlan, ablate, layer_maps
from reflash_sr.analysis.measure_clusters import cluster_samples
from reflash_sr.analysis.measure_saliency import saliency_by_image
from reflash_sr.analysis.saliency import channel_saliency
from reflash_sr.errors import UserError
from reflash_sr.weights.network_from_file import build_network, open_network
from tests.conftest import TINY_NETWORK, smooth_image

CHANNELS = TINY_NETWORK['num_feat']


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    torch.save({'params': build_network(TINY_NETWORK).state_dict(), 'network_g': TINY_NETWORK}, tmp_path / 'w.pth')
    return open_network(tmp_path / 'w.pth')


@pytest.fixture
def pairs(network):
    images = [(name, smooth_image(seed, 8, 10), smooth_image(seed, 32, 40)) for seed, name in enumerate('ab')]
    return pairs_from_arrays(images, network)


def test_ablation_tables(network, pairs):
    plan = AblationPlan(('index', 'random'), random_orders=2, seed=3)
    first, last = ablate(network, pairs, ['B1', 'last'], plan)
    assert (first.closed, last.closed) == (False, True)
    assert list(first.in_turn) == ['index', 'random:3', 'random:4']
    assert {kind: len(curves) for kind, curves in first.curves().items()} == {'index': 2, 'random': 4}
    alone = Ablation(network.net, pairs[1].lq, pairs[1].gt, 'B1')
    np.testing.assert_allclose(first.single[1], alone.single(), atol=0.01)
    table = first.single_table()
    assert list(table.columns) == ['image', 'layer', 'channel', 'psnr_db', 'drop_db']
    assert table['image'].tolist() == ['a'] * CHANNELS + ['b'] * CHANNELS
    np.testing.assert_array_equal(table['psnr_db'], first.single.ravel())
    table = last.in_turn_table()
    chosen = table[(table['order'] == 'random:4') & (table['image'] == 'b')]
    assert chosen['removed'].tolist() == list(range(CHANNELS + 1))
    np.testing.assert_array_equal(chosen['psnr_db'], last.in_turn['random:4'][1])
    np.testing.assert_allclose(chosen['drop_db'], last.psnr[1] - last.in_turn['random:4'][1], atol=1e-9)


def test_ablation_without_orders_has_an_empty_table(network, pairs):
    [one] = ablate(network, pairs, plan=AblationPlan(orders=()))
    assert one.in_turn_table().empty and list(one.in_turn_table().columns)[3] == 'removed'


@pytest.mark.parametrize('change', [{'orders': ('indx',)}, {'random_orders': 0}, {'batch': 0}])
def test_plans_that_do_not_fit_are_refused(change):
    with pytest.raises(UserError, match=f'--{next(iter(change))}'):
        AblationPlan(**change)


def test_saliency_of_images_is_that_of_each(network, pairs):
    found = list(saliency_by_image(network, pairs, ['B1', 'last'], correlate=True))
    assert len(found) == 2
    for pair, by_layer in zip(pairs, found):
        for layer, alone in channel_saliency(network.net, pair.lq, ['B1', 'last']).items():
            np.testing.assert_allclose(by_layer[layer].maps, alone.maps, rtol=1e-4, atol=1e-5)
            assert by_layer[layer].drops.shape == (CHANNELS,)
    assert next(saliency_by_image(network, pairs, ['last']))['last'].drops is None
    np.testing.assert_array_equal(layer_maps(network, pairs[0], 'last'), found[0]['last'].features)


def test_clusters_of_images_in_memory(network, tmp_path):
    lq = np.stack([smooth_image(seed, 16, 16) // (1 + seed % 2) for seed in range(12)])
    found = cluster_samples(network, lq, np.arange(12) % 2, perplexity=3, seeds=(0,), scratch=tmp_path)
    assert found.points.shape == (1, 12, 2) and found.chi_pca > 0
    assert [path.name for path in tmp_path.iterdir()] == ['w.pth']
