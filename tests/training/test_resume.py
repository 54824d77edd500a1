"""A run that is stopped, in whatever way, and continued is the run that was left alone."""

import csv
import fcntl
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from reflash_sr.errors import UserError
from reflash_sr.models.schedulers import build_scheduler
from reflash_sr.options.known_keys import SCHEDULERS
from reflash_sr.system.signals import StopSignals, exit_on_ctrl_c_during_import, restore_ctrl_c
from reflash_sr.training import resume
from reflash_sr.weights.network_from_file import open_network
from tests import forked
from tests.conftest import smooth_image
from tests.models.test_schedulers import ARGUMENTS

TOTAL = 40
TOOLS = Path(__file__).parents[2] / 'tools'
WRITTEN_BEFORE = Path(__file__).parent / 'written_by_0_1_0'
KILLS = int(os.environ.get('REFLASH_KILLS', 20))


@pytest.fixture
def options(training_options):
    training_options['train'].update(total_iter=TOTAL, grad_clip=0.5, accumulate=2)
    training_options['train']['scheduler']['periods'] = [TOTAL]
    training_options['val'].update(val_freq=8, keep_best=True, pbar=False)
    psnr = training_options['val']['metrics']['psnr']  # falls here: its best is the first, the best of `low` the last
    training_options['val']['metrics']['low'] = {**psnr, 'better': 'lower'}
    training_options['logger'].update(print_freq=5, save_checkpoint_freq=4, keep_last=3)
    training_options['datasets']['train']['num_worker_per_gpu'] = 1
    training_options['datasets']['val']['degradations'] = ['clean']
    training_options['network_g']['dropout_schedule'] = {'type': 'cosine', 'to': 0.8, 'over': 4}
    return training_options


OUTCOMES = []  # of the run that nothing happened to, once it was made


@pytest.fixture
def left_alone(options, tmp_path):
    """The outcome of the run that nothing happened to."""
    if not OUTCOMES:
        folder = forked.write(tmp_path / 'left alone', options)
        status, said = forked.train(folder)
        assert status == 0, said
        OUTCOMES.append(forked.outcome(folder, TOTAL))
    return OUTCOMES[0]


def wait_for(condition, process, seconds=300):
    """Until something is there, or the process has ended; returns whether it is there."""
    end = time.monotonic() + seconds
    while not condition() and process.is_alive():
        assert time.monotonic() < end, 'timed out'
        time.sleep(0.001)
    return condition()


