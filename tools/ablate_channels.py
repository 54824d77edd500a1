"""What is lost without single channels: python tools/ablate_channels.py --weights A.pth B.pth --images DIR --out DIR"""

from __future__ import annotations

import argparse
import sys

from reflash_sr.analysis.ablation import ORDERS
from reflash_sr.commands.ablate_channels import TOOL, run
from reflash_sr.commands.analysis_inputs import add_image_arguments, plan_of, print_layers
from reflash_sr.commands.arguments import add_network_arguments, add_run_arguments, open_device, open_networks
from reflash_sr.options.registry import load_plugins
from reflash_sr.system.run_command import run_command


def main() -> int:
    load_plugins()
    if '--list-layers' in sys.argv[1:]:
        return run_command(print_layers, TOOL)
    args = _parser().parse_args()
    return run_command(lambda: run(plan_of(args), args.layer, args.orders, args.random_orders, open_networks(args),
                                args.out, args.overwrite, open_device(args), args.amp == 'bf16', args.batch,
                                not args.no_closed_form), TOOL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Remove the channels of a layer, each alone and one after the other, and measure what is lost '
        '(paper Sec. 6.1, Fig. 6 and 8): PSNR of 8-bit RGB, no border cropped. A network whose channels are worth '
        'the same can lose many of them; one that leans on a few cannot.')
    add_network_arguments(parser)
    add_image_arguments(parser)
    parser.add_argument('--orders', nargs='*', default=['index', 'random'], metavar='ORDER',
                        help=f"in which channels are removed in turn: {', '.join(ORDERS)}; nothing: each alone only "
                        '(default: index random)')
    parser.add_argument('--random_orders', type=int, default=3, metavar='N',
                        help='random orders, with the seeds --seed and on (default: 3)')
    parser.add_argument('--batch', type=int, metavar='N', help='variants at a time (default: what memory allows)')
    parser.add_argument('--no_closed_form', action='store_true',
                        help='run the network also where the result can be computed without (to check it)')
    add_run_arguments(parser)
    return parser


if __name__ == '__main__':
    raise SystemExit(main())
