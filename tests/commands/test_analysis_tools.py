"""The tools that look into networks: what they write, and what they refuse in one line."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from reflash_sr.analysis.ablation import Ablation
from reflash_sr.analysis.psnr import Target
from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.commands import ablate_channels, cluster_degradations, map_attribution, map_saliency
from reflash_sr.commands.analysis_inputs import folder_names, mean
from tests.conftest import smooth_image

CHANNELS = 8


@pytest.fixture
def weights(tmp_path):
    """Two networks; the second says nothing of itself."""
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        net = DropoutMSRResNet(num_feat=CHANNELS, num_block=2)
        paths.append(str(tmp_path / f'net {seed}.pth'))
        torch.save({'params': net.state_dict()}, paths[-1])
    return paths


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for seed, size in enumerate(((48, 64), (47, 41), (40, 40))):
        Image.fromarray(smooth_image(seed, *size)).save(folder / f'{seed}.png')
    return str(folder)


def call(monkeypatch, tool, *arguments):
    monkeypatch.setattr(sys, 'argv', ['tool', *map(str, arguments), *([] if '--list-layers' in arguments else
                                                                      ['--device', 'cpu'])])
    return tool.main()


def table(path):
    with open(path, encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def summary(folder):
    return json.loads((folder / 'summary.json').read_text(encoding='utf-8'))


def test_ablation(monkeypatch, tmp_path, weights, images):
    out = tmp_path / 'out'
    assert call(monkeypatch, ablate_channels, '--weights', *weights, '--images', images, '--limit', 2, '--layer',
                'B1', 'last', '--orders', 'index', 'random', 'most-important-first', '--random_orders', 2, '--out',
                out) == 0
    for name in ('net_0', 'net_1'):
        single, in_turn = table(out / name / 'single.csv'), table(out / name / 'in_turn.csv')
        assert list(single[0]) == ['image', 'layer', 'channel', 'psnr_db', 'drop_db']
        assert list(in_turn[0]) == ['image', 'layer', 'order', 'removed', 'psnr_db', 'drop_db']
        assert len(single) == 2 * 2 * CHANNELS
        assert len(in_turn) == 2 * 2 * 4 * (CHANNELS + 1)
        assert {row['order'] for row in in_turn} == {'index', 'random:0', 'random:1', 'most-important-first'}
        assert all(float(row['drop_db']) == 0 for row in in_turn if row['removed'] == '0')
        assert {path.name for path in (out / name).glob('*.png')} == {'features_B1.png', 'features_last.png'}
    assert {path.name for path in out.glob('*.png')} == {'in_turn_B1.png', 'in_turn_last.png', 'single_B1.png',
                                                        'single_last.png'}
    result = summary(out)
    assert result['finished'] and result['images'] == ['0', '1']
    layer = result['models'][1]['layers'][1]
    assert layer['closed_form'] and layer['channels'] == CHANNELS and 0 <= layer['gini'] <= 1
    assert set(layer['share_1db']) == {'index', 'random', 'most-important-first'}


def test_all_layers_of_one_model(monkeypatch, tmp_path, weights, images):
    out = tmp_path / 'out'
    assert call(monkeypatch, ablate_channels, '--weights', weights[0], '--images', images, '--crop', 8, '--limit', 1,
                '--layer', 'all', '--orders', '--degradation', 'b+n', '--batch', 3, '--out', out) == 0
    assert [layer['layer'] for layer in summary(out)['models'][0]['layers']] == ['first', 'B1', 'B2', 'hr', 'last']
    assert (out / 'layers.png').is_file()
    again = tmp_path / 'again'
    assert call(monkeypatch, ablate_channels, '--weights', weights[0], '--images', images, '--crop', 8, '--limit', 1,
                '--layer', 'all', '--orders', '--degradation', 'b+n', '--batch', 3, '--no_closed_form', '--out',
                again) == 0
    for one, other in zip(table(out / 'net_0/single.csv'), table(again / 'net_0/single.csv')):
        assert float(one['psnr_db']) == pytest.approx(float(other['psnr_db']), abs=0.01)


def test_saliency(monkeypatch, tmp_path, weights, images):
    out = tmp_path / 'out'
    assert call(monkeypatch, map_saliency, '--weights', *weights, '--images', images, '--limit', 2, '--crop', 8,
                '--layer', 'body.1', 'last', '--channels', 4, '--out', out) == 0
    scores = table(out / 'net_0/scores.csv')
    assert list(scores[0]) == ['image', 'layer', 'channel', 'score', 'drop_db']
    assert len(scores) == 2 * 2 * CHANNELS
    assert {path.name for path in out.rglob('*.png')} == {'models_body.1.png', 'models_last.png', '0_body.1.png',
                                                         '0_last.png'}
    layer = summary(out)['models'][0]['layers'][0]
    assert layer['layer'] == 'body.1' and -1 <= layer['rank_correlation'] <= 1


def test_saliency_without_ablation(monkeypatch, tmp_path, weights, images):
    out = tmp_path / 'out'
    assert call(monkeypatch, map_saliency, '--weights', weights[0], '--images', images, '--no_correlation',
                '--sheets', 0, '--crop', 8, '--out', out) == 0
    assert not list(out.rglob('*.png'))
    assert summary(out)['models'][0]['layers'][0]['rank_correlation'] is None
    assert table(out / 'net_0/scores.csv')[0]['drop_db'] == ''


FEW = ('--window', '8', '--steps', '2')


def test_attribution(monkeypatch, capsys, tmp_path, weights, images):
    out = tmp_path / 'out'
    assert call(monkeypatch, map_attribution, '--weights', *weights, '--images', images, '--degradation', 'b+n', *FEW,
                '--sheets', 2, '--out', out) == 0
    rows = table(out / 'scores.csv')
    assert [(row['network'], row['image']) for row in rows] == [(f'net {net}', str(image)) for net in (0, 1)
                                                               for image in (0, 1, 2)]
    assert [rows[0][key] for key in ('top', 'left', 'side')] == [rows[3][key] for key in ('top', 'left', 'side')]
    assert all(0 < float(row['diffusion_index']) < 100 for row in rows)
    assert {path.name for path in out.rglob('*.png')} == {'attribution_0.png', 'attribution_1.png'}
    result = summary(out)
    model = result['models'][1]
    assert result['finished'] and result['settings']['steps'] == 2
    assert model['label'] == 'net 1' and model['diffusion_index_by_image'] == pytest.approx(
        [float(row['diffusion_index']) for row in rows[3:]], abs=1e-4)
    assert model['diffusion_index'] == pytest.approx(mean(model['diffusion_index_by_image']))
    assert model['std'] == pytest.approx(np.std(model['diffusion_index_by_image'], ddof=1))
    assert 'net 1: diffusion index' in capsys.readouterr().out


def test_attribution_of_a_chosen_window(monkeypatch, tmp_path, weights, images):
    out = tmp_path / 'out'
    assert call(monkeypatch, map_attribution, '--weights', weights[0], '--images', images, *FEW, '--limit', 1, '--at',
                3, 20, '--sheets', 0, '--out', out) == 0
    [row] = table(out / 'scores.csv')
    assert [row[key] for key in ('top', 'left', 'side')] == ['3', '20', '8']
    assert summary(out)['models'][0]['std'] is None and not list(out.rglob('*.png'))


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--degradation', 'blurr'], 'blur'),
    (['--limit', '0'], '--limit: 0; give 1 or more'),
    (['--images', 'nowhere'], 'nowhere: no such folder'),
    (['--window', '48'], '0: window: 48×48 px at row 0, column 0 is not inside the SR image of 64×48 px'),
    (['--window', '0'], 'window: 0×0 px'),
    (['--at', '0', '60'], '0: window: 16×16 px at row 0, column 60 is not inside'),
    (['--steps', '0'], '0 steps'),
    (['--sigma', '-1'], 'sigma -1.0'),
])
def test_mistakes_of_attribution(monkeypatch, capsys, tmp_path, weights, images, arguments, message):
    test_mistakes(monkeypatch, capsys, tmp_path, weights, images, map_attribution, arguments, message)


@pytest.mark.parametrize('tool', [ablate_channels, map_saliency, cluster_degradations])
def test_list_layers(monkeypatch, capsys, weights, tool):
    assert call(monkeypatch, tool, '--weights', weights[0], '--list-layers') == 0
    assert 'B2: output of body.1: 8 channels of 48×48' in capsys.readouterr().out


@pytest.mark.parametrize('tool', [ablate_channels, map_saliency])
@pytest.mark.parametrize(('arguments', 'message'), [
    (['--layer', 'B3'], "no layer 'B3'"),
    (['--layer', 'lats'], "did you mean 'last'"),
    (['--layer', 'body.0.conv1', 'pixel_shuffl'], "did you mean 'pixel_shuffle'"),
    (['--degradation', 'blurr'], 'blur'),
    (['--limit', '0'], '--limit: 0; give 1 or more'),
    (['--crop', '-4'], '--crop: -4'),
    (['--images', 'nowhere'], 'nowhere: no such folder'),
    (['--weights', 'nothing.pth'], 'nothing.pth'),
])
def test_mistakes(monkeypatch, capsys, tmp_path, weights, images, tool, arguments, message):
    out = tmp_path / 'out'
    assert call(monkeypatch, tool, '--weights', weights[0], '--images', images, '--out', out, *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and error.count('\n') == 0
    assert not out.exists()


def test_mistakes_of_ablation(monkeypatch, capsys, tmp_path, weights, images):
    for arguments, message in ((['--orders', 'indx'], "did you mean 'index'"), (['--batch', 0], '--batch: 0'),
                               (['--random_orders', 0], '--random_orders: 0')):
        assert call(monkeypatch, ablate_channels, '--weights', weights[0], '--images', images, '--out',
                    tmp_path / 'out', *arguments) == 2
        assert message in capsys.readouterr().err


def test_what_is_written_is_what_was_measured(monkeypatch, tmp_path, weights, images):
    monkeypatch.setattr(Ablation, 'single', lambda self, progress: np.full(CHANNELS, 40.0))
    monkeypatch.setattr(Target, 'psnr', lambda self, images: np.full(len(images), np.inf))
    assert call(monkeypatch, ablate_channels, '--weights', weights[0], '--images', images, '--out', tmp_path / 'out',
                '--orders') == 0
    assert {(row['psnr_db'], row['drop_db']) for row in table(tmp_path / 'out/net_0/single.csv')} == {
        ('40.0000', 'inf')}


def test_folder_names():
    assert folder_names(['a b', 'a_b', 'A/b', '..', 'p=0.5']) == ['a_b', 'a_b_2', 'A_b_3', 'model', 'p=0.5']


def test_mean():
    assert mean([1, None, 3, float('inf')]) == 2
    assert mean([None]) is None


def test_networks_that_overflow_are_refused(monkeypatch, tmp_path, images, capsys):
    torch.manual_seed(0)
    net = DropoutMSRResNet(num_feat=CHANNELS, num_block=2)
    torch.save({'params': {name: value * 1e12 for name, value in net.state_dict().items()}}, tmp_path / 'huge.pth')
    for tool, arguments in ((ablate_channels, ('--layer', 'last')), (map_saliency, ()), (map_attribution, FEW)):
        found = call(monkeypatch, tool, '--weights', tmp_path / 'huge.pth', '--images', images, *arguments,
                     '--out', tmp_path / tool.TOOL)
        assert found == 2
        assert 'finite' in capsys.readouterr().err
        assert not list((tmp_path / tool.TOOL).rglob('*.csv'))


def test_names_that_mean_something_elsewhere(monkeypatch, tmp_path, weights, images):
    labels = ['$a_{$', 'summary.json']
    assert call(monkeypatch, map_attribution, '--weights', *weights, '--labels', *labels, '--images', images, *FEW,
                '--out', tmp_path / 'attribution') == 0
    for tool in (ablate_channels, map_saliency):
        assert call(monkeypatch, tool, '--weights', *weights, '--labels', *labels, '--images', images, '--layer',
                    'last', '--limit', '1', '--out', tmp_path / tool.TOOL) == 0
    assert call(monkeypatch, ablate_channels, '--weights', *weights, '--labels', 'a', 'b\x1b[31m', '--images', images,
                '--out', tmp_path / 'other') == 2


def test_sheets_of_images_with_like_names_are_all_there(monkeypatch, tmp_path, weights):
    (tmp_path / 'alike').mkdir()
    for name in ('a b', 'a_b', 'x' * 200):
        Image.fromarray(smooth_image(0, 24, 24)).save(tmp_path / 'alike' / f'{name}.png')
    assert call(monkeypatch, map_attribution, '--weights', weights[0], '--images', tmp_path / 'alike', *FEW, '--sheets',
                '9', '--out', tmp_path / 'attribution') == 0
    assert len(list((tmp_path / 'attribution').glob('attribution_*.png'))) == 3
    out = tmp_path / 'out'
    assert call(monkeypatch, map_saliency, '--weights', weights[0], '--images', tmp_path / 'alike', '--sheets', '9',
                '--out', out) == 0
    assert len(list(out.rglob('*_last.png'))) == 3