@pytest.mark.slow
def test_killed_at_random_moments(options, left_alone, tmp_path):
    options['datasets']['train']['num_worker_per_gpu'] = 2  # how many there are makes no difference
    folder = forked.write(tmp_path / 'killed', options)
    run = folder / 'experiments' / 'tiny'
    rng = random.Random(os.environ.get('REFLASH_KILL_SEED', 0))
    kills = {'any moment': 0, 'writing': 0, 'training': 0}
    for attempt in range(20 * KILLS):  # a run may be done before its time, or write too quickly to be caught at it
        if sum(kills.values()) == KILLS:
            break
        how = list(kills)[attempt % 3]
        process = forked.start(folder, 'train', '-opt', 'run.yml', '--auto_resume')
        if how == 'any moment':
            process.join(rng.uniform(0, 1.5))
        else:
            before = {path.name for path in run.glob('training_states/*')}
            pattern = '*/.*.part' if how == 'writing' else 'training_states/*.state'
            wait_for(lambda pattern=pattern, before=before: {path.name for path in run.glob(pattern)} - before, process)
            process.join(rng.uniform(0, 0.05))
        if process.is_alive():
            process.kill()
            kills[how] += 1
        process.join()
        if process.exitcode == 0:  # done before its time: go on from the middle
            for path in sorted(run.glob('training_states/*.state'), key=lambda path: int(path.stem))[1:]:
                path.unlink()
                (run / 'models' / f'net_g_{path.stem}.pth').unlink()
        else:
            assert process.exitcode == -signal.SIGKILL, forked.printed(folder)
    assert sum(kills.values()) == KILLS
    status, said = forked.train(folder, '--auto_resume')
    assert status == 0, said
    forked.assert_same(left_alone, forked.outcome(folder, TOTAL))
    assert not list(run.rglob('*.part'))


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('send', [os.kill, os.killpg])  # a terminal's Ctrl-C goes to the data workers too
def test_a_signal_saves_first(options, left_alone, tmp_path, number, send):
    folder = forked.write(tmp_path / 'stopped', options)
    run = folder / 'experiments' / 'tiny'
    process = forked.start(folder, 'train', '-opt', 'run.yml', environment={'HOLD': 'feed_data'})
    assert wait_for(lambda: list(run.glob('training_states/*.state')), process)
    send(process.pid, number)
    forked.let_go(folder)
    process.join(300)
    said = forked.printed(folder)
    assert process.exitcode == 128 + number, said
    assert said.count('Stopped by') == 1
    assert f'Stopped by {number.name} after iteration' in said
    assert 'Traceback' not in said
    status, said = forked.train(folder, '--auto_resume')
    assert status == 0, said
    forked.assert_same(left_alone, forked.outcome(folder, TOTAL))


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_validation_is_done_again_and_a_complete_one_is_not(options, left_alone, tmp_path, number):
    folder = forked.write(tmp_path / 'stopped', options)
    run = folder / 'experiments' / 'tiny'
    process = forked.start(folder, 'train', '-opt', 'run.yml', environment={'HOLD': 'test'})
    assert wait_for(lambda: list(run.glob('training_states/8.state')), process)  # validation comes right after it
    process.join(0.2)
    os.kill(process.pid, number)
    forked.let_go(folder)
    process.join(300)
    said = forked.printed(folder)
    assert not list(run.glob('validation/*.csv'))
    if number == signal.SIGTERM:
        assert process.exitcode == 143, said
        assert 'Stopped by SIGTERM after iteration 8' in said
    status, said = forked.train(folder, '--auto_resume')
    assert status == 0, said
    assert [said.count(f'Validation, iteration {i},') for i in (8, 16, 24, 32, 40)] == [1] * 5
    forked.assert_same(left_alone, forked.outcome(folder, TOTAL))
    tables = {path: path.stat().st_mtime_ns for path in run.glob('validation/*.csv')}
    status, said = forked.train(folder, '--auto_resume')  # at its end already: nothing is left to do
    assert status == 0, said
    assert 'Validation, iteration' not in said
    assert tables == {path: path.stat().st_mtime_ns for path in run.glob('validation/*.csv')}


@pytest.mark.slow
def test_a_seed_that_was_drawn_is_kept(options, tmp_path):
    del options['manual_seed']
    folder = forked.write(tmp_path / 'drawn', options)
    status, said = forked.train(folder)
    assert status == 0, said
    whole = forked.outcome(folder, TOTAL)
    for name in ('training_states/40.state', 'training_states/36.state'):
        (folder / 'experiments/tiny' / name).unlink()
    status, said = forked.train(folder, '--auto_resume')
    assert status == 0, said
    forked.assert_same(whole, forked.outcome(folder, TOTAL))


@pytest.mark.slow
def test_other_data_are_said_to_be_others(options, tmp_path):
    folder = forked.write(tmp_path / 'others', options)
    status, said = forked.train(folder, '--force_yml', 'train:total_iter=8')
    assert status == 0, said
    assert 'the periods end at 40, after total_iter' in said
    status, said = forked.train(folder, '--auto_resume', '--force_yml', 'manual_seed=4')
    assert status == 0, said
    assert 'The order of the training data changes from here on: seed 3 → 4.' in said


