"""Devices and memory."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reflash_sr.errors import UserError
from reflash_sr.evaluation.tiled_inference import Restorer
from reflash_sr.system import devices
from reflash_sr.system.devices import select_device


@pytest.mark.parametrize(('there', 'options', 'expected'), [
    ({'cuda', 'mps'}, {}, 'cuda'),
    ({'mps'}, {}, 'mps'),
    (set(), {}, 'cpu'),
    ({'cuda', 'mps'}, {'device': 'auto', 'num_gpu': 0}, 'cpu'),
    ({'cuda', 'mps'}, {'device': 'mps'}, 'mps'),
    ({'cuda'}, {'device': 'cpu', 'num_gpu': 1}, 'cpu'),
    ({'cuda'}, {'device': 'cuda', 'num_gpu': 1}, 'cuda'),
    ({'cuda'}, {'num_gpu': 8, 'dist': True}, 'cuda:1'),
    (set(), {'device': 'auto', 'dist': True}, 'cpu'),
])
def test_devices(there, options, expected, monkeypatch):
    """Five processes on a machine of two GPUs take turns; this one is the fourth."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: 'cuda' in there)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: 'mps' in there)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('LOCAL_RANK', '3')
    assert select_device(options) == torch.device(expected)


@pytest.mark.parametrize(('options', 'message'), [
    ({'device': 'gpu'}, "device: 'gpu' is not known; write one of auto"),
    ({'device': 'cuda'}, 'device: cuda is not available here; use auto or cpu'),
    ({'device': 'mps', 'num_gpu': 0}, 'device: mps is not available here'),
])
def test_devices_that_are_not_there(options, message, monkeypatch):
    for backend in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(backend, 'is_available', lambda: False)
    with pytest.raises(UserError, match=message):
        select_device(options)


def test_a_device_in_words(monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 3)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: f'Card {device.index}')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    said = [devices.describe(torch.device(name)) for name in ('cpu', 'cuda:1', 'mps')]
    assert said == ['CPU, 3 threads', 'Card 1 (cuda:1), TF32: convolutions', 'mps']


def test_float32_is_what_it_is_said_to_be(monkeypatch):
    assert devices.uses_tf32() == ('convolutions' if torch.cuda.is_available() else None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    with devices.exact_float32():
        assert devices.uses_tf32() == 'nowhere'
        assert not torch.backends.cudnn.allow_tf32
        with pytest.raises(ZeroDivisionError), devices.exact_float32():
            _ = 1 / 0
        assert devices.uses_tf32() == 'nowhere'
    assert devices.uses_tf32() == 'convolutions'


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, 'conv'), reason='this PyTorch has the old settings alone')
def test_a_program_with_the_new_settings_of_pytorch_keeps_them():
    """The old ones raise an error there. In a process of its own, since there is no way back."""
    code = '''
import torch
from reflash_sr.system import devices
new = torch.backends.cudnn.conv, torch.backends.cuda.matmul
for one in new:
    one.fp32_precision = 'tf32'
torch.cuda.is_available = lambda: True
print(devices.uses_tf32())
with devices.exact_float32():
    print(devices.uses_tf32(), *(one.fp32_precision for one in new))
print(*(one.fp32_precision for one in new))
'''
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ['convolutions, matrix products', 'nowhere ieee ieee', 'tf32 tf32'], done.stderr


@pytest.mark.gpu
def test_tf32_makes_a_difference_on_a_gpu():
    generator = torch.Generator().manual_seed(0)
    image, weight = (torch.rand(shape, generator=generator) for shape in ((1, 64, 64, 64), (64, 64, 3, 3)))
    exact = torch.nn.functional.conv2d(image.double(), weight.double())
    errors = []
    for allowed in (True, False):
        with devices.exact_float32():
            devices.allow_tf32(allowed)
            found = torch.nn.functional.conv2d(image.cuda(), weight.cuda()).cpu()
        errors.append(float((found - exact).abs().max() / exact.abs().max()))
    assert errors[1] < 1e-6
    assert errors[0] < 1e-2


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc' or not Path('/proc/self/statm').exists(),
                    reason='a matter of glibc on Linux')
