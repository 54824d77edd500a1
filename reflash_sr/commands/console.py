"""The command ``reflash-sr``: every tool by a short name, also without the repository."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from reflash_sr.errors import suggest

# Short name: module in this folder, and description.
COMMANDS = {
    'evaluate': ('evaluate_degradations', 'measure networks under degradations: tables and figures'),
    'ablate': ('ablate_channels', 'remove channels of a layer and measure the loss of PSNR'),
    'saliency': ('map_saliency', 'draw where each channel of a layer influences detail'),
    'attribute': ('map_attribution', 'draw which pixels a window depends on: LAM and diffusion index'),
    'clusters': ('cluster_degradations', 'measure how features cluster by degradation'),
    'report': ('report', 'run all of these, with one HTML page'),
    'upscale': ('upscale', 'upscale your own images'),
    'sweep': ('sweep_dropout', 'train a grid of networks and compare them'),
    'compare': ('compare_seeds', 'compare evaluations over several seeds'),
    'prepare': ('prepare_data', 'cut photographs into sub-images for training'),
    'options': ('copy_options', 'copy the shipped option files and weights into a folder'),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``reflash-sr NAME …`` (default: the process's arguments); returns the tool's exit status, 2 if unknown."""
    name, *rest = (sys.argv[1:] if argv is None else list(argv)) or ['--help']
    if name in ('-h', '--help'):
        lines = [f'  {name:<10} {what}' for name, (_, what) in COMMANDS.items()]
        try:
            print('usage: reflash-sr COMMAND [arguments]\n\nTools of reflash-sr; basicsr train trains networks.\n',
                  *lines, '\nreflash-sr COMMAND --help lists the arguments of a command.', sep='\n', flush=True)
        except OSError:  # the reader has seen enough, as in reflash-sr | head -1
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        return 0
    if name not in COMMANDS:
        print(f"reflash-sr: error: there is no command '{name}'{suggest(name, COMMANDS)}", file=sys.stderr)
        return 2
    sys.argv = [f'reflash-sr {name}', *rest]  # the program's name in --help and error messages
    return importlib.import_module(f'reflash_sr.commands.{COMMANDS[name][0]}').main(rest)


if __name__ == '__main__':
    sys.exit(main())
