"""Where channels decide about detail: python tools/map_saliency.py --weights A.pth B.pth --images DIR --out DIR"""

from __future__ import annotations

import argparse
import sys

from reflash_sr.commands.analysis_inputs import add_image_arguments, plan_of, print_layers
from reflash_sr.commands.arguments import add_network_arguments, add_run_arguments, open_device, open_networks
from reflash_sr.commands.map_saliency import TOOL, run
from reflash_sr.options.registry import load_plugins
from reflash_sr.system.run_command import run_command


def main() -> int:
    load_plugins()
    if '--list-layers' in sys.argv[1:]:
        return run_command(print_layers, TOOL)
    args = _parser().parse_args()
    return run_command(lambda: run(plan_of(args), args.layer, open_networks(args), args.out, args.overwrite,
                                open_device(args), args.amp == 'bf16', args.channels, args.sheets,
                                not args.no_correlation), TOOL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Map where each channel of a layer decides about the detail of the output (paper Sec. 6.1, Fig. 6 '
        'and 7): the gradient of detail with respect to the features. All layers of an image come from one backward '
        "pass, which keeps every feature in memory: hence --crop.")
    add_network_arguments(parser)
    add_image_arguments(parser, crop=72)
    parser.add_argument('--channels', type=int, default=32, metavar='N',
                        help='how many channels a sheet shows, the most salient first (default: 32)')
    parser.add_argument('--sheets', type=int, default=1, metavar='N',
                        help='of how many images sheets are drawn (default: 1)')
    parser.add_argument('--no_correlation', action='store_true',
                        help='do not ablate every channel too, which the rank correlation with what is lost needs')
    add_run_arguments(parser)
    return parser


if __name__ == '__main__':
    raise SystemExit(main())