@pytest.mark.parametrize(('between', 'is_kept'), [('', True), ('give_back_freed()', False)])
def test_freed_memory_is_kept_until_it_is_given_back(between, is_kept):
    """In a process of its own, since keeping cannot be undone: what it holds before, and after 64 MiB were freed."""
    code = f"""
import torch
from pathlib import Path
from reflash_sr.system.devices import keep_freed_memory
from reflash_sr.system.memory import give_back_freed
def held():
    return int(Path('/proc/self/statm').read_text().split()[1])
torch.ones(2**18)
assert keep_freed_memory()
before = held()
torch.ones(2**24)
{between}
print((held() - before) * {os.sysconf('SC_PAGE_SIZE')})
"""
    done = subprocess.run([sys.executable, '-c', code], check=True, timeout=600, capture_output=True, text=True)
    assert (int(done.stdout) > 2**25) == is_kept, done.stdout


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


class Spectral(torch.nn.Module):
    """Has weights of one, four and five dimensions, and a buffer."""

    def __init__(self):
        super().__init__()
        self.conv, self.tail = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 3, 3, padding=1)
        self.gains = torch.nn.Parameter(torch.rand(8, 1, 1, 2, 2))
        self.register_buffer('shift', torch.rand(1, 8, 4, 4))

    def forward(self, x):
        return self.tail(self.conv(x) * self.gains.mean((1, 2, 3, 4)).view(1, -1, 1, 1))


@pytest.mark.parametrize('memory_format', [torch.channels_last, torch.contiguous_format])
def test_weights_of_any_number_of_dimensions_are_arranged(memory_format):
    net, x = Spectral(), torch.rand(1, 3, 6, 6)
    before = net(x)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    assert devices.arrange(net, memory_format) is net
    assert net.conv.weight.is_contiguous(memory_format=memory_format)
    assert net.shift.is_contiguous(memory_format=memory_format)
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    torch.testing.assert_close(net(x.contiguous(memory_format=memory_format)), before)
    net(x).mean().backward()
    assert net.conv.weight.grad is not None


def test_such_a_network_restores_an_image():
    restored = Restorer(Spectral().eval(), 1)(torch.rand(1, 3, 9, 7))
    assert restored.shape == (1, 3, 9, 7)


def test_seeds_are_those_of_pytorch_and_reach_one_device(monkeypatch):
    torch.manual_seed(5)
    expected, seeded = torch.rand(3), []
    for name in ('cuda', 'mps'):
        monkeypatch.setattr(getattr(torch, name), 'manual_seed',
                            lambda number, name=name: seeded.append((name, number)))
    monkeypatch.setattr(torch.cuda, 'manual_seed_all', lambda number: seeded.append('all'))
    devices.seed(5, torch.device('cpu'))
    assert torch.equal(torch.rand(3), expected) and seeded == []
    devices.seed(2**63 - 1, torch.device('cuda:1'))
    assert seeded == [('cuda', 2**63 - 1)]


@pytest.mark.parametrize('deterministic', [False, True])
def test_algorithms_are_searched_for_or_the_same_every_time(monkeypatch, deterministic):
    said = []
    monkeypatch.setattr(torch, 'use_deterministic_algorithms', lambda *args, **kwargs: said.append((args, kwargs)))
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', deterministic)
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    devices.choose_algorithms(deterministic)
    assert torch.backends.cudnn.benchmark is not deterministic
    assert bool(os.environ.pop('CUBLAS_WORKSPACE_CONFIG', None)) == bool(said) == deterministic
    with pytest.raises(KeyError), devices.any_size():
        assert not torch.backends.cudnn.benchmark
        raise KeyError
    assert torch.backends.cudnn.benchmark is not deterministic
