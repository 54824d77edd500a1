"""Runs of ``basicsr`` that start at once: children of a server process that has imported everything already."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import re
import signal
import socket
import sys
import time
from pathlib import Path

import torch
import yaml

# Without fork, conftest.py says so and ends the tests.
context = multiprocessing.get_context('forkserver' if hasattr(os, 'fork') else None)
_started = []
context.set_forkserver_preload(['reflash_sr.cli'])


def start(folder, *args, environment=None):
    """Start ``basicsr *args`` in a folder; returns the process, whose ``exitcode`` is the command's."""
    process = context.Process(target=_work, args=(str(folder), args, environment or {}))
    process.start()
    _started.append(process)
    return process


def end_all():
    """Kill what a test left running, workers too: at its exit, Python would wait for it."""
    while _started:
        process = _started.pop()
        process.kill()
        process.join()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: of what has ended
            os.killpg(process.pid, signal.SIGKILL)


def start_ranks(folder, count, *args, **environment):
    """Start the processes of one run, as torchrun would."""
    port = free_port()
    return [start(folder, 'train', '-opt', 'run.yml', '--launcher', 'pytorch', *args, environment={
        'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(count), 'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': str(port), **environment}) for rank in range(count)]


def free_port():
    """A port for a run, below those that connections are given by themselves: nobody takes it until the run does."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(('127.0.0.1', port))
            return port
    raise OSError('no free port')


def train(folder, *args, timeout=600):
    """Train to the end; returns the exit status and what was printed."""
    process = start(folder, 'train', '-opt', 'run.yml', *args)
    process.join(timeout)
    assert not process.is_alive(), 'timed out'
    return process.exitcode, printed(folder)


def printed(folder):
    """What the runs in a folder wrote to their standard error since the last call."""
    path = Path(folder, 'stderr.txt')
    text = path.read_text(encoding='utf-8')
    path.write_text('', encoding='utf-8')
    return text


def write(folder, options):
    """Write the option file of the runs in a folder."""
    Path(folder).mkdir(exist_ok=True)
    Path(folder, 'run.yml').write_text(yaml.safe_dump(options), encoding='utf-8')
    return Path(folder)


def outcome(folder, iteration):
    """Everything that two equal runs must have in common, by name."""
    run = Path(folder, 'experiments', 'tiny')
    weights = torch.load(run / 'models' / f'net_g_{iteration}.pth', weights_only=True)
    state = torch.load(run / 'training_states' / f'{iteration}.state', weights_only=True)
    found = {'network': weights['params'], 'ema': weights['params_ema'], 'optimizers': state['optimizers'],
             'schedulers': state['schedulers'], 'best': state['best'], 'windows': state['windows'],
             'stream': state['stream'], 'logged': logged(folder)}
    for path in sorted(run.glob('models/net_g_[bl]*.pth')):
        found[path.name] = torch.load(path, weights_only=True)
    for path in sorted(run.glob('validation/*.csv')):
        found[path.name] = path.read_text(encoding='utf-8')
    return found


def logged(folder):
    """Learning rate and losses by iteration, of all log files; a line that was written twice must be the same."""
    lines = {}
    for path in Path(folder).glob('experiments/*/*.log'):
        for match in re.finditer(r'iter ([\d,]+)/\S+ epoch \d+, lr (\S+) \|.*\| (l_.*)', path.read_text('utf-8')):
            values = lines.setdefault(int(match[1].replace(',', '')), match.groups()[1:])
            assert values == match.groups()[1:]
    return dict(sorted(lines.items()))


def assert_same(one, two, where=''):
    """Compare nested values, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    elif isinstance(one, dict):
        assert list(one) == list(two), f'{where}: {list(one)} {list(two)}'
        for key in one:
            assert_same(one[key], two[key], f'{where}: {key}')
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two), where
        for i, pair in enumerate(zip(one, two)):
            assert_same(*pair, f'{where}: {i}')
    else:
        assert one == two, where


def let_go(folder):
    """Let runs go on that were started with ``HOLD``."""
    Path(folder, 'go').touch()


def _hold(model, name):
    """Make a method of the model wait, from the first saved state on, until :func:`let_go`."""
    method = getattr(model, name)

    def held(self, *args):
        while list(Path().glob('experiments/*/training_states/*.state')) and not Path('go').exists():
            time.sleep(0.01)
        return method(self, *args)

    setattr(model, name, held)


def _die(dataset, number):
    """Make workers end by a signal, from the first saved state on."""
    draw = dataset.__getitem__

    def dies(self, index):
        if list(Path().glob('experiments/*/training_states/*.state')):
            os.kill(os.getpid(), number)
        return draw(self, index)

    dataset.__getitem__ = dies


def _work(folder, args, environment):
    os.setpgid(0, 0)  # with its workers, as a shell's command: os.killpg reaches all of them and nothing else
    multiprocessing.set_start_method('fork', force=True)  # the fastest; tests/system has the others
    os.chdir(folder)
    os.environ.update(environment)
    error = os.open('stderr.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(error, 1)
    os.dup2(error, 2)
    torch.set_num_threads(1)
    from reflash_sr import cli
    from reflash_sr.models import ReflashSRModel
    if environment.get('HOLD'):
        _hold(ReflashSRModel, environment['HOLD'])
    if environment.get('DIE'):
        from reflash_sr.data.real_degradation_dataset import RealDegradationDataset
        _die(RealDegradationDataset, int(environment['DIE']))
    if environment.get('FLOAT64'):
        torch.set_default_dtype(torch.float64)
        feed = ReflashSRModel.feed_data
        ReflashSRModel.feed_data = lambda self, data: feed(self, {
            key: value.double() if isinstance(value, torch.Tensor) else value for key, value in data.items()})
    sys.exit(cli.main(args))
