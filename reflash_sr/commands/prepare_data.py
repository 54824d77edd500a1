"""Cut photographs into sub-images for training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from reflash_sr.data.images.sub_images import cut_folder
from reflash_sr.system.run_command import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool with command-line arguments. Default: those of the process. Returns the exit status."""
    parser = argparse.ArgumentParser(description='Cut a folder of photographs into overlapping sub-images, which load '
                                     'faster in training. After an interruption, repeat the command to continue.')
    parser.add_argument('--input', required=True, metavar='DIR', help='folder of photographs, with its subfolders')
    parser.add_argument('--output', required=True, metavar='DIR', help='folder for the sub-images')
    parser.add_argument('--size', type=int, default=480, metavar='PX', help='side of a sub-image (default: 480)')
    parser.add_argument('--step', type=int, default=240, metavar='PX',
                        help='distance between neighbouring sub-images (default: 240)')
    parser.add_argument('--threshold', type=int, default=0, metavar='PX',
                        help='a remainder of at most PX at the border gets no additional sub-image (default: 0)')
    parser.add_argument('--compression', type=int, default=3, metavar='N', help='PNG level, 0 to 9 (default: 3)')
    parser.add_argument('--workers', type=int, metavar='N', help='processes (default: one per core)')
    args = parser.parse_args(argv)
    return run_command(lambda: print(cut_folder(args.input, args.output, args.size, args.step, args.threshold,
                                                args.compression, args.workers)), 'prepare_data')
