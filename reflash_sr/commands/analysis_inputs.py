"""Shared by the analysis commands: arguments for images and layers, file names, numbers."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from reflash_sr.analysis.features import list_layers
from reflash_sr.analysis.image_pairs import ImageSelection
from reflash_sr.commands.arguments import add_network_arguments, open_networks
from reflash_sr.options.registry import load_plugins
from reflash_sr.system.run_command import run_command

LONGEST = 80  # bytes: largest length of a file name made from a label
RESULTS = frozenset({'.json', '.csv', '.png', '.html', '.md', '.tex'})
PATH_HINT = 'and any module: PATH is its output, input of PATH its input'


def add_image_arguments(parser: argparse.ArgumentParser, crop: int | None = None) -> None:
    """Add ``--images --degradation --limit --crop``."""
    parser.add_argument('--images', required=True, metavar='DIR', help='GT images; or photos:val')
    parser.add_argument('--degradation', default='clean', metavar='NAME',
                        help='degradation of the LQ images, as in evaluate: clean, b+n, noise:30+jpeg:30 (default: '
                        'clean)')
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N images')
    parser.add_argument('--crop', type=int, default=crop, metavar='PX',
                        help='side of a central crop, px of the LQ image; 0: the whole image (default: '
                        f'{crop or 0})')


def add_layer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--layer --list-layers``."""
    parser.add_argument('--layer', nargs='+', default=['last'], metavar='NAME',
                        help='first, B1, B2, ..., hr, last, the path of a module, or all: see --list-layers (default: '
                        'last)')
    parser.add_argument('--list-layers', action='store_true', help='only list the layers of the networks')


def selection_of(args: argparse.Namespace) -> ImageSelection:
    """The images selected by the arguments."""
    return ImageSelection(args.images, args.degradation, args.limit, args.crop, args.seed)


def run_analysis(tool: str, parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], None],
                 argv: Sequence[str] | None) -> int:
    """Run a command, or only list the layers of its networks. Returns the exit status."""
    load_plugins()
    argv = sys.argv[1:] if argv is None else argv
    if '--list-layers' in argv:
        return run_command(lambda: _print_layers(argv), tool)
    args = parser.parse_args(argv)
    return run_command(lambda: command(args), tool)


def _print_layers(argv: Sequence[str]) -> None:
    """Print the layers of networks; ignores the arguments of the analysis."""
    parser = argparse.ArgumentParser(description='List the layers of networks.')
    add_network_arguments(parser)
    args, _ = parser.parse_known_args(argv)
    for network in open_networks(args):
        print(f'{network.label}: {type(network.net).__name__}')
        for name, what in list_layers(network.net, channels=network.channels):
            print(f'  {name}: {what}')
        print(f'  {PATH_HINT}')


def folder_names(labels: Sequence[str]) -> list[str]:
    """A folder or file name for each label: valid on every system, and unique on case-insensitive file systems."""
    names: list[str] = []
    for label in labels:
        name = file_name(label).strip('._') or 'model'
        if Path(name).suffix.lower() in RESULTS:
            name += '_'  # not to collide with a result file in the same folder
        number = 2
        unique = name
        while unique.lower() in map(str.lower, names):
            unique, number = f'{name}_{number}', number + 1
        names.append(unique)
    return names


def file_name(layer: str) -> str:
    """A layer's name as part of a file name, short enough for every file system."""
    return re.sub(r'[^\w.+=@-]+', '_', layer).encode()[:LONGEST].decode(errors='ignore')


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the finite values; None if there are none."""
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def say(value: float | None) -> str:
    """Format a number for the terminal."""
    return '-' if value is None else f'{value:.2f}'
