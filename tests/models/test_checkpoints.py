"""Checkpoints that are damaged, kept, removed or cannot be written, and two runs in one folder."""

import errno
import os
import shutil
import time

import pytest
import torch

from reflash_sr import cli
from reflash_sr.errors import UserError
from reflash_sr.models.checkpoints import Best
from reflash_sr.system import locks
from reflash_sr.training.run_lock import RunLock
from reflash_sr.weights import state_dict as weights
from tests import forked

TOTAL = 6


@pytest.fixture
def options(training_options):
    training_options['val']['pbar'] = False
    training_options['datasets']['val']['degradations'] = ['clean']
    training_options['logger']['save_checkpoint_freq'] = 2
    return training_options


@pytest.fixture
def finished(options, tmp_path):
    """The folder of a run that has ended."""
    folder = forked.write(tmp_path / 'finished', options)
    status, said = forked.train(folder)
    assert status == 0, said
    return folder


def state_with(**changes):
    def change(run):
        path = run / 'training_states/6.state'
        weights.save({**weights.load_file(path), **changes}, path)
    return change


def weights_with(change):
    def write(run):
        path = run / 'models/net_g_6.pth'
        content = weights.load_file(path)
        change(content)
        weights.save(content, path)
    return write


def flip(name):
    def change(run):
        content = bytearray((run / name).read_bytes())
        content[len(content) // 2] ^= 1
        (run / name).write_bytes(content)
    return change


def other_optimiser(run):
    net = torch.nn.Conv2d(3, 8, 3)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    state_with(optimizers=[optimiser.state_dict()])(run)


def transposed_moments(run):
    state = weights.load_file(run / 'training_states/6.state')
    moments = state['optimizers'][0]['state'][0]
    moments['exp_avg'] = moments['exp_avg'].transpose(0, 1).contiguous()
    state_with(optimizers=state['optimizers'])(run)


DAMAGE = {
    'a flipped bit in the state': flip('training_states/6.state'),
    'a flipped bit in the weights': flip('models/net_g_6.pth'),
    'an empty state': lambda run: (run / 'training_states/6.state').write_bytes(b''),
    'no weights': lambda run: (run / 'models/net_g_6.pth').unlink(),
    'foreign weights': weights_with(lambda content: content.update(params={'conv.weight': torch.ones(3)})),
    'missing keys': weights_with(lambda content: content['params'].popitem()),
    'no EMA weights': weights_with(lambda content: content.pop('params_ema')),
    'not a state': lambda run: weights.save({'params': {'a': torch.ones(2)}}, run / 'training_states/6.state'),
    'another iteration': state_with(iter=5),
    'another optimiser': other_optimiser,
    'moments of another network': transposed_moments,
}


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_is_named_and_passed_over(finished, tmp_path):
    whole = forked.outcome(finished, TOTAL)
    for i, (what, damage) in enumerate(DAMAGE.items()):
        folder = shutil.copytree(finished, tmp_path / f'damaged {i}')
        damage(folder / 'experiments/tiny')
        status, said = forked.train(folder, '--auto_resume')
        assert status == 0, (what, said)
        assert said.count('is skipped, an older one is tried: ') == 1, (what, said)
        assert '6.state is skipped' in said, what
        assert 'iter: 4' in said, what
        forked.assert_same(whole, forked.outcome(folder, TOTAL), what)


@pytest.mark.slow
def test_no_whole_checkpoint_is_one_line(finished):
    for path in finished.glob('experiments/tiny/training_states/*'):
        path.write_bytes(path.read_bytes()[:-100])
    status, said = forked.train(finished, '--auto_resume')
    assert status == 2
    assert 'none of the 3 states in experiments/tiny/training_states can be continued from' in said
    assert 'Traceback' not in said
    assert len(list(finished.glob('experiments/*'))) == 1


@pytest.mark.slow
def test_only_the_last_are_kept_and_the_best(options, tmp_path):
    options['logger'].update(keep_last=2, save_checkpoint_freq=1)
    options['val'].update(keep_best=True, val_freq=1)
    folder = forked.write(tmp_path / 'kept', options)
    status, said = forked.train(folder)
    assert status == 0, said
    run = folder / 'experiments/tiny'
    assert sorted(path.name for path in (run / 'training_states').iterdir()) == ['5.state', '6.state']
    assert sorted(path.name for path in (run / 'models').iterdir()) == [
        'net_g_5.pth', 'net_g_6.pth', 'net_g_best_psnr.pth', 'net_g_latest.pth']
    values = {}
    for path in run.glob('validation/*.csv'):
        row = path.read_text(encoding='utf-8').splitlines()[1].split(',')
        values[int(path.stem.removeprefix('iter_'))] = float(row[-2])
    best = weights.load_weights(run / 'models/net_g_best_psnr.pth').trained
    assert best['iter'] == min(values, key=lambda iteration: (-values[iteration], iteration))
    assert best['value'] == pytest.approx(max(values.values()), abs=1e-6)


def test_best_knows_its_direction_and_what_was_before(options, tmp_path):
    options['val'].update(keep_best=True, metrics={'lpips': {'type': 'x', 'better': 'lower'}, 'psnr': {'type': 'y'}})
    options['path'] = {'models': str(tmp_path)}
    saved = []
    best = Best(options, lambda label, facts: saved.append((label, facts['value'])))
    for iteration, (lpips, psnr) in enumerate([(0.5, 20.0), (0.4, 20.0), (0.6, float('inf')), (0.4, 21.0)]):
        best.take(iteration, {'lpips': lpips, 'psnr': psnr})
    assert saved == [('best_lpips', 0.5), ('best_psnr', 20.0), ('best_lpips', 0.4), ('best_psnr', 21.0)]
    again = Best(options, lambda label, facts: saved.append(label))
    again.continue_from(best.values, 3, {})
    again.take(4, {'lpips': 0.4, 'psnr': 20.5})
    assert len(saved) == 4


@pytest.mark.parametrize('kept', ['nothing', 'damaged', 'of a later iteration', 'of this iteration'])
def test_best_takes_what_was_measured_after_the_state_was_saved(options, tmp_path, kept):
    options['val'].update(keep_best=True, metrics={'psnr': {'type': 'calculate_psnr'}})
    options['path'] = {'models': str(tmp_path)}
    path = tmp_path / 'net_g_best_psnr.pth'
    if kept == 'damaged':
        path.write_bytes(b'x')
    elif kept != 'nothing':
        weights.save({'params': {'a': torch.zeros(1)}, 'trained': {'iter': 3 if 'this' in kept else 5}}, path)
    saved = []
    best = Best(options, lambda label, facts: saved.append((label, facts)))
    best.continue_from({'psnr': {'value': 20.0, 'iter': 1}}, 3, {'psnr': 20.5})
    assert best.values == {'psnr': {'value': 20.5, 'iter': 3}}
    assert saved == ([] if 'this' in kept else [('best_psnr', {'best': 'psnr', 'value': 20.5})])
    best.continue_from({'psnr': {'value': 20.0, 'iter': 1}}, 3, {'psnr': 19.5})
    assert best.values == {'psnr': {'value': 20.0, 'iter': 1}}


def test_a_full_disk_is_one_line_and_leaves_what_is_there(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(forked.write(tmp_path / 'full', options))
    fsync, calls = weights.save, []

    def save(content, path):
        calls.append(path)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, 'No space left on device')
        fsync(content, path)

    monkeypatch.setattr(weights, 'save', save)
    assert cli.main(['train', '-opt', 'run.yml']) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('basicsr: error')]
    assert len(errors) == 1
    assert 'cannot be written (No space left on device); earlier checkpoints are intact' in errors[0]
    assert sorted(path.name for path in (tmp_path / 'full').rglob('*.state')) == ['2.state']
    weights.load_file(tmp_path / 'full/experiments/tiny/training_states/2.state')


