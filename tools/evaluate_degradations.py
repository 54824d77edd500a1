"""How well do networks generalise? python tools/evaluate_degradations.py --weights A.pth B.pth --gt DIR --out DIR"""

from __future__ import annotations

import argparse

from reflash_sr.commands import arguments as tool_args
from reflash_sr.commands.evaluate_degradations import Settings, evaluate
from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.data.test_degradation.degradations import EIGHT
from reflash_sr.evaluation.comparison import BICUBIC
from reflash_sr.evaluation.inference import OVERLAP
from reflash_sr.evaluation.metrics import METRICS
from reflash_sr.options.registry import load_plugins
from reflash_sr.system.run_command import run_command


def main() -> int:
    load_plugins()
    parser = argparse.ArgumentParser(
        description='Measure networks on test sets under degradations; writes scores, tables (CSV, Markdown, LaTeX) '
        'and figures. Interrupted, it goes on where it stopped. Several processes: torchrun --nproc_per_node N '
        'tools/evaluate_degradations.py … --launcher pytorch.')
    tool_args.add_network_arguments(parser)
    sets = parser.add_argument_group('test sets')
    sets.add_argument('--gt', nargs='+', default=[], metavar='[NAME=]DIR',
                      help='folders of ground truth, degraded here (photos:val: two photographs that come along)')
    sets.add_argument('--degradations', nargs='+', default=['all'], metavar='NAME',
                      help=f"all: the eight ({' '.join(EIGHT)}); nearest; chosen strengths such as blur:3 noise:30 "
                      'jpeg:30 b+n:10 down:bilinear down:matlab; noise:40 is what the authors used before July 2024')
    sets.add_argument('--pairs', nargs=2, action='append', default=[], metavar=('LR', 'HR'),
                      help='folders of LQ images and their ground truth; may be given again')
    sets.add_argument('--pair_names', nargs=2, action='append', default=[], metavar=('LR', 'HR'),
                      help="how names go together, for each --pairs: '{}x4m' '{}' for NTIRE 2018 mild (default: alike)")
    sets.add_argument('--pair_labels', nargs='+', default=[], metavar='TEXT', help='what to call the --pairs')
    how = parser.add_argument_group('measuring')
    how.add_argument('--metrics', nargs='+', choices=list(METRICS), default=['psnr'], help='default: psnr')
    how.add_argument('--crop_border', type=tool_args.count, default=4, metavar='PX', help='default: 4')
    how.add_argument('--y_channel', action='store_true', help='measure on Y of YCbCr, not on RGB')
    how.add_argument('--baseline', nargs='+', default=[], metavar='LABEL=LABEL',
                     help='which network without dropout each gain is counted from, or bicubic (default: the one '
                     'whose weights have the same key, names and shapes and whose p is 0)')
    how.add_argument('--tile', type=tool_args.count, metavar='PX', help='side of a tile of the LQ image; 0: never '
                     '(default: where memory would run out)')
    how.add_argument('--overlap', type=tool_args.count, default=OVERLAP, metavar='PX',
                     help=f'of tiles (default: {OVERLAP})')
    how.add_argument('--strips', type=tool_args.count, default=1, metavar='N',
                     help='images of each set that are shown (default: 1)')
    how.add_argument('--save_images', action='store_true', help='write every SR image')
    tool_args.add_run_arguments(parser)
    tool_args.add_launcher_argument(parser)
    args = parser.parse_args()
    return run_command(lambda: _run(args), 'evaluate_degradations')


def _run(args: argparse.Namespace) -> None:
    with tool_args.launched(args, 'tools/evaluate_degradations.py'):
        networks = tool_args.open_networks(args)
        sets = open_sets(args.gt, args.degradations, args.pairs, args.pair_names, args.pair_labels, networks[0].scale,
                         args.seed)
        settings = Settings(tuple(dict.fromkeys(args.metrics)), args.crop_border, args.y_channel, args.seed,
                            args.amp is not None, args.tile, args.overlap, args.strips, args.save_images)
        baselines = tool_args.pairs_of(args.baseline, {BICUBIC, *(one.label for one in networks)}, '--baseline')
        text = evaluate(networks, sets, args.out, settings, baselines, tool_args.open_device(args), args.overwrite)
        if text:
            print(text)


if __name__ == '__main__':
    raise SystemExit(main())
