"""How much memory a process may still take on a Linux machine: by the kernel, and by a container's limit."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

MEMINFO = Path('/proc/meminfo')
CGROUPS = Path('/sys/fs/cgroup')  # of version 2
OWN_GROUP = Path('/proc/self/cgroup')


def free_on_machine() -> int | None:
    """Memory that this process could still take, bytes; None where that is not known."""
    try:
        lines = (line.split(':') for line in MEMINFO.read_text(encoding='ascii').splitlines())
        available = int(dict(lines)['MemAvailable'].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    return min([available, *_free_in_groups()])


def give_back_freed() -> None:
    """Give back to the system what this process has freed and glibc keeps for it; elsewhere nothing is done."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL('libc.so.6').malloc_trim(0)


def _free_in_groups() -> list[int]:
    """What is left of the limits of this process' control group and of those around it, bytes."""
    try:
        lines = OWN_GROUP.read_text(encoding='utf-8').splitlines()
        path = next(line[3:] for line in lines if line.startswith('0::'))
    except (OSError, StopIteration):
        return []
    folder = CGROUPS / path.strip('/')
    return [free for each in (folder, *folder.parents) if each.is_relative_to(CGROUPS)
            for free in [_free_in_group(each)] if free is not None]


def _free_in_group(folder: Path) -> int | None:
    try:
        limit = int((folder / 'memory.max').read_text(encoding='ascii'))
        used = int((folder / 'memory.current').read_text(encoding='ascii'))
        stat = dict(line.split() for line in (folder / 'memory.stat').read_text(encoding='ascii').splitlines())
        return max(limit - used + int(stat['inactive_file']), 0)  # the kernel gives up its copies of files first
    except (OSError, ValueError, KeyError):  # 'max': no limit
        return None
