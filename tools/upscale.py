"""Upscale images with a trained network: python tools/upscale.py --weights FILE --input PATH --output DIR"""

from __future__ import annotations

import argparse
import sys

from reflash_sr.commands.arguments import add_device_arguments, add_network_arguments, open_device, open_network_of
from reflash_sr.commands.upscale import EXTENSIONS, plan, upscale
from reflash_sr.errors import UserError
from reflash_sr.evaluation.inference import OVERLAP, Restorer
from reflash_sr.evaluation.mc_dropout import has_dropout
from reflash_sr.options.registry import load_plugins
from reflash_sr.system.run_command import run_command


def main() -> int:
    parser = argparse.ArgumentParser(
        description='Upscale an image, or a folder of images. Kept are transparency, 16 bits, grey, colour profile '
        'and EXIF data. Started again, it goes on where it stopped.')
    parser.add_argument('--input', '-i', required=True, metavar='PATH',
                        help='an image, or a folder, also with folders inside')
    parser.add_argument('--output', '-o', required=True, metavar='DIR', help='folder for the results')
    parser.add_argument('--suffix', default='out', metavar='TEXT',
                        help="put behind the names: NAME_out.png; '' for none (default: out)")
    parser.add_argument('--ext', choices=EXTENSIONS, default='auto',
                        help='format of the results (default: that of the image; PNG for BMP, GIF and others)')
    parser.add_argument('--overwrite', action='store_true', help='redo results that are there; else they are skipped')
    parser.add_argument('--tile', '-t', type=int, metavar='PX',
                        help='side of the tiles that an image is cut into, for little memory; 0 for none (default: '
                        'where memory would run out)')
    parser.add_argument('--overlap', type=int, default=OVERLAP, metavar='PX',
                        help=f'how far a tile sees beyond its border (default: {OVERLAP})')
    parser.add_argument('--mc', type=int, default=0, metavar='N',
                        help='MC dropout: write the mean of N passes with dropout on, and maps of their standard '
                        'deviation (NAME_out_std.png, .npy)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of MC dropout (default: 0)')
    add_device_arguments(parser)
    add_network_arguments(parser, several=False)
    args = parser.parse_args()
    load_plugins()
    return run_command(lambda: run(args), 'upscale')


def run(args: argparse.Namespace) -> None:
    """Do what the arguments say; raises ``UserError``."""
    for name, value, low in (('tile', args.tile or 0, 0), ('overlap', args.overlap, 0), ('mc', args.mc, 0)):
        if value < low:
            raise UserError(f'--{name}: {value} is out of range; write {low} or more')
    if args.mc == 1:
        raise UserError('--mc: one pass has no standard deviation; write 2 or more')
    jobs = plan(args.input, args.output, args.suffix, args.ext, deviations=args.mc > 0)
    network = open_network_of(args)
    if args.mc and not has_dropout(network.net):
        raise UserError(f'--mc: {network.path}: {network.network_g["type"]} has no dropout with p > 0; put some in '
                        'with --arch WithDropout:dropout_p=0.5, or give a network that has it')
    restorer = Restorer(network.net, network.scale, network.multiple, open_device(args), bool(args.amp), args.tile,
                        args.overlap)
    summary = upscale(jobs, restorer, args.output, args.overwrite, args.mc, args.seed)
    if len(jobs) == 1 and summary.broken:
        raise UserError(summary.broken[0])
    print(summary)
    if summary.broken:
        print('\n'.join(summary.broken), file=sys.stderr)
        raise UserError(f'{len(summary.broken)} of {len(jobs)} images could not be upscaled')


if __name__ == '__main__':
    raise SystemExit(main())
