"""Gains of several seeds: python tools/compare_seeds.py --results results/evaluation_* --out results/gains"""

from __future__ import annotations

import argparse

from reflash_sr.commands import arguments as tool_args
from reflash_sr.commands.compare_seeds import TOOL, compare
from reflash_sr.system.run_command import run_command


def main() -> int:
    parser = argparse.ArgumentParser(
        description='Gather evaluations of a study (cells, seeds, iterations, raw and EMA weights): the gain of '
        'every cell over p = 0 of the same seed, with one interval over images and one over seeds; a table, a figure '
        'for each kind of weights, and a curve where several iterations were evaluated.')
    parser.add_argument('--results', nargs='+', required=True, metavar='DIR',
                        help='what tools/evaluate_degradations.py wrote; together they may hold what one does not')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the results')
    parser.add_argument('--overwrite', action='store_true', help='put earlier results aside')
    parser.add_argument('--seed', type=tool_args.count, default=0, metavar='N', help='of the bootstrap (default: 0)')
    args = parser.parse_args()

    def work() -> None:
        folder, text = compare(args.results, args.out, args.overwrite, args.seed)
        print(f'{text}\nResults: {folder}')

    return run_command(work, TOOL)


if __name__ == '__main__':
    raise SystemExit(main())
