"""One page about two or more networks: python tools/report.py --weights A.pth B.pth --images DIR --out DIR"""

from __future__ import annotations

import argparse

from reflash_sr.commands import arguments as tool_args
from reflash_sr.commands.report import TOOL, Plan, run
from reflash_sr.evaluation.comparison import BICUBIC
from reflash_sr.options.registry import load_plugins
from reflash_sr.system.files import relative
from reflash_sr.system.run_command import run_command


def main() -> int:
    load_plugins()
    parser = argparse.ArgumentParser(
        description='Evaluate networks, ablate their channels, map their saliency, cluster their features, and put it '
        'all into one HTML page that works offline. Interrupted, it goes on with the part that is missing.')
    tool_args.add_network_arguments(parser)
    parser.add_argument('--images', required=True, metavar='DIR', help='GT images, or photos:val')
    parser.add_argument('--cluster_images', metavar='DIR', help='photographs for the clusters (default: the same)')
    parser.add_argument('--degradations', nargs='+', default=['all'], metavar='NAME',
                        help='for the evaluation, as in tools/evaluate_degradations.py (default: all)')
    parser.add_argument('--baseline', nargs='+', default=[], metavar='LABEL=LABEL', help='as there')
    parser.add_argument('--layer', nargs='+', default=['last'], metavar='NAME',
                        help='for ablation and saliency: first, B1, …, hr, last, a path, or all (default: last)')
    parser.add_argument('--limit', type=tool_args.count, default=5, metavar='N',
                        help='images that are ablated (default: 5)')
    parser.add_argument('--crop', type=tool_args.count, default=64, metavar='PX',
                        help='the middle of them, px of the LQ image; 0: the whole (default: 64)')
    parser.add_argument('--samples', type=tool_args.count, default=20, metavar='N',
                        help='crops for the clusters, each under five degradations (default: 20; the paper: 100)')
    tool_args.add_run_arguments(parser)
    args = parser.parse_args()
    return run_command(lambda: _run(args), TOOL)


def _run(args: argparse.Namespace) -> None:
    plan = Plan(args.images, args.cluster_images, tuple(args.degradations), tuple(args.layer), args.limit, args.crop,
                args.samples, args.seed, args.amp is not None)
    networks = tool_args.open_networks(args)
    baselines = tool_args.pairs_of(args.baseline, {BICUBIC, *(one.label for one in networks)}, '--baseline')
    page = run(plan, networks, args.out, args.overwrite, tool_args.open_device(args), baselines)
    print(f'Page: {relative(page)}')


if __name__ == '__main__':
    raise SystemExit(main())
