"""Free memory of a Linux machine, within the memory limits of containers."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

MEMINFO = Path('/proc/meminfo')
CGROUPS = Path('/sys/fs/cgroup')  # version 2
OWN_GROUP = Path('/proc/self/cgroup')


def free_on_machine() -> int | None:
    """Memory that this process can still allocate, bytes; None if unknown."""
    try:
        lines = (line.split(':') for line in MEMINFO.read_text(encoding='ascii').splitlines())
        available = int(dict(lines)['MemAvailable'].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    return min([available, *_free_in_groups()])


def give_back_freed() -> None:
    """Return freed memory, which glibc keeps, to the system; do nothing without glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL('libc.so.6').malloc_trim(0)


def _free_in_groups() -> Iterator[int]:
    """Bytes left under the memory limits of this process' control group and of its parents."""
    try:
        lines = OWN_GROUP.read_text(encoding='utf-8').splitlines()
    except OSError:
        return
    for own in (CGROUPS / line[3:].strip('/') for line in lines if line.startswith('0::')):
        for folder in (own, *own.parents):
            with contextlib.suppress(OSError, ValueError, KeyError):  # 'max': no limit
                limit, used, stat = ((folder / f'memory.{name}').read_text(encoding='ascii')
                                     for name in ('max', 'current', 'stat'))
                cached = int(dict(line.split() for line in stat.splitlines())['inactive_file'])
                yield max(int(limit) - int(used) + cached, 0)  # the kernel frees its file cache when memory is short