@pytest.mark.skipif(not hasattr(fcntl, 'F_SETPIPE_SZ'), reason='only Linux has pipes that can be made to hold it up')
@pytest.mark.parametrize('imported', ['numpy', 'torch', 'scipy'])
@pytest.mark.parametrize('command', [['-m', 'reflash_sr', 'train', '-opt', 'x.yml'], [TOOLS / 'ablate_channels.py']])
def test_ctrl_c_while_importing_is_no_traceback(command, imported, tmp_path):
    process = subprocess.Popen([sys.executable, '-X', 'importtime', *command], cwd=tmp_path, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)  # so that it waits for whoever reads what it says
    for line in process.stderr:  # a line for each module, the moment it has been imported
        if line.split('|')[-1].strip() == imported:
            break
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 130, said
    assert 'Traceback' not in said


def test_ctrl_c_is_as_usual_for_programs_that_import_the_package(monkeypatch):
    for program in ('train.py', str(TOOLS.parent / 'elsewhere' / 'tools' / 'train.py')):
        monkeypatch.setattr(sys, 'argv', [program])
        exit_on_ctrl_c_during_import()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.setattr(sys, 'argv', ['-m'])  # their package imports ours
    monkeypatch.setattr(sys, 'orig_argv', ['python', '-m', 'their_project.train'])
    exit_on_ctrl_c_during_import()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    for program in (str(TOOLS / 'upscale.py'), '/usr/bin/basicsr', '/usr/bin/reflash-sr'):
        monkeypatch.setattr(sys, 'argv', [program])
        exit_on_ctrl_c_during_import()
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        restore_ctrl_c()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_a_state_of_basicsr_is_continued_to_the_end(options, left_alone, tmp_path):
    folder = forked.write(tmp_path / 'theirs', options)
    assert forked.train(folder, '--force_yml', 'train:total_iter=20')[0] == 0
    path = folder / 'experiments/tiny/training_states/20.state'
    state = torch.load(path, weights_only=True)
    torch.save({**{key: state[key] for key in ('iter', 'optimizers', 'schedulers')}, 'epoch': 7}, path)
    status, said = forked.train(folder, '--auto_resume')
    assert status == 0, said
    forked.assert_same(left_alone['network'], forked.outcome(folder, TOTAL)['network'])


@pytest.mark.slow
def test_a_state_of_another_experiment_is_continued_with_its_weights(options, tmp_path):
    folder = forked.write(tmp_path / 'of another', {**options, 'path': {}})
    assert forked.train(folder, '--force_yml', 'train:total_iter=20')[0] == 0
    status, said = forked.train(folder, '--force_yml', 'name=other', 'train:total_iter=24',
                                'path:resume_state=experiments/tiny/training_states/20.state')
    assert status == 0, said
    assert (folder / 'experiments/other/models/net_g_24.pth').is_file()


@pytest.mark.slow
@pytest.mark.parametrize(('change', 'message'), [
    ('train:optim_g:betas=[2, 3]', 'train: optim_g: Adam does not accept these options'),
    ('network_g:num_in_ch=x', 'network_g: '),
])
def test_options_that_went_wrong_since_are_one_line(options, tmp_path, change, message):
    folder = forked.write(tmp_path / 'begun', options)
    assert forked.train(folder, '--force_yml', 'train:total_iter=4')[0] == 0
    status, said = forked.train(folder, '--auto_resume', '--force_yml', change)
    assert status == 2
    assert message in said.splitlines()[-1]
    assert 'Traceback' not in said


@pytest.mark.slow
def test_the_option_file_of_an_experiment_starts_and_continues_it(options, tmp_path):
    folder = forked.write(tmp_path / 'own', options)
    assert forked.train(folder, '--force_yml', 'train:total_iter=20')[0] == 0
    kept = folder / 'experiments/tiny/run.yml'
    for flags, archived in ((['--auto_resume'], 0), ([], 1)):
        process = forked.start(folder, 'train', '-opt', str(kept.relative_to(folder)), *flags)
        process.join(600)
        assert process.exitcode == 0, forked.printed(folder)
        assert yaml.safe_load(kept.read_text()) == options
        assert len(list(folder.glob('experiments/tiny_archived_*'))) == archived


