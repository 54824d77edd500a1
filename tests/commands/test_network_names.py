"""Networks of one study are called after what they differ in; all others keep their names."""

import argparse
from pathlib import Path

import pytest
import torch

from reflash_sr.commands.arguments import add_network_arguments, open_networks, pairs_of
from reflash_sr.commands.evaluate_degradations import Settings, evaluate
from reflash_sr.commands.notebook_inputs import open_all
from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.evaluation.comparison import baselines_of
from reflash_sr.studies.grid import text_of
from reflash_sr.weights.network_from_file import open_network
from tests.commands.test_evaluate_degradations import save_network

BUNDLED = sorted((Path(__file__).parents[2] / 'docs' / 'evidence' / 'weights').glob('*.pth'))


def labels_of(paths, *more):
    parser = argparse.ArgumentParser()
    add_network_arguments(parser)
    return [one.label for one in open_networks(parser.parse_args(['--weights', *map(str, paths), *more]))]


@pytest.fixture
def saved(tmp_path):
    """Saves a network of a study; ``options`` is its record."""

    def save(p, seed=0, iteration=6, study='study', options=None, ema=False, **changes):
        place = len([*tmp_path.glob('*.pth')])
        path = save_network(tmp_path / f'{place}.pth', place, dropout_p=p, **changes)
        content = torch.load(path, weights_only=True)
        parts = [text_of(value) for key, value in changes.items()
                 if key.startswith('dropout_') and not isinstance(value, dict)]
        content['trained'].update(iter=iteration, manual_seed=seed, experiment='_'.join(
            [study, *parts, f'p{p}', f'seed{seed}']), **({} if options is None else {'options': options}))
        torch.save(content | ({'params_ema': content['params']} if ema else {}), path)
        return path

    return save


def test_the_bundled_networks():
    assert labels_of(BUNDLED) == ['p = 0.7', 'p = 0']
    assert [one.label for one in open_all([str(path) for path in BUNDLED])] == ['p = 0.7', 'p = 0']


@pytest.mark.parametrize(('networks', 'names'), [
    ([{'p': 0}, {'p': 0.3}, {'p': 0.7}], ['p = 0', 'p = 0.3', 'p = 0.7']),
    ([{'p': 0}, {'p': 0.3, 'dropout_dim': 'element'}, {'p': 0.3}], ['p = 0', 'p = 0.3, element', 'p = 0.3']),
    ([{'p': 0}, {'p': 0.3}, {'p': 0.3, 'dropout_noise': 'sign', 'dropout_dim': 'element'},
      {'p': 0.3, 'dropout_blend': 0.5}], ['p = 0', 'p = 0.3', 'p = 0.3, sign, element', 'p = 0.3, blend 0.5']),
    ([{'p': 0}, {'p': 0.3, 'dropout_schedule': {'type': 'layers', 'every': 5}}], ['p = 0', 'p = 0.3, layers every 5']),
    ([{'p': 0}, {'p': 0.3, 'dropout_position': 'B1'}], ['p = 0', 'p = 0.3, B1']),
    ([{'p': 0}, {'p': 0.3, 'dropout_position': ['last-conv', 'B1']}], ['p = 0', 'p = 0.3, last-conv+B1']),
    ([{'p': 0, 'seed': 1}, {'p': 0.3, 'seed': 1}], ['p = 0', 'p = 0.3']),
    ([{'p': 0}, {'p': 0.3}, {'p': 0.3, 'seed': 1}], ['p = 0, seed 0', 'p = 0.3, seed 0', 'p = 0.3, seed 1']),
    ([{'p': 0}, {'p': 0.3, 'iteration': 3}], ['p = 0 @6', 'p = 0.3 @3']),
    ([{'p': 0, 'options': {'amp': 1}}, {'p': 0.3, 'options': {'amp': 1}, 'study': 'study'}], ['p = 0', 'p = 0.3'])])
def test_networks_of_one_study(saved, networks, names):
    assert labels_of([saved(**one) for one in networks]) == names


@pytest.mark.parametrize('networks', [
    [{'p': 0}],
    [{'p': 0.3}, {'p': 0.3, 'seed': 1}],  # which say nothing of dropout
    [{'p': 0, 'study': 'one'}, {'p': 0.3, 'study': 'another'}],
    [{'p': 0, 'num_feat': 12}, {'p': 0.3}],
    [{'p': 0, 'options': {'datasets:train:gt_usm': True}}, {'p': 0.3, 'options': {'datasets:train:gt_usm': False}}],
    [{'p': 0}, {'p': 0.3}, {'p': 0.3}]])
def test_others_keep_their_names(saved, networks):
    paths = [saved(**one) for one in networks]
    assert not any('p = ' in label for label in labels_of(paths))
    assert [label.split(' @')[0] for label in labels_of(paths)] == [open_network(path).label for path in paths]


def test_files_of_other_projects_keep_their_names(saved, tmp_path):
    content = torch.load(saved(0.3), weights_only=True)
    torch.save(content['params'], tmp_path / 'bare.pth')
    assert labels_of([saved(0), tmp_path / 'bare.pth']) == ['study_p0_seed0', 'bare']


def test_names_that_were_chosen_are_kept(saved):
    paths = [saved(0), saved(0.3)]
    assert labels_of(paths, '--labels', 'a', 'b') == ['a', 'b']
    assert [one.label for one in open_all({'a': paths[0], 'b': paths[1]})] == ['a', 'b']
    assert [one.label for one in open_all([open_network(paths[0], label='a'), paths[1]])] == ['a', 'study_p0.3_seed0']
    assert [one.label for one in open_all([open_network(path) for path in paths])] == ['p = 0', 'p = 0.3']


def test_both_kinds_of_weights(saved):
    assert labels_of([saved(0, ema=True), saved(0.3, ema=True)], '--param_key', 'both') == [
        'p = 0 [params]', 'p = 0 [params_ema]', 'p = 0.3 [params]', 'p = 0.3 [params_ema]']


def test_the_names_serve_as_baselines_and_as_files(saved, image_folder, tmp_path):
    networks = open_all([saved(0), saved(0.3)])
    given = pairs_of(['p = 0.3=p = 0'], {one.label for one in networks}, '--baseline')
    assert given == baselines_of(networks, None) == {'p = 0.3': 'p = 0'}
    sets = open_sets([f'mine={image_folder}'], ['clean'], [], [], [], 4, 0)
    text = evaluate(networks, sets, tmp_path / 'out', Settings(save_images=True))
    assert 'p = 0.3 over p = 0: ' in text
    assert {path.name for path in (tmp_path / 'out' / 'images').iterdir()} == {'p_=_0', 'p_=_0.3'}
