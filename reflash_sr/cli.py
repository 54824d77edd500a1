"""The ``basicsr`` command."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from reflash_sr.options.registry import load_plugins
from reflash_sr.system.run_command import run_command
from reflash_sr.training import pipeline


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``basicsr train`` or ``basicsr test``; returns the exit status."""
    args = _parser().parse_args(argv)
    load_plugins()
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    run = getattr(pipeline, args.command)
    flags = {'auto_resume': args.auto_resume} if args.command == 'train' else {}
    return run_command(lambda: run(args.opt, launcher=args.launcher, debug=args.debug, force_yml=args.force_yml,
                                   root=os.getcwd(), **flags))


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
                             help='override options, as in train:total_iter=1000')
    commands.choices['train'].add_argument('--auto_resume', action='store_true',
                                           help='continue from the newest state of the experiment, if there is one')
    return parser
