"""Evaluations of several seeds: each gain is over the twin of its own seed, and nothing is mixed that differs."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from reflash_sr.commands.compare_seeds import compare
from reflash_sr.commands.evaluate_degradations import Settings, evaluate
from reflash_sr.commands.read_summaries import studies_of
from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.errors import UserError
from reflash_sr.evaluation.fit_shrinkage import Control
from reflash_sr.studies.grid import load
from reflash_sr.weights.network_from_file import open_network
from tests.commands.test_evaluate_degradations import save_network
from tests.conftest import fill

STUDIES = sorted((Path(__file__).parents[2] / 'options').glob('study_*.yml'))


def network(tmp_path, p, seed, iteration=6, experiment=None, total=6):
    path = save_network(tmp_path / f'p{p}_seed{seed}_{iteration}.pth', 10 * seed + int(10 * p) + iteration, dropout_p=p)
    content = torch.load(path, weights_only=True)
    content['trained'].update(iter=iteration, manual_seed=seed, experiment=experiment or path.stem, total_iter=total)
    torch.save(content, path)
    return open_network(path)


@pytest.fixture
def measure(image_folder, tmp_path):

    def run(name, networks, names=('clean', 'b+n'), control=None, **settings):
        sets = open_sets([f'mine={image_folder}', f'again={image_folder}'], names, [], [], [], 4, 0)
        evaluate(networks, sets, tmp_path / name, Settings(strips=0, **settings), control=control)
        return tmp_path / name

    return run


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp('measured')
    fill(folder / 'images', 2, 40, 48)
    sets = open_sets([f'{name}={folder / "images"}' for name in ('mine', 'again')], ['clean'], [], [], [], 4, 0)
    evaluate([network(folder, 0, 0), network(folder, 0.3, 0)], sets, folder / 'results', Settings(strips=0))
    return folder / 'results'


def rows(path):
    with open(path, encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def test_gains_are_over_the_same_seed_at_the_same_iteration(measure, tmp_path):
    folders = [measure(f'at {iteration}', [network(tmp_path, p, seed, iteration) for p in (0, 0.3) for seed in (0, 1)])
               for iteration in (3, 6)]
    folder, text = compare(folders, tmp_path / 'out')
    found = rows(folder.path / 'gains.csv')
    groups = {'mine', 'again', 'mean of mine, again'}
    assert {(row['dataset'], row['degradation'], row['iteration']) for row in found} == {
        (group, column, iteration) for group in groups for column in ('clean', 'b+n', 'mean') for iteration in '36'}
    for row in (one for one in found if one['dataset'] == 'mine' and one['degradation'] == 'clean'):
        scores = {(one['method'], one['image']): float(one['value'])
                  for one in rows(tmp_path / f"at {row['iteration']}" / 'scores.csv')
                  if (one['dataset'], one['degradation']) == ('mine', 'clean')}
        images = {image for _, image in scores}
        wanted = [np.mean([scores[f"p0.3_seed{seed}_{row['iteration']}", image] -
                           scores[f"p0_seed{seed}_{row['iteration']}", image] for image in images]) for seed in (0, 1)]
        assert float(row['gain']) == pytest.approx(np.mean(wanted), abs=1e-4)
        assert [float(one.split(':')[1]) for one in row['by_seed'].split()] == pytest.approx(wanted, abs=1e-4)
        assert float(row['value']) - float(row['reference']) == pytest.approx(float(row['gain']), abs=2e-4)
        assert float(row['images_low']) <= float(row['gain']) <= float(row['images_high'])
    assert 'mean of mine, again: p = 0.3' in text
    assert '| mine | p = 0.3 |' in (folder.path / 'gains.md').read_text()
    assert {path.name for path in folder.path.iterdir()} == {
        'cells.md', 'gains.csv', 'gains.md', 'gains.png', 'gains_params.png', 'curve.png', 'summary.json'}


def test_the_gain_beyond_shrinkage_is_that_of_the_shrunk_rows_of_the_same_seed(measure, tmp_path):
    networks = [network(tmp_path, p, seed) for p in (0, 0.3) for seed in (0, 1)]
    folder, text = compare([measure('controlled', networks, control=Control(('halves',)))], tmp_path / 'out')
    shrunk = {(one['network'], one['way']): one['label']
              for one in json.loads((tmp_path / 'controlled' / 'summary.json').read_text())['control']}
    scores = pd.read_csv(tmp_path / 'controlled' / 'scores.csv')
    means = scores[(scores.dataset == 'mine') & (scores.degradation == 'clean')].groupby('method').value.mean()
    found = {row['method']: row for row in rows(folder.path / 'gains.csv')
             if (row['dataset'], row['degradation']) == ('mine', 'clean')}
    for way, end in (('once', ''), ('per degradation', ' per degradation')):
        label = {(p, seed): shrunk[f'p{p}_seed{seed}_6', way] for p in (0, 0.3) for seed in (0, 1)}
        beyond = np.mean([means[label[0.3, seed]] - means[label[0, seed]] for seed in (0, 1)])
        assert float(found[f'p = 0.3, beyond shrinkage{end}']['gain']) == pytest.approx(beyond, abs=1e-4)
        alone = np.mean([means[label[0, seed]] - means[f'p0_seed{seed}_6'] for seed in (0, 1)])
        assert float(found[f'p = 0, shrunk{end}']['gain']) == pytest.approx(alone, abs=1e-4)
    assert len(found) == 5 and 'p = 0.3, beyond shrinkage: ' in text


def test_seeds_whose_shrinkage_was_fitted_in_other_ways_are_refused(measure, tmp_path):
    fill(tmp_path / 'others', 2, 40, 48)
    folders = [measure(f'{seed}', [network(tmp_path, p, seed) for p in (0, 0.3)], control=Control((fit_on,)))
               for seed, fit_on in ((0, 'halves'), (1, str(tmp_path / 'others')))]
    with pytest.raises(UserError, match='fitted in another way'):
        compare(folders, tmp_path / 'out')


def test_an_evaluation_without_the_control_stands_beside_one_with_it(measure, tmp_path):
    networks = {seed: [network(tmp_path, p, seed) for p in (0, 0.3)] for seed in (0, 1, 2)}
    plain = measure('plain', networks[0])
    controlled = measure('controlled', networks[1], control=Control(('halves',)))
    for place, folders in enumerate(([plain, controlled], [controlled, plain])):
        folder, text = compare(folders, tmp_path / f'out{place}')
        seeds = {row['method']: row['seeds'] for row in rows(folder.path / 'gains.csv')}
        assert (seeds['p = 0.3'], seeds['p = 0, shrunk'], seeds['p = 0.3, beyond shrinkage']) == ('2', '1', '1')
        assert text.endswith(f'not there: the shrinkage control in {plain}')
    fill(tmp_path / 'others', 2, 40, 48)
    other = measure('other', networks[2], control=Control((str(tmp_path / 'others'),)))
    with pytest.raises(UserError, match=r'other: dataset mine: .* fitted in another way than in .*controlled;'):
        compare([plain, controlled, other], tmp_path / 'out')


def test_a_metric_without_a_better_has_no_gain(measure, tmp_path):
    both = [network(tmp_path, p, 0) for p in (0, 0.3)]
    folder, _ = compare([measure('both', both, metrics=('psnr', 'gradient'))], tmp_path / 'out')
    assert {row['metric'] for row in rows(folder.path / 'gains.csv')} == {'psnr'}


def test_trainings_of_several_lengths_are_compared_at_their_ends_only(measure, tmp_path):
    ends = [network(tmp_path, p, 0, iteration, total=iteration) for p in (0, 0.3) for iteration in (3, 6)]
    folder, _ = compare([measure('ends', ends)], tmp_path / 'out')
    assert {row['iteration'] for row in rows(folder.path / 'gains.csv')} == {'3', '6'}
    half_way = [network(tmp_path, p, 0, 5, total=9) for p in (0, 0.3)]
    with pytest.raises(UserError, match='p0_seed0_5: is iteration 5 of a training of 9, '):
        compare([tmp_path / 'ends', measure('half-way', half_way)], tmp_path / 'out2')


def test_what_is_not_there_is_said_and_left_out(measure, tmp_path):
    folder, text = compare([measure('one', [network(tmp_path, *of) for of in ((0, 0), (0.3, 0), (0.3, 1), (0.5, 0))])],
                           tmp_path / 'out')
    assert {(row['method'], row['seeds']) for row in rows(folder.path / 'gains.csv')} == {
        ('p = 0.3', '1'), ('p = 0.5', '1')}
    assert text.count('not there: ') == 2
    assert 'not there: p = 0, seed 1, iteration 6, params' in text
    assert json.loads((folder.path / 'summary.json').read_text())['missing'] == text.splitlines()[-2:]
    cells = (folder.path / 'cells.md').read_text(encoding='utf-8').splitlines()
    assert cells[0] == '| evaluated at iteration | seed 0 | seed 1 |'
    assert cells[2:] == ['| p = 0 | 6 | – |', '| p = 0.3 | 6 | 6 |', '| p = 0.5 | 6 | – |']


def test_sets_may_come_from_several_evaluations(measure, tmp_path):
    both = [network(tmp_path, p, 0) for p in (0, 0.3)]
    folder, _ = compare([measure('plain', both[:1]), measure('dropped', both[1:])], tmp_path / 'apart')
    other, _ = compare([measure('both', both)], tmp_path / 'together')
    assert (folder.path / 'gains.csv').read_text() == (other.path / 'gains.csv').read_text()


def test_a_network_that_lacks_a_set_counts_where_it_was_measured(image_folder, tmp_path):
    both = [network(tmp_path, p, 0) for p in (0, 0.3)]
    more = [network(tmp_path, 0.3, 1), network(tmp_path, 0, 1)]
    for name, networks, sets in (('a', both, ['one', 'two']), ('b', more, ['two'])):
        evaluate(networks, open_sets([f'{one}={image_folder}' for one in sets], ['clean'], [], [], [], 4, 0),
                 tmp_path / name, Settings(strips=0))
    folder, _ = compare([tmp_path / 'a', tmp_path / 'b'], tmp_path / 'out')
    assert {(row['dataset'], row['seeds']) for row in rows(folder.path / 'gains.csv')} == {
        ('one', '1'), ('two', '2'), ('mean of one, two', '1')}


def test_what_is_covered_unevenly_is_compared_as_far_as_it_goes(image_folder, tmp_path):
    def measure(name, networks, sets):
        evaluate(networks, open_sets([f'{one}={image_folder}' for one in sets], ['clean'], [], [], [], 4, 0),
                 tmp_path / name, Settings(strips=0))
        return tmp_path / name

    early = measure('early', [network(tmp_path, p, 0, 3) for p in (0, 0.3)], ['one', 'two'])
    late = measure('late', [network(tmp_path, p, 0, 6) for p in (0, 0.3)], ['one'])
    lone = measure('lone', [network(tmp_path, 0.5, 0, 3)], ['two'])
    folder, text = compare([early, late, lone], tmp_path / 'out')
    assert {(row['iteration'], row['dataset'], row['method']) for row in rows(folder.path / 'gains.csv')} == {
        *(('3', one, 'p = 0.3') for one in ('one', 'two', 'mean of one, two')), ('3', 'two', 'p = 0.5'),
        ('6', 'one', 'p = 0.3')}
    assert (folder.path / 'gains.png').is_file()
    assert text.splitlines()[-3:] == [
        'not there: p = 0.5, seed 0, iteration 3, params on one', 'not there: any network, iteration 6, params on two',
        'not there: p = 0.5, seed 0, iteration 6, params']
    folder, text = compare([measure('dropped', [network(tmp_path, 0.3, 1, i) for i in (3, 6)], ['one']),
                            measure('plain', [network(tmp_path, 0, 1, 6)], ['one'])], tmp_path / 'no twin at 3')
    assert 'not there: p = 0, seed 1, iteration 3, params' in text.splitlines()


def test_dropout_that_the_options_leave_to_the_class_is_dropout(tmp_path, measure):
    path = save_network(tmp_path / 'usual.pth', dropout_p=0.7)
    content = torch.load(path, weights_only=True)
    del content['network_g']['dropout_p']
    content['trained'].update(iter=6, manual_seed=0)
    torch.save(content, path)
    opened = open_network(path)
    assert (opened.dropout_p, opened.known_p) == (0.7, 0.7)
    folder, _ = compare([measure('a', [network(tmp_path, 0, 0), opened])], tmp_path / 'out')
    assert {row['method'] for row in rows(folder.path / 'gains.csv')} == {'p = 0.7'}


@pytest.mark.parametrize('change', [{'num_feat': 12}, {'num_block': 2}])
def test_networks_of_another_kind_are_no_twins(measure, tmp_path, change):
    path = save_network(tmp_path / 'other.pth', dropout_p=0.3, **change)
    content = torch.load(path, weights_only=True)
    content['trained'].update(iter=6, manual_seed=0)
    torch.save(content, path)
    with pytest.raises(UserError, match='differ only in dropout, seed and iteration'):
        compare([measure('a', [network(tmp_path, 0, 0), open_network(path)])], tmp_path / 'out')


@pytest.mark.parametrize('file', STUDIES, ids=lambda path: path.stem)
def test_networks_of_a_study_are_known_by_their_experiments(file):
    study = load(file, 2)
    found = [studies_of({'network_g': cell.options['network_g'],
                         'dropout_p': cell.options['network_g'].get('dropout_p', 0),
                         'trained': {'manual_seed': cell.seed, 'experiment': cell.experiment}}) for cell in study.cells]
    # A cell of a preset is called after it alone; what it was trained with is in its record.
    assert study.name in set.intersection(*found) or ('preset' in study.axes and not set.union(*found))


def test_networks_of_two_studies_are_not_compared(measure, tmp_path):
    networks = [network(tmp_path, 0, 0, experiment='cpu_p0_seed0'),
                network(tmp_path, 0.3, 0, experiment='cpu_no_usm_p0.3_seed0')]
    with pytest.raises(UserError, match=r'cpu_no_usm_p0\.3_seed0: is of the study cpu_no_usm, but others are of cpu;'):
        compare([measure('a', networks)], tmp_path / 'out')


def test_bicubic_that_differs_is_refused(measure, tmp_path):
    folders = [measure(f'at_{p}', [network(tmp_path, p, 0)]) for p in (0, 0.3)]
    scores = folders[1] / 'scores.csv'
    lines = scores.read_text(encoding='utf-8').splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if 'bicubic' in line)
    head, value = lines[place].rstrip('\n').rsplit(',', 1)
    lines[place] = f'{head},{float(value) + 1}\n'
    scores.write_text(''.join(lines), encoding='utf-8')
    with pytest.raises(UserError, match=r'at_0\.3: bicubic interpolation has .* elsewhere'):
        compare(folders, tmp_path / 'out')


BAD = {
    'nothing': (lambda run, net: ['.'], 'holds no results'),
    'twice': (lambda run, net: [run('a', [net(0, 0), net(0.3, 0)]), run('b', [net(0, 0)])], 'is also in'),
    'other border': (lambda run, net: [run('a', [net(0, 0)]), run('b', [net(0.3, 0)], crop_border=0)],
                     'crop_border is 0, but 4 in'),
    'other degradations': (lambda run, net: [run('a', [net(0, 0)]), run('b', [net(0.3, 0)], names=('clean',))],
                           'holds other images or degradations'),
    'no twin': (lambda run, net: [run('a', [net(0.3, 0), net(0, 1)])], 'no network with dropout has a counterpart'),
}


@pytest.mark.parametrize(('make', 'message'), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(make, message, measure, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        compare(make(measure, lambda p, seed: network(tmp_path, p, seed)), tmp_path / 'out')
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'out').exists()


def test_interrupted_and_unsaid(measure, tmp_path):
    folder = measure('a', [network(tmp_path, 0, 0), network(tmp_path, 0.3, 0)])
    summary = json.loads((folder / 'summary.json').read_text())
    (folder / 'summary.json').write_text(json.dumps({**summary, 'finished': False}))
    with pytest.raises(UserError, match='was interrupted'):
        compare([folder], tmp_path / 'out')
    (folder / 'summary.json').write_text(json.dumps(summary)[:100])
    with pytest.raises(UserError, match=r'summary.json: is not as one of the tools writes it .*; evaluate again'):
        compare([folder], tmp_path / 'out')
    summary['settings']['networks'][0]['trained'].pop('manual_seed')
    (folder / 'summary.json').write_text(json.dumps(summary))
    with pytest.raises(UserError, match='does not say its manual_seed'):
        compare([folder], tmp_path / 'out')


def change(path, text):
    def work(summary, scores):
        target = summary
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = text
    return work


SECOND = ('settings', 'networks', 1)
DAMAGE = {
    'settings': (change(['settings'], []), 'summary.json: is not as'),
    'no networks': (change(['settings', 'networks'], None), 'summary.json: is not as'),
    'no images': (lambda summary, scores: summary['settings']['sets'][0].pop('pictures'), 'is not as'),
    'no amp': (lambda summary, scores: summary['settings'].pop('amp'), 'is not as'),
    'p': (change(['settings', 'networks', 0, 'dropout_p'], 'x'), 'is not as'),
    'network_g': (change(['settings', 'networks', 0, 'network_g'], None), 'is not as'),
    'seed': (change(['settings', 'networks', 0, 'trained', 'manual_seed'], True), 'does not say its manual_seed'),
    'key': (change(['settings', 'networks', 0, 'key'], '../../x'), 'is not as'),
    'a row less': (lambda summary, scores: scores.pop(7), 'the score of .* is missing; evaluate again'),
    'no rows': (lambda summary, scores: scores.__delitem__(slice(1, None)), 'is missing'),
    'a row twice': (lambda summary, scores: scores.__setitem__(7, scores[8]), 'occurs twice'),
    'nan': (lambda summary, scores: scores.__setitem__(7, scores[7].rsplit(',', 1)[0] + ',nan'), 'is missing'),
    'torn': (lambda summary, scores: scores.__setitem__(7, scores[7][:20]), 'is damaged .a line is incomplete'),
    'p that does not fit': (change([*SECOND, 'dropout_p'], 0.5), 'dropout_p is 0.5, but 0.3 in network_g'),
    'negative p': (change([*SECOND, 'dropout_p'], -0.3), 'dropout_p must be a probability'),
    'negative seed': (change([*SECOND, 'trained', 'manual_seed'], -1), 'does not say its manual_seed'),
    'no network': (change(['settings', 'networks'], []), 'networks: none'),
    'no set': (change(['settings', 'sets'], []), 'sets: none'),
    'fewer images': (change(['settings', 'sets', 0, 'pictures'], 1), 'has 2 images of mine, but summary.json says'),
    'degradations': (change(['settings', 'sets', 0, 'degradations'], [['clean']]), 'must be a list of names'),
    'metric': (change(['settings', 'metrics'], ['foo']), 'metrics must be a list of'),
    'one file twice': (lambda summary, scores: summary['settings']['networks'][1].update(
        sha256=summary['settings']['networks'][0]['sha256']), 'has the weights file of'),
    'two scores': (lambda summary, scores: scores.append(scores[-1][:-1] + '9'), 'occurs twice'),
    'minus infinity': (lambda summary, scores: scores.__setitem__(7, scores[7].rsplit(',', 1)[0] + ',-inf'), 'missing'),
    'another method': (lambda summary, scores: scores.append('x' + scores[-1]), 'does not belong here'),
    'a new name': (lambda summary, scores: scores.append(scores[-1].replace('again', 'third')), 'does not belong here'),
}


def test_names_that_differ_between_evaluations_are_other_images(measure, tmp_path):
    folders = [measure(f'at_{p}', [network(tmp_path, p, 0)]) for p in (0, 0.3)]
    scores = folders[1] / 'scores.csv'
    scores.write_text(scores.read_text(encoding='utf-8').replace(',a 1,', ',a 9,'), encoding='utf-8')
    with pytest.raises(UserError, match='dataset mine: holds other images'):
        compare(folders, tmp_path / 'out')


def test_a_mean_over_sets_needs_all_of_them(measured, tmp_path):
    shutil.copytree(measured, tmp_path / 'endless')
    scores = tmp_path / 'endless/scores.csv'
    lines = [line.rsplit(',', 1)[0] + ',inf' if line.startswith('p0.3_seed0_6,again') else line
             for line in scores.read_text(encoding='utf-8').splitlines()]
    scores.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    folder, _ = compare([tmp_path / 'endless'], tmp_path / 'out')
    assert {row['dataset'] for row in rows(folder.path / 'gains.csv')} == {'mine'}


def test_a_network_without_some_of_the_sets_is_there_in_part(image_folder, tmp_path):
    for name, seed, sets in (('whole', 0, ('one', 'two')), ('part', 1, ('two',))):
        evaluate([network(tmp_path, p, seed) for p in (0, 0.3)],
                 open_sets([f'{one}={image_folder}' for one in sets], ['clean'], [], [], [], 4, 0), tmp_path / name,
                 Settings(strips=0))
    folder, _ = compare([tmp_path / 'whole', tmp_path / 'part'], tmp_path / 'out')
    cells = (folder.path / 'cells.md').read_text(encoding='utf-8').splitlines()
    assert cells[2:] == ['| p = 0 | 6 | 6 (in part) |', '| p = 0.3 | 6 | 6 (in part) |']


@pytest.mark.parametrize(('damage', 'message'), DAMAGE.values(), ids=DAMAGE)
def test_damaged_results_are_one_line(damage, message, measured, tmp_path):
    summary = json.loads((measured / 'summary.json').read_text())
    scores = (measured / 'scores.csv').read_text().splitlines()
    damage(summary, scores)
    folder = tmp_path / 'damaged'
    folder.mkdir()
    (folder / 'summary.json').write_text(json.dumps(summary))
    (folder / 'scores.csv').write_text('\n'.join(scores) + '\n')
    with pytest.raises(UserError, match=message) as error:
        compare([folder], tmp_path / 'out')
    assert '\n' not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {'damaged'}
