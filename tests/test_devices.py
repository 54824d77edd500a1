"""Devices and memory."""

import subprocess
import sys

import pytest

from reflash_sr.devices import select_device
from reflash_sr.errors import UserError


def test_devices():
    assert select_device({'device': 'cpu'}).type == 'cpu'
    assert select_device({'num_gpu': 0}).type == 'cpu'
    with pytest.raises(UserError, match="device: 'gpu' is not known; write one of auto"):
        select_device({'device': 'gpu'})


def test_keeping_freed_memory_is_asked_of_glibc_and_of_nothing_else():
    """In a process of its own, since it cannot be undone: the second large tensor needs no new memory."""
    code = ('import ctypes, torch\nfrom reflash_sr.devices import keep_freed_memory\n'
            "done = keep_freed_memory()\nassert done == hasattr(ctypes.CDLL(None), 'gnu_get_libc_version'), done\n"
            'assert torch.ones(2**24).sum() == 2**24\n')
    subprocess.run([sys.executable, '-c', code], check=True, timeout=600)
