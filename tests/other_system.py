"""Runs a command as on a system that starts worker processes otherwise, or that has nothing of POSIX: as Windows.

    [LIKE_WINDOWS=1] python tests/other_system.py METHOD COMMAND ...

``METHOD`` is a start method of ``multiprocessing``; ``COMMAND`` is ``train``, ``test``, one of ``reflash-sr``, or
``import``: every module of the package. It is a program of its own, because nothing of the package may be imported
before, and because workers run it again.
"""

import builtins
import errno
import importlib
import io
import multiprocessing
import os
import pkgutil
import select
import shutil
import signal
import sys

# The standard library and the libraries that the package stands on were made for the system they run on.
for library in ('torch.utils.data', 'concurrent.futures.process', 'multiprocessing.popen_spawn_posix', 'PIL.Image',
                'multiprocessing.resource_tracker', 'subprocess', 'tempfile', 'lmdb', 'scipy', 'pandas'):
    importlib.import_module(library)

MODULES = ('fcntl', 'grp', 'pty', 'pwd', 'resource', 'termios', 'tty')
NAMES = {
    os: ('chown', 'fork', 'geteuid', 'getpgid', 'getuid', 'killpg', 'mkfifo', 'nice', 'pread', 'pwrite',
         'register_at_fork', 'sched_getaffinity', 'setpgid', 'setsid', 'sysconf', 'EX_OK'),
    select: ('epoll', 'poll'),
    signal: ('SIGALRM', 'SIGCONT', 'SIGHUP', 'SIGKILL', 'SIGPIPE', 'SIGUSR1', 'SIGUSR2', 'pause', 'setitimer'),
}
FILES = ('/proc/cpuinfo', '/proc/meminfo', '/proc/self/cgroup', '/proc/self/statm', '/sys/')  # that the package reads


def like_windows():
    """Take away what Windows does not have, and let files that this process has open stay where they are."""
    for name in MODULES:
        sys.modules[name] = None
    if hasattr(os, 'process_cpu_count'):
        os.process_cpu_count = os.cpu_count  # since Python 3.13; asks sched_getaffinity where there is one
    for module, names in NAMES.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    for name in ('remove', 'rename', 'replace', 'rmdir', 'unlink'):
        setattr(os, name, _refusing_open_files(getattr(os, name)))
    os.open = _refusing_folders(os.open)
    shutil._use_fd_functions = False  # rmtree would open folders
    shutil._rmtree_impl = shutil._rmtree_unsafe  # the same from Python 3.14 on
    builtins.open = io.open = _without_files(open)


def _refusing_open_files(function):
    def refusing(*paths, **options):
        targets = [os.readlink(f'/proc/self/fd/{file}') for file in os.listdir('/proc/self/fd')
                   if os.path.lexists(f'/proc/self/fd/{file}')]
        for path in map(os.path.realpath, paths):
            if any(target == path or target.startswith(f'{path}/') for target in targets):
                raise PermissionError(errno.EACCES, 'The file is being used by another process', path)
        return function(*paths, **options)

    return refusing


def _refusing_folders(function):
    def refusing(path, flags, *rest, **options):
        if os.path.isdir(path) and not flags & (os.O_DIRECTORY | os.O_TMPFILE):
            raise PermissionError(errno.EACCES, 'Permission denied', path)
        return function(path, flags, *rest, **options)

    return refusing


def _without_files(function):
    def opening(path, *rest, **options):
        if str(path).startswith(FILES):
            raise FileNotFoundError(errno.ENOENT, 'No such file or directory', path)
        return function(path, *rest, **options)

    return opening


def main():
    """Run the command that the arguments name, under the name of a command of the package."""
    sys.argv[0] = 'basicsr'
    if sys.argv[1] == 'import':
        import reflash_sr
        for found in pkgutil.walk_packages(reflash_sr.__path__, 'reflash_sr.'):
            if not found.name.endswith('__main__'):
                importlib.import_module(found.name)
        return 0
    if sys.argv[1] in ('train', 'test'):
        from reflash_sr import cli
        return cli.main()
    from reflash_sr.commands import console
    return console.main()


if 'LIKE_WINDOWS' in os.environ:
    like_windows()
if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv.pop(1))
    sys.exit(main())
