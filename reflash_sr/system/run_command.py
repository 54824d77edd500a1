"""Running a command: a user's mistake is one line on standard error, and an exit status."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

from reflash_sr.errors import UserError
from reflash_sr.system import signals
from reflash_sr.system.signals import Stopped

NO_HOME = 'Could not determine home directory'  # how pathlib says that there is no such user


def run_command(work: Callable[[], object], name: str = 'basicsr') -> int:
    """Do the work of a command; a mistake in what was given becomes one line.

    Args:
        work: What to do.
        name: Name of the command, for the line.

    Returns:
        The exit status: 0, 2 for a mistake in what was given, 1 for a run that had to stop, 130 for Ctrl-C,
        143 for SIGTERM during a training.
    """
    signals.raise_again()
    try:
        work()
    except UserError as error:
        print(f'{name}: error: {error}', file=sys.stderr)
        return error.exit_status
    except Stopped as stopped:  # has said so itself
        return stopped.exit_status
    except KeyboardInterrupt:
        print(f'{name}: stopped', file=sys.stderr)
        return 130
    except RuntimeError as error:
        if not str(error).startswith(NO_HOME):
            raise
        print(f'{name}: error: a path begins with ~ and what follows is no user of this machine; write the path out',
              file=sys.stderr)
        return UserError.exit_status
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise  # no file's fault
        line = UserError(f'{error.filename or "the disk"}: cannot be used ({error.strerror}); change its permissions, '
                         'make room, or work in another folder')
        print(f'{name}: error: {line}', file=sys.stderr)
        return 1
    return 0
