"""Running a command: errors become one line on standard error, and an exit status."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable

from reflash_sr.errors import UserError
from reflash_sr.system import signals

_BROKEN = (errno.EPIPE, errno.EINVAL)  # of a pipe whose reader has ended: the second is what Windows says
NO_HOME = 'Could not determine home directory'  # pathlib's message for ~name of an unknown user


def run_command(work: Callable[[], object], name: str = 'basicsr') -> int:
    """Call ``work``; print a ``UserError``, Ctrl-C or an error of a file as one line that starts with ``name``.

    Returns:
        The exit status: 0; 2 for a ``UserError``; 1 for a ``RunError`` or an error of a file; 130 for Ctrl-C; 141 if
        nobody reads the output any more, as after ``| head``; 143 for SIGTERM during training.
    """
    signals.restore_ctrl_c()
    try:
        work()
        sys.stdout.flush()
        return 0
    except UserError as error:
        status, line = error.exit_status, f'error: {error}'
    except signals.Stopped as stopped:  # the run has logged it
        return stopped.exit_status
    except KeyboardInterrupt:
        status, line = 130, 'stopped'
    except RuntimeError as error:
        if not str(error).startswith(NO_HOME):
            raise
        status = UserError.exit_status
        line = 'error: a path begins with ~ and the name of an unknown user; write the whole path'
    except OSError as error:
        if error.errno in _BROKEN and error.filename is None and _nobody_reads():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes when it exits
            return 141
        status = 1
        if error.errno == errno.EMFILE:
            line = 'error: too many open files; raise the limit with ulimit -n, or use fewer workers and jobs'
        elif error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise  # not about a file
        else:
            one_line = UserError(f'{error.filename or "the disk"}: cannot be used ({error.strerror}); change its '
                                 'permissions, make room, or work in another folder')
            line = f'error: {one_line}'
    print(f'{name}: {line}', file=sys.stderr)
    return status


def print_any_character() -> None:
    """Print characters that the encoding of standard output lacks as ``\\xd7``, as Python does on standard error.

    On Windows a file or a pipe gets the encoding of the country: of Russia without ``×``, of Western Europe without
    ``→``, of both without most names of files in Chinese.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose reader has ended; if not, an empty line is written."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False
