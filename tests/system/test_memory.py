"""Free memory: the least of what the kernel and every control group around the process leave."""

import subprocess
import sys
from pathlib import Path

import pytest

from reflash_sr.system import memory as system_memory
from reflash_sr.system.memory import free_on_machine

GIB = 2**30
PACKAGE = Path(system_memory.__file__).parents[1]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Lay out a machine with 8 GiB free; returns a function that gives a control group a limit."""
    (tmp_path / 'meminfo').write_text(f'MemTotal: 9 kB\nMemAvailable: {8 * GIB // 1024} kB\n')
    (tmp_path / 'cgroup').write_text('9:memory:/old\n0::/a/b\n')
    (tmp_path / 'groups/a/b').mkdir(parents=True)
    for name, path in (('MEMINFO', 'meminfo'), ('OWN_GROUP', 'cgroup'), ('CGROUPS', 'groups')):
        monkeypatch.setattr(system_memory, name, tmp_path / path)

    def limit(group, most, used, files=0):
        folder = tmp_path / 'groups' / group
        for name, text in (('max', most), ('current', used), ('stat', f'anon 1\ninactive_file {files}')):
            (folder / f'memory.{name}').write_text(f'{text}\n')

    return limit


def test_without_limits_it_is_the_kernels_word(machine):
    assert free_on_machine() == 8 * GIB
    machine('a', 'max', 3 * GIB)
    assert free_on_machine() == 8 * GIB


@pytest.mark.parametrize('group', ['a/b', 'a'])
def test_the_tightest_group_counts_and_copies_of_files_do_not(machine, group):
    machine('a/b', 20 * GIB, GIB)
    machine(group, 4 * GIB, 3 * GIB, files=GIB)
    assert free_on_machine() == 2 * GIB
    machine(group, 2 * GIB, 3 * GIB)
    assert free_on_machine() == 0


def test_unknown_where_the_kernel_says_nothing(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(system_memory, 'MEMINFO', tmp_path / 'none')
    assert free_on_machine() is None


def test_groups_of_version_1_count(machine, tmp_path):
    folder = tmp_path / 'groups/memory/old'
    folder.mkdir(parents=True)
    for name, text in (('limit_in_bytes', 4 * GIB), ('usage_in_bytes', 3 * GIB),
                       ('stat', f'inactive_file 5\ntotal_inactive_file {GIB}')):
        (folder / f'memory.{name}').write_text(f'{text}\n')
    assert free_on_machine() == 2 * GIB
    (folder / 'memory.limit_in_bytes').write_text('9223372036854771712\n')  # no limit
    assert free_on_machine() == 8 * GIB


def test_a_limit_of_the_shell_counts():
    code = ('import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30)); '
            'from reflash_sr.system.memory import free_on_machine; print(free_on_machine())')
    start = f'import sys; sys.modules["reflash_sr"] = m = type(sys)("reflash_sr"); m.__path__ = [{str(PACKAGE)!r}]; '
    done = subprocess.run([sys.executable, '-c', start + code], capture_output=True, text=True, timeout=60)
    assert 0 < int(done.stdout) < 2**30, done.stderr
