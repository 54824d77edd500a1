"""Running a command: a user's mistake is one line on standard error, and an exit status."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

from reflash_sr.errors import UserError
from reflash_sr.system import signals

NO_HOME = 'Could not determine home directory'  # how pathlib says that there is no such user


def run_command(work: Callable[[], object], name: str = 'basicsr') -> int:
    """Do the work of a command; a mistake in what the user gave becomes one line.

    Args:
        work: What to do.
        name: Name of the command, for the line.

    Returns:
        The exit status: 0, 2 for a user's mistake, 1 for a run that had to stop, 130 for Ctrl-C, 143 for SIGTERM
        during a training.
    """
    signals.restore_ctrl_c()
    try:
        work()
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
        line = 'error: a path begins with ~ and what follows is no user of this machine; write the path out'
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise  # not about a file
        status = 1
        one_line = UserError(f'{error.filename or "the disk"}: cannot be used ({error.strerror}); change its '
                             'permissions, make room, or work in another folder')
        line = f'error: {one_line}'
    print(f'{name}: {line}', file=sys.stderr)
    return status