def test_a_second_ctrl_c_stops_at_once_and_handlers_of_others_stay():
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    theirs = lambda number, frame: None  # noqa: E731
    before = signal.signal(signal.SIGTERM, theirs)
    try:
        with StopSignals():
            assert signal.getsignal(signal.SIGTERM) is theirs
        assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, before)


def test_one_ctrl_c_may_reach_each_of_several_processes_twice():
    with StopSignals(several=True) as signals:
        for _ in range(2):  # from the terminal and from the launcher
            signal.raise_signal(signal.SIGINT)
    assert signals.received == signal.SIGINT


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_what_the_parent_has_ignored_stays_ignored(number, monkeypatch):
    """As SIGINT is for a command that a script starts in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            monkeypatch.setattr(sys, 'argv', [str(TOOLS / 'upscale.py')])
            exit_on_ctrl_c_during_import()
            signal.raise_signal(number)
            assert signals.received == 0
            assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        restore_ctrl_c()
        signal.signal(number, before)


@pytest.mark.slow
def test_data_of_basicsr_are_exact_too_with_any_number_of_workers(options, tmp_path, image_folder):
    pairs = tmp_path / 'pairs'
    for scale in (1, 4):
        (pairs / str(scale)).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(smooth_image(i, 72 // scale, 96 // scale)).save(pairs / str(scale) / f'{i}.png')
    options['datasets']['train'] = {
        'type': 'PairedImageDataset', 'name': 'pairs', 'dataroot_gt': str(pairs / '1'), 'dataroot_lq': str(pairs / '4'),
        'io_backend': {'type': 'disk'}, 'gt_size': 32, 'use_hflip': True, 'use_rot': True, 'total_batch_size': 2,
        'num_worker_per_gpu': 1}  # yapf: disable
    folder = forked.write(tmp_path / 'left alone', options)
    status, said = forked.train(folder)
    assert status == 0, said
    other = forked.write(tmp_path / 'stopped', options)
    for flags in (['train:total_iter=8', 'datasets:train:num_worker_per_gpu=2'],
                  ['datasets:train:num_worker_per_gpu=0']):
        flags = [*flags, 'logger:save_checkpoint_freq=1']
        status, said = forked.train(other, '--auto_resume', '--force_yml', *flags)
        assert status == 0, said
    one, two = (forked.outcome(each, TOTAL) for each in (folder, other))
    for key in ('network', 'ema', 'optimizers', 'logged', 'iter_8.csv', 'iter_40.csv'):
        forked.assert_same(one[key], two[key], key)


@pytest.mark.slow
def test_weights_saved_as_safetensors_are_those_of_pth(options, left_alone, tmp_path):
    options['logger']['save_format'] = 'safetensors'
    folder = forked.write(tmp_path / 'other format', options)
    models = folder / 'experiments/tiny/models'
    for flags in (['--force_yml', 'train:total_iter=20'], ['--auto_resume']):
        status, said = forked.train(folder, *flags)
        assert status == 0, said
    assert {path.suffix for path in models.iterdir()} == {'.safetensors'}
    for key, name in (('params', 'network'), ('params_ema', 'ema')):
        network = open_network(models / f'net_g_{TOTAL}.safetensors', key)
        forked.assert_same(dict(left_alone[name]), dict(network.net.state_dict()))
        assert (network.label, network.dropout_p, network.trained['iter']) == ('tiny', 0.8, TOTAL)


@pytest.mark.slow
def test_a_compiled_run_continues_like_any_other(options, tmp_path):
    """With Inductor; a dropout schedule and ``compile`` exclude each other."""
    del options['network_g']['dropout_schedule']
    options.update(compile=True, network_g={**options['network_g'], 'dropout_p': 0.5})
    options['train'].update(total_iter=8, accumulate=1)
    options['train']['scheduler']['periods'] = [8]
    folder = forked.write(tmp_path / 'whole', options)
    status, said = forked.train(folder)
    assert status == 0, said
    stopped = Path(shutil.copytree(folder, tmp_path / 'stopped'))
    for name in ('training_states/8.state', 'models/net_g_8.pth', 'models/net_g_latest.pth', 'validation/iter_8.csv'):
        (stopped / 'experiments/tiny' / name).unlink()
    status, said = forked.train(stopped, '--auto_resume')
    assert status == 0, said
    forked.assert_same(*({key: one[key] for key in ('network', 'ema', 'optimizers', 'stream')}
                         for one in (forked.outcome(folder, 8), forked.outcome(stopped, 8))))


@pytest.mark.parametrize('moments', [1, 0])
def test_a_state_written_by_0_1_0_is_continued_as_by_0_1_0(tmp_path, moments):
    """Where 0.1.0 itself came from it is the measure; it is missed if the optimiser's moments are lost."""
    run = tmp_path / 'experiments' / 'before'
    for name, folder in (('net_g_3.pth', 'models'), ('3.state', 'training_states')):
        (run / folder).mkdir(parents=True)
        shutil.copy(WRITTEN_BEFORE / name, run / folder)
    if not moments:
        state = torch.load(WRITTEN_BEFORE / '3.state', weights_only=True)
        for values in state['optimizers'][0]['state'].values():
            values['exp_avg'].zero_()
        torch.save(state, run / 'training_states/3.state')
    shutil.copy(WRITTEN_BEFORE / 'run.yml', tmp_path)
    status, said = forked.train(tmp_path, '--auto_resume')
    assert status == 0, said
    assert 'Resuming training from epoch: 0, iter: 3.' in said
    assert [path.name for path in run.parent.iterdir()] == ['before']
    expected, reached = (torch.load(path, weights_only=True)
                         for path in (WRITTEN_BEFORE / 'net_g_6.pth', run / 'models/net_g_6.pth'))
    assert [list(expected[key]) for key in ('params', 'params_ema')] == [
        list(reached[key]) for key in ('params', 'params_ema')]
    difference = max(float((expected[key][name] - value).abs().max()) for key in ('params', 'params_ema')
                     for name, value in reached[key].items())
    assert (difference < 1e-5) == bool(moments)  # another CPU may round differently
    rate = torch.load(run / 'training_states/6.state', weights_only=True)['optimizers'][0]['param_groups'][0]['lr']
    assert rate == pytest.approx(1e-7 + (1e-3 - 1e-7) * (1 + math.cos(math.pi * 5 / 6)) / 2)
    if moments:
        before, after = (list(csv.DictReader(path.read_text(encoding='utf-8').splitlines()))
                         for path in (WRITTEN_BEFORE / 'iter_6.csv', run / 'validation/iter_6.csv'))
        for one, two in zip(before, after, strict=True):
            assert float(two.pop('value')) == pytest.approx(float(one.pop('value')), abs=0.01)
            assert one == two


