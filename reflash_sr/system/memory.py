"""Free memory of a Linux machine, within the memory limits of containers and of ``ulimit -v``."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

MEMINFO = Path('/proc/meminfo')
CGROUPS = Path('/sys/fs/cgroup')
OWN_GROUP, OWN_PAGES = Path('/proc/self/cgroup'), Path('/proc/self/statm')
# Files of a limit, of the used memory and of its parts, and the part that is file cache, by the controller's name in
# OWN_GROUP: '' in version 2 of control groups, 'memory' in version 1, where it is also the name of a folder.
_FILES = {'': ('max', 'current', 'stat', 'inactive_file'),
          'memory': ('limit_in_bytes', 'usage_in_bytes', 'stat', 'total_inactive_file')}


def free_on_machine() -> int | None:
    """Memory that this process can still allocate, bytes; None if unknown."""
    try:
        lines = (line.split(':') for line in MEMINFO.read_text(encoding='ascii').splitlines())
        available = int(dict(lines)['MemAvailable'].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    return min([available, *_free_in_groups(), *_free_addresses()])


def give_back_freed() -> None:
    """Return freed memory, which glibc keeps, to the system; do nothing without glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL('libc.so.6').malloc_trim(0)


def _free_in_groups() -> Iterator[int]:
    """Bytes left under the memory limits of this process' control groups and of their parents."""
    try:
        lines = [line.split(':', 2) for line in OWN_GROUP.read_text(encoding='utf-8').splitlines()]
    except OSError:
        return
    for kind, names in _FILES.items():
        for root, path in ((CGROUPS / kind, fields[2]) for fields in lines if fields[1] == kind):
            own = root / path.strip('/')
            for folder in (own, *own.parents):
                with contextlib.suppress(OSError, ValueError, KeyError):  # 'max': no limit
                    limit, used, stat = ((folder / f'memory.{name}').read_text(encoding='ascii') for name in names[:3])
                    cached = int(dict(line.split() for line in stat.splitlines())[names[3]])
                    yield max(int(limit) - int(used) + cached, 0)  # the kernel frees its file cache when it needs to


def _free_addresses() -> Iterator[int]:
    """Bytes left under the limit of ``ulimit -v``."""
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource  # not on every system
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            used = int(OWN_PAGES.read_text(encoding='ascii').split()[0]) * resource.getpagesize()
            yield max(limit - used, 0)
