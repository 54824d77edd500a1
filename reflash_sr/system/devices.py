"""The device of a run, its features and its memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from reflash_sr.errors import UserError
from reflash_sr.system.memory import free_on_machine, give_back_freed

NAMES = ('auto', 'cpu', 'cuda', 'mps')


def select_device(opt: Mapping[str, Any]) -> torch.device:
    """Choose the device of this process.

    Args:
        opt: Options: ``device``, one of ``auto cpu cuda mps`` (default ``auto``: CUDA, else MPS, else CPU); BasicSR's
            ``num_gpu``, where 0 means the CPU; with ``dist``, each process of a machine gets its own GPU.

    Raises:
        UserError: The device is unknown or not available.
    """
    name = opt.get('device', 'auto')
    available = {'cuda': torch.cuda.is_available(), 'mps': torch.backends.mps.is_available(), 'cpu': True}
    if name == 'auto':
        name = 'cpu' if opt.get('num_gpu') == 0 else next(kind for kind in available if available[kind])
    if name not in available:
        raise UserError(f"device: '{name}' is not known; write one of {', '.join(NAMES)}")
    if not available[name]:
        raise UserError(f"device: {name} is not available here; use auto or cpu")
    if name == 'cuda' and opt.get('dist'):
        return torch.device('cuda', int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count())
    return torch.device(name)


def allow_tf32(allowed: bool) -> None:
    """Choose whether a GPU computes float32 convolutions in TF32, with 10 bits, as by PyTorch's default.

    Matrix products are left as they are if it may, and exact if not.
    """
    for place, (owner, name, exact, fast) in enumerate(_tf32_settings()):
        if place == 0 or not allowed:
            setattr(owner, name, fast if allowed else exact)


def uses_tf32() -> str | None:
    """In which float32 operations a GPU of this process uses TF32; None without CUDA."""
    if not torch.cuda.is_available():
        return None
    return ', '.join(what for what, (owner, name, _, fast) in zip(('convolutions', 'matrix products'), _tf32_settings())
                     if getattr(owner, name) == fast) or 'nowhere'


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """No TF32 inside the ``with``; at its end, the settings are what they were."""
    settings = _tf32_settings()
    before = [getattr(owner, name) for owner, name, _, _ in settings]
    allow_tf32(False)
    try:
        yield
    finally:
        for (owner, name, _, _), value in zip(settings, before):
            setattr(owner, name, value)


def _tf32_settings() -> tuple[tuple[Any, str, Any, Any], ...]:
    """Of convolutions and matrix products: the object with the setting, its name, its value without TF32 and with it.

    PyTorch raises for the old settings once a program has used the new ones.
    """
    cudnn: Any = torch.backends.cudnn  # older versions have no conv
    matmul = torch.backends.cuda.matmul
    try:
        _ = cudnn.allow_tf32, matmul.allow_tf32
    except RuntimeError:
        return (cudnn.conv, 'fp32_precision', 'ieee', 'tf32'), (matmul, 'fp32_precision', 'ieee', 'tf32')
    return (cudnn, 'allow_tf32', False, True), (matmul, 'allow_tf32', False, True)


def seed(number: int, device: torch.device) -> None:
    """Seed the random numbers of the CPU and of one device, and of no other.

    Args:
        number: From 0 to 2⁶³ − 1.
        device: A GPU's numbers are its own; the current one of its kind is seeded.
    """
    torch.default_generator.manual_seed(number)
    if device.type != 'cpu':
        getattr(torch, device.type).manual_seed(number)


def choose_algorithms(deterministic: bool) -> None:
    """Choose how a GPU computes in a training: with the fastest algorithms for its sizes, or the same bits every time.

    The other is slower. Operations that have no such algorithm warn.
    """
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # read when the GPU is first used
        torch.use_deterministic_algorithms(True, warn_only=True)


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """No search for the fastest algorithm inside the ``with``: it takes long, and each size of image needs its own."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def describe(device: torch.device) -> str:
    """Describe a device for a log: name of the GPU and its use of TF32, or number of CPU threads."""
    if device.type == 'cpu':
        return f'CPU, {torch.get_num_threads()} threads'
    if device.type != 'cuda':
        return str(device)
    return f'{torch.cuda.get_device_name(device)} ({device}), TF32: {uses_tf32()}'


def keep_rng(device: torch.device | str = 'cpu') -> AbstractContextManager[None]:
    """Restore the random state of the CPU and of ``device`` at the end of the ``with``.

    ``torch.random.fork_rng`` without a list of devices initialises every GPU, and warns if there are several.
    """
    device = torch.device(device)
    return torch.random.fork_rng([device] if device.type == 'cuda' else [])


def arrange(net: torch.nn.Module, memory_format: torch.memory_format = torch.channels_last) -> torch.nn.Module:
    """Change the memory layout of a network's weights of four dimensions, in place; returns the network.

    ``net.to(memory_format=…)`` fails if there are also weights of five dimensions.
    """
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.dim() == 4:
                tensor.data = tensor.data.contiguous(memory_format=memory_format)
    return net


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors for new ones: faster training on a CPU.

    By default glibc returns every large block to the system, which clears each page again for the next tensor. This
    is a good part of the time of cheap layers such as dropout. Without glibc nothing changes; returns False.
    """
    try:
        mallopt = ctypes.CDLL('libc.so.6').mallopt
    except (OSError, AttributeError):
        return False
    mmap_max, trim_threshold = -4, -1
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, -1))


def has_bf16(device: torch.device) -> bool:
    """Whether a device has bfloat16 instructions; a CPU without them is many times slower in bfloat16."""
    if device.type == 'cpu':
        if platform.machine().lower() == 'aarch64':  # Linux
            return 'bf16' in _cpu_features()
        return torch.cpu._is_avx512_bf16_supported() or 'arm' in platform.machine().lower()
    return device.type != 'cuda' or torch.cuda.is_bf16_supported(including_emulation=False)


def bf16_warning(device: torch.device) -> str | None:
    """A warning for a user who asks for bfloat16 on a device without it; None if the device has it."""
    return None if has_bf16(device) else (
        f'{device} has no bfloat16 instructions here; float32 is many times faster')


def _cpu_features() -> set[str]:
    """Instruction sets of the first CPU; empty if the system is not Linux."""
    try:
        with open('/proc/cpuinfo', encoding='utf-8', errors='replace') as file:
            lines = (line.partition(':') for line in file)
            return next((set(value.split()) for key, _, value in lines if key.strip() in ('flags', 'Features')), set())
    except OSError:
        return set()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; PyTorch has an error class for this on CUDA only."""
    message = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in message or 'out of memory' in message))


def release_memory(device: torch.device) -> None:
    """Return to the system the freed memory of a device that this process keeps for later use."""
    {'cuda': torch.cuda.empty_cache, 'mps': torch.mps.empty_cache}.get(device.type, give_back_freed)()


def free_memory(device: torch.device) -> int | None:
    """Memory that this process can still allocate on a device, bytes; None if unknown."""
    if device.type == 'cuda':
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return free_on_machine() if device.type == 'cpu' else None
