"""The ``basicsr`` command."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

from reflash_sr.errors import UserError
from reflash_sr.system import signals
from reflash_sr.system.signals import Stopped
from reflash_sr.training import pipeline

PLUGIN_GROUP = 'basicsr.plugins'
NO_HOME = 'Could not determine home directory'  # how pathlib says that there is no such user


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``basicsr train`` or ``basicsr test``.

    Args:
        argv: Arguments. Default: those of the process.

    Returns:
        The exit status, as :func:`run_tool` gives it.
    """
    args = _parser().parse_args(argv)
    load_plugins()
    flags = {'launcher': args.launcher, 'debug': args.debug, 'force_yml': args.force_yml, 'root': os.getcwd()}
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.command == 'train':
        return run_tool(lambda: pipeline.train(args.opt, auto_resume=args.auto_resume, **flags))
    return run_tool(lambda: pipeline.test(args.opt, **flags))


def run_tool(work: Callable[[], object], name: str = 'basicsr') -> int:
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


def load_plugins() -> None:
    """Import every installed package that announces itself in the entry-point group ``basicsr.plugins``."""
    for entry in entry_points(group=PLUGIN_GROUP):
        try:
            entry.load()
        except Exception as error:  # another package's fault must not keep this one from working
            print(f'basicsr: warning: plugin {entry.name} ({entry.value}) cannot be loaded: {error}', file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='basicsr', description='Train and test networks of BasicSR and its plugins.')
    commands = parser.add_subparsers(dest='command', required=True, metavar='{train,test}')
    for name, text in (('train', 'train a network as an option file says'), ('test', 'test a trained network')):
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + '.')
        command.add_argument('-opt', '--opt', required=True, metavar='FILE', help='option file (YAML)')
        command.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                             help='how several processes are started (default: none)')
        command.add_argument('--debug', action='store_true', help='log, save and validate often, under another name')
        command.add_argument('--local_rank', '--local-rank', type=int, default=None, help='set by launchers')
        command.add_argument('--force_yml', nargs='+', default=[], metavar='KEY=VALUE',
                             help='change options, as in train:total_iter=1000')
    commands.choices['train'].add_argument('--auto_resume', action='store_true',
                                           help='continue from the newest state of the experiment, where there is one')
    return parser
