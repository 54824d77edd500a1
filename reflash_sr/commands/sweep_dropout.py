"""Train a grid of networks and compare them: the command line of :mod:`reflash_sr.studies`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from reflash_sr.options.registry import load_plugins
from reflash_sr.studies.sweep import sweep
from reflash_sr.system.run_command import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool with command-line arguments. Default: those of the process. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description='Train every cell of a grid, with the same data and initial weights, and write one table and two '
        'figures to results/NAME. After an interruption, repeat the command to continue.')
    parser.add_argument('--opt', '-opt', required=True, metavar='STUDY.yml',
                        help="option file with a section 'study' (options/study_tiny.yml explains it)")
    parser.add_argument('--seeds', type=int, default=1, metavar='N',
                        help='repeat every cell with other initial weights, data order and masks (default: 1)')
    parser.add_argument('--jobs', type=int, default=1, metavar='N',
                        help='number of cells at the same time (default: 1)')
    parser.add_argument('--engine', choices=['local', 'slurm'], default='local',
                        help='where cells run: on this machine, or as a SLURM job array (default: local)')
    parser.add_argument('--dry-run', action='store_true', help='list the cells and estimate the time; run nothing')
    parser.add_argument('--rerun-changed', action='store_true',
                        help='retrain cells whose options have changed; earlier folders are renamed')
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='KEY=VALUE',
                        help='change options of every cell, as in amp=bf16 manual_seed=3')
    args = parser.parse_args(argv)
    load_plugins()
    return run_command(lambda: sweep(args.opt, args.seeds, args.engine, args.jobs, args.rerun_changed, args.dry_run,
                                     args.force_yml), 'sweep_dropout')
