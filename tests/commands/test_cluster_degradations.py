"""The tool, end to end with tiny networks: what it writes, that it repeats itself, what it refuses."""

import csv
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from reflash_sr.analysis.measure_clusters import ClusterPlan, default_layer, fill
from reflash_sr.commands import cluster_degradations as clusters_run
from reflash_sr.errors import UserError
from reflash_sr.weights.network_from_file import build_network, open_network
from tests.conftest import TINY_NETWORK

TOOL = Path(__file__).parents[2] / 'tools' / 'cluster_degradations.py'


def save_network(path, p, seed):
    torch.manual_seed(seed)
    section = {**TINY_NETWORK, 'dropout_p': p}
    params = build_network(section).state_dict()
    torch.save({'network_g': section, 'trained': {'experiment': path.stem}, 'params': params}, path)
    return str(path)


@pytest.fixture
def files(tmp_path):
    return [save_network(tmp_path / f'p{i}.pth', p, i) for i, p in enumerate((0.0, 0.5))]


@pytest.fixture
def tool(monkeypatch, image_folder, tmp_path):
    """Run the tool; returns its exit status and the results' folder."""

    def run(*arguments, out='out', defaults=True):
        given = ['--images', str(image_folder), '--out', str(tmp_path / out), '--sample', '16', '--samples', '6',
                 '--perplexity', '5', '--tsne_seeds', '1', '--device', 'cpu'] if defaults else []
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, given), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name='__main__')
        return ended.value.code, tmp_path / out

    return run


def table(path):
    with open(path, encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def test_a_run_writes_tables_figures_and_a_summary(tool, files, capsys):
    status, folder = tool('--weights', *files, '--tsne_seeds', 2)
    assert status == 0, capsys.readouterr().err
    assert {path.name for path in folder.iterdir()} == {'coordinates.csv', 'chi.csv', 'srga.csv', 'clusters.png',
                                                        'chi_over_p.png', 'summary.json'}
    rows = table(folder / 'coordinates.csv')
    assert list(rows[0]) == ['model', 'image', 'degradation', 'seed', 'x', 'y']
    assert len(rows) == 2 * 6 * 5 * 2  # models, crops, degradations, seeds
    assert len({row['image'] for row in rows}) == 6
    values = table(folder / 'chi.csv')
    assert [(row['model'], row['p'], row['layer'], row['space'], row['seed']) for row in values[:3]] == [
        ('p0', '0', 'B1', 't-sne', '0'), ('p0', '0', 'B1', 't-sne', '1'), ('p0', '0', 'B1', 'pca', '')]
    summary = json.loads((folder / 'summary.json').read_text(encoding='utf-8'))
    assert summary['finished']
    assert [(model['label'], model['p'], model['layer']) for model in summary['models']] == [('p0', 0, 'B1'),
                                                                                            ('p1', 0.5, 'B1')]
    assert summary['models'][0]['chi'] == pytest.approx(sum(float(row['chi']) for row in values[:2]) / 2, rel=1e-4)
    assert len(summary['crops']['x4']) == 6
    distances = table(folder / 'srga.csv')
    assert [(row['degradation'], row['reference']) for row in distances] == [
        (name, 'clean') for name in (*('clean', 'blur', 'noise', 'jpeg', 'b+n+j'), ) * 2]
    assert float(distances[0]['srga']) == float(distances[0]['divergence']) == 0
    one = summary['models'][0]
    assert list(one['srga_by_degradation'].values()) == pytest.approx(
        [float(row['srga']) for row in distances[1:5]], rel=1e-4)
    assert one['srga'] == pytest.approx(np.mean(list(one['srga_by_degradation'].values())))
    for name in ('clusters.png', 'chi_over_p.png'):
        assert Image.open(folder / name).width == 1080


def test_the_same_seed_gives_the_same_tables_in_any_batches(tool, files):
    _, one = tool('--weights', files[0], out='one')
    _, two = tool('--weights', files[0], '--batch', 7, out='two')
    _, other = tool('--weights', files[0], '--seed', 1, out='other')
    for row, again, changed in zip(*[table(folder / 'chi.csv') for folder in (one, two, other)]):
        assert float(row['chi']) == pytest.approx(float(again['chi']), rel=0.05)
        assert row['chi'] != changed['chi']
    assert not (one / 'chi_over_p.png').exists()
    _, again = tool('--weights', files[0], out='again')
    assert (again / 'coordinates.csv').read_bytes() == (one / 'coordinates.csv').read_bytes()


def test_other_layers_and_mixed_precision(tool, files):
    # Few and small samples: many CPUs only emulate bfloat16, very slowly.
    status, folder = tool('--weights', files[0], '--layer', 'last', '--amp', 'bf16', '--degradations', 'clean', 'noise')
    assert status == 0
    assert table(folder / 'chi.csv')[0]['layer'] == 'last'


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--perplexity', 30], 'perplexity'), (['--degradations', 'clean'], 'degradations'),
    (['--sample', 19], 'too small'), (['--samples', 1], 'samples'), (['--layer', 'B7'], 'B7'),
    (['--degradations', 'clean', 'rain'], 'rain'), (['--pca', 0], '--pca'), (['--tsne_seeds', 0], 'seeds'),
    (['--sample', 0], '--sample'), (['--batch', 0], '--batch'), (['--scratch', '/nowhere/at/all'], 'scratch')])
def test_mistakes_are_one_line(tool, files, capsys, arguments, message):
    status, _ = tool('--weights', files[0], *arguments)
    assert status == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith('cluster_degradations: error: ')
    assert message in error[-1]


def test_layers_are_listed_without_images(tool, files, capsys):
    status, _ = tool('--weights', files[0], '--list-layers', defaults=False)
    assert status == 0
    assert 'B1: output of body.0: 8 channels' in capsys.readouterr().out


def test_the_default_layer_is_the_last_block():
    assert default_layer(build_network({**TINY_NETWORK, 'num_block': 3})) == 'B3'


def test_layers_that_hold_windows_are_refused(tmp_path):
    from basicsr.archs.swinir_arch import SwinIR
    section = {'type': 'SwinIR', 'upscale': 4, 'img_size': 16, 'window_size': 8, 'depths': [2], 'embed_dim': 12,
               'num_heads': [2], 'mlp_ratio': 2, 'upsampler': 'pixelshuffledirect'}
    net = SwinIR(**{key: value for key, value in section.items() if key != 'type'})
    torch.save({'params': net.state_dict(), 'network_g': section}, tmp_path / 'swin.pth')
    plan = ClusterPlan('photos:val', samples=3, sample=16, perplexity=2,
                             layer='layers.0.residual_group.blocks.0.attn.qkv')
    with pytest.raises(UserError, match='holds windows of the image'):
        clusters_run.run(plan, [open_network(tmp_path / 'swin.pth')], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_batches_are_halved_however_a_device_says_that_memory_ran_out(files):
    net = open_network(files[0]).net
    sizes, kept, plain = [], [], net.forward

    def forward(x):
        sizes.append(len(x))
        if len(x) > 1:
            raise RuntimeError('MPS backend out of memory (MPS allocated: 1 GB)')
        return plain(x)

    net.forward = forward
    samples = np.zeros((2, 8, 8, 3), np.uint8)
    fill(SimpleNamespace(append=kept.append), net, samples, 'B1', torch.device('cpu'), batch=2)
    assert sizes == [2, 1, 1] and len(kept) == 2
