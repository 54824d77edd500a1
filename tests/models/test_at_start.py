"""val: at_start: a validation before the first step, and its row in every later table."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from reflash_sr import cli
from reflash_sr.options.known_keys import WITHOUT_EFFECT
from reflash_sr.studies import grid, results
from tests import forked
from tests.training.test_resume import wait_for

pytestmark = pytest.mark.usefixtures('in_tmp_path')
TABLES = Path('experiments/tiny/validation')


def train(options, *more, **val):
    options['val'] |= val
    Path('x.yml').write_text(yaml.safe_dump(options), encoding='utf-8')
    return cli.main(['train', '-opt', 'x.yml', *more])


def table(iteration, folder=TABLES):
    return pd.read_csv(folder / f'iter_{iteration}.csv')


def rows(iteration, method, folder=TABLES):
    found = table(iteration, folder)
    return found[found.method == method].drop(columns='method').reset_index(drop=True)


def log():
    return ''.join(path.read_text(encoding='utf-8') for path in sorted(Path('experiments/tiny').glob('train*.log')))


def test_every_later_table_has_start_network_and_bicubic(training_options):
    assert train(training_options, at_start=True) == 0
    assert list(dict.fromkeys(table(0).method)) == ['network', 'bicubic']
    for iteration in (3, 6):
        assert list(dict.fromkeys(table(iteration).method)) == ['start', 'network', 'bicubic']
        assert rows(iteration, 'start').equals(rows(0, 'network'))
        assert rows(iteration, 'bicubic').equals(rows(0, 'bicubic'))
    assert not rows(6, 'network').equals(rows(6, 'start'))
    text = log()
    assert text.index('Validation, iteration 0,') < text.index('Start training')
    assert [line.split()[1] for line in text[text.index('Validation, iteration 6,'):].splitlines()[3:6]] == [
        'start', 'network', 'bicubic']


def test_rows_of_several_datasets_stand_together(training_options):
    training_options['datasets']['val_2'] = {**training_options['datasets']['val'], 'degradations': ['jpeg']}
    assert train(training_options, at_start=True) == 0
    pairs = list(dict.fromkeys(zip(table(6).dataset, table(6).method)))
    assert pairs == [(name, method) for name in ('val', 'val_2') for method in ('start', 'network', 'bicubic')]


def test_it_measures_the_weights_that_training_begins_with_and_changes_nothing(training_options):
    assert train(training_options) == 0
    wanted = torch.load('experiments/tiny/models/net_g_6.pth', weights_only=True)
    without = table(6)
    weights = 'experiments/tiny/models/net_g_6.pth'
    training_options['path'] = {'pretrain_network_g': weights, 'param_key_g': 'params_ema'}
    assert train({**training_options, 'name': 'next'}, at_start=True) == 0
    assert rows(0, 'network', Path('experiments/next/validation')).equals(
        without[without.method == 'network'].drop(columns='method').reset_index(drop=True))
    del training_options['path']
    assert train(training_options, at_start=True) == 0
    forked.assert_same({key: wanted[key] for key in ('params', 'params_ema')}, {
        key: torch.load('experiments/tiny/models/net_g_6.pth', weights_only=True)[key]
        for key in ('params', 'params_ema')})
    assert all(WITHOUT_EFFECT.fullmatch(f'val:{key}') for key in ('at_start', 'strips', 'strip_degradations'))


def test_the_best_weights_are_those_of_a_training_step(training_options):
    training_options['train']['optim_g']['lr'] = 0.3  # every step makes it worse
    assert train(training_options, at_start=True, keep_best=True) == 0
    start, later = (rows(iteration, 'network').value.mean() for iteration in (0, 6))
    best = torch.load('experiments/tiny/models/net_g_best_psnr.pth', weights_only=True)['trained']
    assert best['iter'] in (3, 6)
    assert later < start


def test_after_a_resume_the_start_is_that_of_the_first_run(training_options):
    training_options['train']['total_iter'] = 3
    assert train(training_options, at_start=True) == 0
    before = (TABLES / 'iter_0.csv').read_bytes()
    training_options['train']['total_iter'] = 6
    assert train(training_options, '--auto_resume') == 0
    assert (TABLES / 'iter_0.csv').read_bytes() == before
    assert rows(6, 'start').equals(rows(0, 'network'))
    assert log().count('Validation, iteration 0,') == 1


def test_a_run_that_began_without_it_says_why_there_is_no_start(training_options):
    training_options['train']['total_iter'] = 3
    assert train(training_options) == 0
    training_options['train']['total_iter'] = 6
    assert train(training_options, '--auto_resume', at_start=True) == 0
    assert list(dict.fromkeys(table(6).method)) == ['network', 'bicubic']
    assert 'val: at_start: the table has no row start, because experiments/tiny/validation/iter_0.csv' in log()


def test_a_damaged_table_of_the_start_is_said_too(training_options):
    training_options['train']['total_iter'] = 3
    assert train(training_options, at_start=True) == 0
    (TABLES / 'iter_0.csv').write_text('method,value\nnetwork,x\n', encoding='utf-8')
    training_options['train']['total_iter'] = 6
    assert train(training_options, '--auto_resume') == 0
    assert 'the table has no row start' in log()


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_a_start_that_was_interrupted_is_measured_again(number, training_options, tmp_path):
    training_options['val'] |= {'at_start': True, 'pbar': False}
    training_options['datasets']['val']['degradations'] = 'all'
    folder = forked.write(tmp_path / 'run', training_options)
    process = forked.start(folder, 'train', '-opt', 'run.yml')
    assert wait_for(lambda: list(folder.glob('experiments/tiny/*.log')), process)
    os.kill(process.pid, number)
    process.join(300)
    assert not (folder / TABLES / 'iter_0.csv').exists()
    status, said = forked.train(folder, '--auto_resume')
    assert status == 0, said
    assert rows(6, 'start', folder / TABLES).equals(rows(0, 'network', folder / TABLES))


@pytest.mark.slow
def test_several_processes_write_the_table_of_one(training_options, tmp_path):
    training_options['val'] |= {'at_start': True, 'strips': 2}
    alone = forked.write(tmp_path / 'alone', training_options)
    assert forked.train(alone)[0] == 0
    several = forked.write(tmp_path / 'several', training_options)
    ranks = forked.start_ranks(several, 2)
    for process in ranks:
        process.join(300)
    assert [process.exitcode for process in ranks] == [0, 0], forked.printed(several)
    assert (several / TABLES / 'iter_0.csv').read_bytes() == (alone / TABLES / 'iter_0.csv').read_bytes()
    assert rows(6, 'start', several / TABLES).equals(rows(6, 'start', alone / TABLES))
    assert (several / TABLES / 'iter_6_val.png').is_file()


def test_a_study_has_the_start_as_its_first_point(study_file, training_options):
    study = grid.load(study_file({'dropout_p': [0.3]}, val={**training_options['val'], 'at_start': True}))
    cell = study.cells[0]
    file = Path(f'{cell.experiment}.yml')
    file.write_text(yaml.safe_dump(cell.options), encoding='utf-8')
    assert cli.main(['train', '-opt', str(file)]) == 0
    found = results.collect(study)
    assert sorted(set(found.iteration)) == [0, 3, 6]
    start = rows(0, 'network', grid.folder_of(cell) / 'validation')
    assert found[found.iteration == 0].psnr.tolist() == pytest.approx(start.value.tolist())
    assert len(found) == 3 * len(start)


@pytest.mark.parametrize(('model', 'without', 'message'), [
    ('SRModel', None, 'val: at_start: SRModel does not read it; write model_type: ReflashSRModel, or remove the key'),
    ('ReflashSRModel', 'metrics', 'val: at_start: needs val: metrics; write it, or remove at_start'),
    ('ReflashSRModel', 'set', 'val: at_start: needs a validation set under datasets; write it, or remove at_start'),
])
def test_a_start_that_cannot_be_measured_is_one_line(model, without, message, training_options, capfd):
    training_options['model_type'] = model
    if without == 'metrics':
        training_options['val'].pop('metrics')
    if without == 'set':
        del training_options['datasets']['val']
    assert train(training_options, at_start=True) == 2
    error = capfd.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert message in error
    assert not Path('experiments').exists()
