"""Functions for notebooks: arrays and paths in, arrays and tables out; the same numbers as the tools."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import reflash_sr
from reflash_sr.commands.evaluate_degradations import main as evaluate_tool
from reflash_sr.data.images.read_image import read_image
from reflash_sr.errors import UserError
from tests.commands.test_evaluate_degradations import save_network
from tests.conftest import fill, smooth_image


@pytest.fixture
def weights(tmp_path):
    return [save_network(tmp_path / f'{name}.pth', seed, dropout_p=p) for name, seed, p in (('a', 1, 0), ('b', 2, 0.5))]


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / 'photos', 2, 40, 48)


def test_importing_the_package_does_not_load_the_api():
    assert {'ablate', 'attribution', 'clusters', 'degrade', 'evaluate', 'open_network', 'saliency', 'upscale'} <= set(
        dir(reflash_sr))
    with pytest.raises(AttributeError, match='abblate'):
        reflash_sr.abblate  # noqa: B018


def test_evaluation_has_the_numbers_of_the_tool(weights, folder, tmp_path):
    table = reflash_sr.evaluate(weights, folder, ['clean', 'b+n'], ['psnr', 'ssim'], seed=3)
    assert evaluate_tool(['--weights', *map(str, weights), '--gt', str(folder), '--degradations', 'clean', 'b+n',
                          '--metrics', 'psnr', 'ssim', '--seed', '3', '--out', str(tmp_path / 'out')]) == 0
    with open(tmp_path / 'out' / 'scores.csv', encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    assert list(table.columns) == list(rows[0])
    assert len(table) == len(rows)
    for (_, mine), row in zip(table.iterrows(), rows):
        assert [mine[key] for key in ('dataset', 'degradation', 'image', 'metric')] == [
            row[key] for key in ('dataset', 'degradation', 'image', 'metric')]
        assert mine['value'] == float(row['value'])


def test_arrays_are_measured_as_files_are(weights, folder):
    paths = sorted(folder.iterdir())
    kinds = {'degradations': ['clean', 'jpeg'], 'metrics': 'psnr'}
    of_files = reflash_sr.evaluate(weights[0], folder, **kinds)
    of_arrays = reflash_sr.evaluate(weights[0], [read_image(path) for path in paths], **kinds)
    assert list(of_files['value']) == list(of_arrays['value'])


def test_pairs_are_measured_as_they_are(weights, folder, tmp_path):
    (tmp_path / 'lq').mkdir()
    from PIL import Image
    for path in folder.iterdir():
        Image.fromarray(reflash_sr.degrade(path, 'blur')).save(tmp_path / 'lq' / path.name)
    pairs = reflash_sr.evaluate(weights[0], folder, lq=tmp_path / 'lq')
    blur = reflash_sr.evaluate(weights[0], folder, 'blur')
    assert set(pairs['degradation']) == {'as given'}
    assert list(pairs['value']) == list(blur['value'])


def test_a_degradation_is_that_of_the_test_dataset(folder):
    path = next(iter(sorted(folder.iterdir())))
    lq = reflash_sr.degrade(path, 'n+j', seed=5)
    dataset = reflash_sr.data.DegradationTestDataset({'dataroot_gt': str(folder), 'scale': 4, 'degradation': 'n+j',
                                                      'noise_seed': 5})
    assert np.array_equal(lq, (dataset[0]['lq'].numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0))
    assert np.array_equal(reflash_sr.degrade(read_image(path), 'n+j', seed=5, name=path.stem), lq)
    assert not np.array_equal(reflash_sr.degrade(path, 'n+j', seed=6), lq)


def test_tiles_and_paths_give_the_same_image(weights, folder):
    path = next(folder.iterdir())
    sr = reflash_sr.upscale(weights[0], path)
    assert (sr.shape, sr.dtype) == ((160, 192, 3), np.uint8)
    assert np.array_equal(sr, reflash_sr.upscale(reflash_sr.open_network(weights[0]), read_image(path)))
    assert np.abs(sr.astype(int) - reflash_sr.upscale(weights[0], path, tile=16)).max() <= 1


def test_channels_are_removed_alone_and_in_turn(weights, folder):
    alone = reflash_sr.ablate({'one': weights[0]}, folder, crop=8)
    assert list(alone.columns) == ['network', 'image', 'layer', 'channel', 'psnr_db', 'drop_db']
    assert set(alone['network']) == {'one'}
    channels = alone['channel'].nunique()
    assert len(alone) == 2 * channels
    in_turn = reflash_sr.ablate(weights, folder, orders='index', crop=8)
    assert list(in_turn.columns) == ['network', 'image', 'layer', 'order', 'removed', 'psnr_db', 'drop_db']
    assert len(in_turn) == 2 * 2 * (channels + 1)
    whole = in_turn[in_turn['removed'] == 0]
    assert (whole['drop_db'] == 0).all()
    first = in_turn[(in_turn['removed'] == 1) & (in_turn['network'] == in_turn['network'][0])]
    assert list(first['psnr_db']) == pytest.approx(list(alone[alone['channel'] == 0]['psnr_db']), abs=1e-4)


def test_arrays_are_ablated_as_files_are(weights, folder):
    arrays = [read_image(path) for path in sorted(folder.iterdir())]
    assert list(reflash_sr.ablate(weights[0], folder, crop=None)['psnr_db']) == list(
        reflash_sr.ablate(weights[0], arrays)['psnr_db'])


def test_saliency_is_scaled_by_layer_and_leaves_the_network(weights):
    network = reflash_sr.open_network(weights[0])
    before = {name: value.clone() for name, value in network.net.state_dict().items()}
    found = reflash_sr.saliency(network, smooth_image(0, 16, 20), ['B1', 'last'])
    assert found['B1'].maps.shape == (8, 16, 20)
    assert found['last'].maps.max() == 1
    assert found['last'].scores.shape == (8,)
    assert all(torch.equal(value, before[name]) for name, value in network.net.state_dict().items())


def test_attribution_has_one_window_for_all_networks(weights):
    lq = smooth_image(0, 16, 20)
    found = [reflash_sr.attribution(path, lq, steps=2) for path in weights]
    assert (found[0].top, found[0].left) == (found[1].top, found[1].left)
    assert found[0].map.shape == (16, 20)
    assert found[0].sr.shape == (64, 80, 3)
    assert 0 < found[0].diffusion_index < 100
    chosen = reflash_sr.attribution(weights[0], lq, at=(3, 40), window=8, steps=2)
    assert (chosen.top, chosen.left, chosen.side) == (3, 40, 8)


def test_clusters_come_by_network(weights, folder):
    found = reflash_sr.clusters({'plain': weights[0], 'dropped': weights[1]}, folder, ['clean', 'blur'], samples=6,
                                sample=8, perplexity=3, tsne_seeds=2)
    assert list(found) == ['plain', 'dropped']
    assert found['plain'].points.shape == (2, 12, 2)
    assert found['plain'].chi_pca >= 0


def test_equal_labels_are_told_apart(weights, folder):
    table = reflash_sr.evaluate([weights[0], weights[0]], folder, 'clean')
    assert table['method'].nunique() == 3


@pytest.mark.parametrize(('call', 'message'), [
    (lambda w, f: reflash_sr.evaluate([], f), 'networks: none'),
    (lambda w, f: reflash_sr.evaluate(w, f, 'rain'), "degradation: 'rain' is not known"),
    (lambda w, f: reflash_sr.evaluate(w, f, metrics='fid'), "'fid' is not known"),
    (lambda w, f: reflash_sr.evaluate(w, 'no/such'), 'no such folder'),
    (lambda w, f: reflash_sr.upscale(w[0], np.zeros((4, 4))), r'give \(H, W, 3\) uint8 RGB'),
    (lambda w, f: reflash_sr.degrade(np.zeros((2, 2, 3), np.uint8)), 'too small'),
    (lambda w, f: reflash_sr.ablate(w, f, 'B99'), 'B99'),
    (lambda w, f: reflash_sr.saliency(w[0], smooth_image(0, 8, 8), 'nowhere'), 'nowhere'),
    (lambda w, f: reflash_sr.attribution(w[0], smooth_image(0, 8, 8), window=32), 'is not inside the SR image'),
    (lambda w, f: reflash_sr.attribution(w[0], smooth_image(0, 8, 8), at=(-1, 0)), 'row -1'),
    (lambda w, f: reflash_sr.attribution(w[0], smooth_image(0, 8, 8), at=5), r'at: 5; give \(row, column\)'),
    (lambda w, f: reflash_sr.attribution(w[0], smooth_image(0, 8, 8), sigma=0), 'sigma 0'),
    (lambda w, f: reflash_sr.attribution(w[0], smooth_image(0, 8, 8), steps=2.5), 'steps: 2.5; give a whole number'),
    (lambda w, f: reflash_sr.open_network(Path('missing.pth')), 'no such weights file'),
    (lambda w, f: reflash_sr.upscale(w[0], smooth_image(0, 8, 8), device='tpu'), 'tpu'),
])
def test_mistakes_are_one_line(weights, folder, call, message):
    with pytest.raises(UserError, match=message) as raised:
        call(weights, folder)
    assert '\n' not in str(raised.value)


def png(folder):
    from PIL import Image
    return Image.open(next(folder.iterdir()))


@pytest.mark.parametrize(('call', 'message'), [
    (lambda w, f: reflash_sr.upscale(w[0], png(f)), 'image: is a PngImageFile; give'),
    (lambda w, f: reflash_sr.upscale(w[0], torch.zeros(4, 4, 3, dtype=torch.uint8)), 'image: is a Tensor; give'),
    (lambda w, f: reflash_sr.degrade(None), 'gt: is a NoneType; give'),
    (lambda w, f: reflash_sr.evaluate(w[0], [f, smooth_image(0, 40, 48)]), 'is a folder, not the image'),
    (lambda w, f: reflash_sr.evaluate(w[0], [png(f)]), 'gt: is a PngImageFile; give'),
    (lambda w, f: reflash_sr.evaluate(w[0], smooth_image(0, 40, 48), lq=f), 'gt: give the path of one folder'),
    (lambda w, f: reflash_sr.ablate(w[0], []), 'images: none'),
    (lambda w, f: reflash_sr.ablate(w[0], [f, f]), 'images: give the path of one folder'),
    (lambda w, f: reflash_sr.clusters(w[0], [smooth_image(0, 40, 48)]), 'images: give the path of one folder'),
    (lambda w, f: reflash_sr.evaluate({}, f), 'networks: none'),
    (lambda w, f: reflash_sr.evaluate({1: w[0], '1': w[1]}, f), "networks: two are called '1'"),
    (lambda w, f: reflash_sr.upscale(reflash_sr.open_network(w[0]).net, f), 'network: is a DropoutMSRResNet; give'),
    (lambda w, f: reflash_sr.evaluate(None, f), 'network: is a NoneType; give'),
    (lambda w, f: reflash_sr.evaluate(w[0], f, metrics=[]), r'metrics: \(\); give a name'),
    (lambda w, f: reflash_sr.evaluate(w[0], f, None), 'degradations: .*give a name'),
    (lambda w, f: reflash_sr.degrade(smooth_image(0, 8, 8), ['clean']), 'degradation: .*give a name'),
    (lambda w, f: reflash_sr.saliency(w[0], smooth_image(0, 8, 8), None), 'layers: .*give a name'),
    (lambda w, f: reflash_sr.evaluate(w[0], f, crop_border=-1), 'crop_border: -1; give a whole number, 0 or more'),
    (lambda w, f: reflash_sr.degrade(smooth_image(0, 8, 8), seed=-1), 'seed: -1; give a whole number'),
    (lambda w, f: reflash_sr.degrade(smooth_image(0, 8, 8), scale=0), 'scale: 0; give a whole number, 1 or more'),
    (lambda w, f: reflash_sr.upscale(w[0], smooth_image(0, 8, 8), tile=-1), 'tile: -1; give a whole number'),
    (lambda w, f: reflash_sr.ablate(w[0], f, crop=8.0), 'crop: 8.0; give a whole number'),
    (lambda w, f: reflash_sr.clusters(w[0], f, seed=None), 'seed: None; give a whole number'),
])
def test_other_kinds_and_numbers_are_one_line(weights, folder, call, message):
    test_mistakes_are_one_line(weights, folder, call, message)


def test_two_networks_never_share_a_label(weights, folder):
    network = reflash_sr.open_network(weights[0])
    third = reflash_sr.open_network(weights[1], label=f'{network.label} (1)')
    with pytest.raises(UserError, match='two are called'):
        reflash_sr.evaluate([network, network, third], folder, 'clean')


def test_a_generator_is_read_once(weights, folder):
    arrays = [read_image(path) for path in sorted(folder.iterdir())]
    of_list = reflash_sr.evaluate(weights, arrays, ['clean'])
    assert of_list.equals(reflash_sr.evaluate((path for path in weights), (one for one in arrays), ['clean']))


def test_the_network_is_where_it_was_afterwards(weights, folder, monkeypatch):
    monkeypatch.setattr('reflash_sr.api.select_device', lambda opt: torch.device('meta'))  # a device that keeps nothing
    network = reflash_sr.open_network(weights[0])
    places = []
    monkeypatch.setattr(type(network.net), 'to', lambda net, where=None, **other: places.append(where) or net)
    monkeypatch.setattr('reflash_sr.evaluation.tiled_inference.Restorer.restore', lambda restorer, lq: np.repeat(
        np.repeat(lq, 4, 0), 4, 1))
    for call in (lambda: reflash_sr.upscale(network, smooth_image(0, 8, 8)),
                 lambda: reflash_sr.evaluate(network, folder, 'clean')):
        places.clear()
        call()
        assert places[0] == torch.device('meta')
        assert places[-1] == torch.device('cpu')
