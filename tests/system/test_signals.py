"""Which programs are the package's own, and what a worker process of them does with Ctrl-C."""

import multiprocessing
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from reflash_sr.system import signals


@pytest.mark.parametrize(('program', 'own'), [
    ('basicsr', True), ('basicsr.exe', True), ('BasicSR.EXE', True), ('reflash-sr.exe', True),
    ('reflash-sr-script.py', True), ('basicsr_train.py', False), ('my-basicsr', False), ('basicsr.py', False)])
def test_own_commands_by_the_names_of_every_system(program, own, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'argv', [str(tmp_path / program), 'train'])
    assert signals.is_own_command() is own


def test_a_worker_that_imports_the_command_again_ignores_ctrl_c(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['/usr/bin/basicsr'])
    monkeypatch.setattr(multiprocessing, 'current_process', lambda: SimpleNamespace(name='SpawnProcess-1'))
    before = signal.getsignal(signal.SIGINT)
    try:
        signals.exit_on_ctrl_c_during_import()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_while_workers_start_arrives_afterwards(monkeypatch):
    monkeypatch.setattr(signals, 'IN_OWN_COMMAND', True)
    with pytest.raises(KeyboardInterrupt), signals.workers_start():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_where_signals_cannot_be_blocked_workers_start_all_the_same(monkeypatch):
    monkeypatch.delattr(signal, 'pthread_sigmask')
    with signals.workers_start():
        pass


PROGRAM = '''
import contextlib, multiprocessing, signal
from reflash_sr.system import signals

def blocked(answer):
    answer.send(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

if __name__ == '__main__':
    multiprocessing.set_start_method('forkserver')
    for around in (signals.workers_start(), contextlib.nullcontext()):
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=blocked, args=(theirs,))
        with around:
            process.start()
        print(ours.recv())
        process.join()
'''


@pytest.mark.slow
def test_what_a_fork_server_starts_later_is_not_blocked(tmp_path):
    """The server keeps the block that it began with; in a program of somebody else there is none."""
    path = tmp_path / 'program.py'
    path.write_text(PROGRAM, encoding='utf-8')
    run = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=600)
    assert run.stdout.splitlines() == ['set()', 'set()'], run.stderr
