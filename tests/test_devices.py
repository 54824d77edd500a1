"""Devices and memory."""

import subprocess
import sys

import pytest
import torch

from reflash_sr import devices
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


@pytest.mark.parametrize(('machine', 'features', 'has'), [
    ('aarch64', 'fp asimd bf16 i8mm', True), ('aarch64', 'fp asimd', False), ('x86_64', 'avx2 bf16', False)])
def test_bfloat16_of_a_cpu(machine, features, has, monkeypatch):
    monkeypatch.setattr(devices.platform, 'machine', lambda: machine)
    monkeypatch.setattr(devices, '_cpu_features', lambda: set(features.split()))
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: False)
    assert devices.has_bf16(torch.device('cpu')) == has
    warning = devices.bf16_warning(torch.device('cpu'))
    assert warning is None if has else 'float32 is many times faster' in warning


def test_features_of_this_cpu_are_those_that_torch_sees():
    assert ('avx512_bf16' in devices._cpu_features()) == torch.cpu._is_avx512_bf16_supported()
