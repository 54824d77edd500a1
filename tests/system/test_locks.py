"""Locks on files: held by one process, let go of with it, and not needed to import the package."""

import os
import subprocess
import sys

import pytest

from reflash_sr.system import locks


def test_a_lock_is_held_by_one(tmp_path):
    path = tmp_path / 'x.lock'
    first, second = (os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2))
    locks.lock(first)
    with pytest.raises(BlockingIOError):
        locks.lock(second)
    os.close(first)
    locks.lock(second)
    os.close(second)


def test_where_there_are_no_locks_nothing_is_locked(monkeypatch, tmp_path):
    monkeypatch.setattr(locks, 'fcntl', None)
    files = [os.open(tmp_path / 'x.lock', os.O_RDWR | os.O_CREAT) for _ in range(2)]
    for file in files:
        locks.lock(file)
        os.close(file)


def test_the_package_can_be_imported_where_there_are_none():
    code = ("import sys; sys.modules['fcntl'] = None; import reflash_sr; from reflash_sr import cli; "
            'from reflash_sr.training import run_lock')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
