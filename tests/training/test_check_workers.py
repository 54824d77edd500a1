"""Runs whose workers have too little shared memory, or die."""

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from reflash_sr.errors import UserError
from reflash_sr.system import workers as worker_processes
from reflash_sr.training.check_workers import check_workers
from tests import forked

Usage = namedtuple('Usage', 'total used free')
SAMPLE = {'lq': torch.zeros(3, 8, 8), 'gt': torch.zeros(3, 32, 32), 'lq_path': 'a.png'}  # 13,056 bytes
BUS_ERROR = 'ended with a bus error, as when shared memory runs out'
SECTION = {'num_worker_per_gpu': 2, 'batch_size_per_gpu': 100}


def check(monkeypatch, free, **changes):
    monkeypatch.setattr(worker_processes, 'free_shared_memory', lambda: free)
    check_workers({**SECTION, **changes}, SAMPLE)


@pytest.fixture
def warned(caplog):
    caplog.set_level(logging.WARNING, 'basicsr')
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_batch_that_cannot_be_handed_over_is_refused(monkeypatch):
    with pytest.raises(UserError, match='^datasets: train: num_worker_per_gpu: 2: /dev/shm has 1.0 MB of shared memory '
                                        'free, and a batch takes 1.3 MB; write num_worker_per_gpu: 0, or give more '
                                        r'\(docker run --shm-size=1g, or --ipc=host\)$'):
        check(monkeypatch, 1_000_000)


def test_less_than_all_batches_in_advance_is_a_warning_with_the_sizes(monkeypatch, warned):
    check(monkeypatch, 6_527_999)
    assert len(warned()) == 1
    assert ('/dev/shm has 6.5 MB of shared memory free, and the run may fill 6.5 MB (5 batches × 1.3 MB: 2 for each '
            'worker, and those that wait or are in use); if it ends for want of it, write num_worker_per_gpu: 0, or '
            'give more') in warned()[0]


@pytest.mark.parametrize(('free', 'changes'), [
    (6_528_000, {}), (None, {}), (0, {'num_worker_per_gpu': 0}), (3_916_800, {'num_worker_per_gpu': 1})])
def test_enough_is_said_nothing_of(monkeypatch, warned, free, changes):
    check(monkeypatch, free, **changes)
    assert not warned()


def test_the_processes_of_one_machine_share_it(monkeypatch, warned):
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    check(monkeypatch, 26_000_000)
    assert 'may fill 26.1 MB (20 batches × 1.3 MB' in warned()[0]
    monkeypatch.setenv('LOCAL_RANK', '1')
    check(monkeypatch, 26_000_000)
    assert len(warned()) == 1


def test_batches_that_wait_in_the_queue_take_shared_memory_too(monkeypatch, warned):
    check(monkeypatch, 10_000_000, num_prefetch_queue=8)  # nothing reads it
    assert not warned()
    check(monkeypatch, 10_000_000, prefetch_mode='cpu', num_prefetch_queue=8)
    assert 'may fill 18.3 MB (14 batches × 1.3 MB' in warned()[0]


@pytest.fixture
def options(training_options):
    training_options['datasets']['train']['num_worker_per_gpu'] = 1
    training_options['train'].update(total_iter=2000)
    training_options['train']['scheduler']['periods'] = [2000]
    training_options['val'].update(val_freq=2000, pbar=False)
    training_options['logger'].update(save_checkpoint_freq=2)
    return training_options


def goes_on(folder):
    """The run goes on from what was saved, to an end that is near."""
    last = max(int(path.stem) for path in Path(folder).glob('experiments/tiny/training_states/*.state'))
    status, said = forked.train(folder, '--auto_resume', '--force_yml', f'train:total_iter={last + 2}')
    assert status == 0, said
    assert f'Start training from epoch: 0, iter: {last}' in said


def dies(folder, number):
    """A run whose worker ends by a signal after the first saved state; returns its exit status and what it said."""
    run = forked.start(folder, 'train', '-opt', 'run.yml', environment={'DIE': str(int(number))})
    run.join(300)
    return run.exitcode, forked.printed(folder)


def assert_one_line(status, said, means):
    assert status == 1, said
    assert 'Traceback' not in said
    last = said.splitlines()[-1]
    assert last.startswith(f'basicsr: error: datasets: train: num_worker_per_gpu: a worker {means}')
    assert '; write num_worker_per_gpu: 0, or ' in last
    assert last.endswith('. Continue with --auto_resume')


@pytest.mark.parametrize(('name', 'mode', 'means'), [
    ('SIGBUS', None, BUS_ERROR), pytest.param('SIGKILL', 'cpu', 'was killed or got no memory', marks=pytest.mark.slow)])
def test_a_run_whose_worker_dies_is_one_line_and_goes_on(options, tmp_path, name, mode, means):
    options['datasets']['train'].update(prefetch_mode=mode, num_prefetch_queue=1)
    folder = forked.write(tmp_path / 'run', options)
    assert_one_line(*dies(folder, getattr(signal, name)), means)
    goes_on(folder)


def in_small_memory(size, script, folder):
    """Run a shell script where /dev/shm has so many bytes; returns status and error output, None if not permitted."""
    mount = f'mount -t tmpfs -o size={size} small /dev/shm || exit 99\n'
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PY': sys.executable}
    for flags in ('-m', '-rm') if shutil.which('unshare') else ():
        done = subprocess.run(['unshare', flags, 'sh', '-c', mount + script], cwd=folder, capture_output=True,
                              text=True, timeout=600, env=environment)
        if 'unshare' not in done.stderr and done.returncode != 99:
            return done.returncode, done.stderr
    return None


@pytest.mark.slow
def test_really_small_shared_memory_is_found_before_the_run(options, tmp_path):
    options['datasets']['train'].update(total_batch_size=64, dataset_enlarge_ratio='auto')
    folder = forked.write(tmp_path / 'run', options)
    ended = in_small_memory('512k', '"$PY" -m reflash_sr train -opt run.yml', folder)
    if ended is None:  # the tests above have what can be tested
        return
    assert ended == (2, 'basicsr: error: run.yml: datasets: train: num_worker_per_gpu: 1: /dev/shm has 0.5 MB of '
                        'shared memory free, and a batch takes 0.8 MB; write num_worker_per_gpu: 0, or give more '
                        '(docker run --shm-size=1g, or --ipc=host)\n')
    assert not (folder / 'experiments').exists()


@pytest.mark.slow
def test_shared_memory_that_runs_out_during_the_run(options, tmp_path):
    """Where it is not permitted, a worker ends by the signal that a PyTorch without posix_fallocate gets."""
    folder = forked.write(tmp_path / 'run', options)
    ended = in_small_memory('2m', '''"$PY" -m reflash_sr train -opt run.yml & run=$!
        until ls experiments/tiny/training_states/4.state; do kill -0 $run || exit 98; sleep 0.1; done 2>/dev/null
        i=0; while kill -0 $run; do cat /dev/zero >/dev/shm/other$i; i=$((i+1)); done 2>/dev/null
        wait $run''', folder)
    means = 'ran out of shared memory (/dev/shm has 2.1 MB); write num_worker_per_gpu: 0, or give more (docker run '
    assert_one_line(*(ended or dies(folder, signal.SIGBUS)), means if ended else BUS_ERROR)
    goes_on(folder)