def test_a_second_run_in_one_folder_is_refused_and_nothing_is_renamed(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(forked.write(tmp_path / 'locked', options))
    folder = tmp_path / 'locked/experiments/tiny'
    folder.mkdir(parents=True)
    lock = RunLock(folder)
    lock.take()
    for flags in ([], ['--auto_resume']):
        assert cli.main(['train', '-opt', 'run.yml', *flags]) == 2
        assert 'experiments/tiny: another run (process ' in capsys.readouterr().err
    assert [path.name for path in folder.parent.iterdir()] == ['tiny']
    lock.release()
    RunLock(folder).take()


def test_the_lock_moves_with_the_folder(tmp_path):
    folder = tmp_path / 'experiments/tiny'
    folder.mkdir(parents=True)
    lock = RunLock(folder)
    with lock.moving():
        folder.rename(tmp_path / 'experiments/old')
        folder.mkdir()
    with pytest.raises(UserError, match='another run'):
        RunLock(folder).take()
    RunLock(tmp_path / 'experiments/old').take()
    lock.release()


def test_where_there_are_no_locks_a_folder_can_be_renamed(monkeypatch, tmp_path):
    """As on Windows, where neither an open file nor its folder can be."""
    monkeypatch.setattr(locks, 'fcntl', None)
    monkeypatch.delattr(os, 'register_at_fork')
    monkeypatch.setattr(os, 'open', lambda path, *rest: pytest.fail(f'{path} was opened to be locked'))
    folder = tmp_path / 'experiments/tiny'
    folder.mkdir(parents=True)
    for lock in (RunLock(folder), RunLock(folder)):
        lock.take()
    with lock.moving():
        folder.rename(tmp_path / 'experiments/old')
        folder.mkdir()
    lock.release()
    assert not list((tmp_path / 'experiments').rglob('run.lock'))


@pytest.mark.slow
def test_the_lock_ends_with_the_process(options, tmp_path):
    options['train']['total_iter'] = 10**6
    options['train']['scheduler']['periods'] = [10**6]
    options['datasets']['train']['num_worker_per_gpu'] = 1
    folder = forked.write(tmp_path / 'killed', options)
    process = forked.start(folder, 'train', '-opt', 'run.yml')
    run = folder / 'experiments/tiny'
    while process.is_alive() and not list(run.glob('training_states/*.state')):
        time.sleep(0.01)
    with pytest.raises(UserError, match=f'another run .process {process.pid} on '):
        RunLock(run).take()
    process.kill()
    process.join()
    RunLock(run).take()
