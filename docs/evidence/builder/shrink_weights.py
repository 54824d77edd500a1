"""Weights of a network that is shrunk itself: what it adds to its interpolated image, multiplied by α.

``python docs/evidence/builder/shrink_weights.py A.pth 0.45 A_shrunk.pth``, then any tool on the new file. The output of
the last convolution is linear in its weights and bias, so both are multiplied.
"""

from __future__ import annotations

import argparse
import os

from reflash_sr.errors import UserError
from reflash_sr.evaluation.own_interpolation import own_interpolation
from reflash_sr.evaluation.shrinkage import LARGEST
from reflash_sr.positions import find_sites
from reflash_sr.system.run_command import run_command
from reflash_sr.weights.network_from_file import open_network
from reflash_sr.weights.state_dict import save

TOOL = 'shrink_weights'


def shrink_weights(path: str | os.PathLike, alpha: float, out: str | os.PathLike) -> None:
    """Write the weights of a network that adds α times as much to its interpolated image.

    Args:
        path: A weights file; its averaged weights are taken if there are any.
        alpha: From 0 to 2.
        out: The new file; says that it was trained as the first.

    Raises:
        UserError: The network adds its output to no interpolated image, or α is out of its range.
    """
    network = open_network(path)
    if own_interpolation(network) is None:
        raise UserError(f'{path}: adds its output to no interpolated image; only evaluate_degradations can shrink it')
    if not 0 <= alpha <= LARGEST:
        raise UserError(f'α: must be a number from 0 to {LARGEST:g}, not {alpha}')
    [last] = find_sites(network.net, 'last-conv')
    for values in network.net.get_submodule(last.module).parameters():
        values.data.mul_(alpha)
    save({network.key: network.net.state_dict(), 'network_g': network.network_g, 'trained': network.trained}, out)


def main() -> int:
    parser = argparse.ArgumentParser(description='Multiply what a network adds to its interpolated image by a number.')
    parser.add_argument('weights', metavar='FILE')
    parser.add_argument('alpha', type=float, metavar='ALPHA')
    parser.add_argument('out', metavar='FILE')
    args = parser.parse_args()
    return run_command(lambda: shrink_weights(args.weights, args.alpha, args.out), TOOL)


if __name__ == '__main__':
    raise SystemExit(main())
