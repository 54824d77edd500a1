"""Which programs are the package's own, and what a worker process of them does with Ctrl-C."""

import multiprocessing
import signal
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


def test_a_signal_while_workers_start_arrives_afterwards():
    with pytest.raises(KeyboardInterrupt), signals.workers_start():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_where_signals_cannot_be_blocked_workers_start_all_the_same(monkeypatch):
    monkeypatch.delattr(signal, 'pthread_sigmask')
    with signals.workers_start():
        pass