@pytest.mark.parametrize('name', SCHEDULERS)
def test_states_of_every_scheduler_fit(name):
    """Those that cycle the momentum add entries of their own to the optimiser's groups."""
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    before, now = (torch.optim.Adam(parameters, lr=1e-3) for _ in range(2))
    cycling = {'cycle_momentum': True} if name == 'CyclicLR' else {}
    build_scheduler(before, {'type': name, **ARGUMENTS[name], **cycling})
    assert resume._misfit(now, parameters, [before.state_dict()]) is None


def test_a_network_that_is_not_saved_is_not_asked_for(tmp_path):
    """As the frozen one of GFPGAN's, whose option file names it so."""
    torch.save({'iter': 3, 'optimizers': [], 'schedulers': []}, tmp_path / '3.state')
    torch.save({'params': {'weight': torch.ones(1)}}, tmp_path / 'net_g_3.pth')
    opt = {'model_type': 'GFPGANModel', 'network_g': {}, 'network_identity': {}, 'logger': {},
           'path': {'models': str(tmp_path), 'ignore_resume_networks': ['network_identity']}}
    assert resume.read(tmp_path / '3.state', opt)['iter'] == 3
    opt['path']['ignore_resume_networks'] = None
    with pytest.raises(UserError, match='net_identity_3'):
        resume.read(tmp_path / '3.state', opt)
