"""How far networks tell degradations apart: python tools/cluster_degradations.py --weights A.pth --images D --out O"""

from __future__ import annotations

import argparse
import sys

from reflash_sr.commands.analysis_inputs import print_layers
from reflash_sr.commands.arguments import add_network_arguments, add_run_arguments, open_device, open_networks
from reflash_sr.commands.cluster_degradations import FIVE, TOOL, Plan, run
from reflash_sr.options.registry import load_plugins
from reflash_sr.system.run_command import run_command


def main() -> int:
    load_plugins()
    if '--list-layers' in sys.argv[1:]:
        return run_command(print_layers, TOOL)
    args = _parser().parse_args()
    plan = Plan(args.images, tuple(args.degradations), args.layer, args.samples, args.sample, args.pca, args.perplexity,
                args.tsne_seeds, args.seed, args.amp == 'bf16')
    return run_command(lambda: run(plan, open_networks(args), args.out, args.overwrite, open_device(args), args.batch,
                                args.scratch), TOOL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Crop photographs, degrade the crops in several ways, and see how the features of a layer cluster '
        "by degradation (paper Sec. 6.2, Fig. 9): PCA, t-SNE, and the Calinski-Harabasz index (CHI). The lower it is, "
        'the better a network generalises.')
    add_network_arguments(parser)
    parser.add_argument('--images', required=True, metavar='DIR',
                        help='photographs, at least --sample times the scale wide and high; or photos:train')
    parser.add_argument('--layer', metavar='NAME', help='see --list-layers (default: output of the last trunk block)')
    parser.add_argument('--list-layers', action='store_true', help='list the layers of the networks, do nothing else')
    parser.add_argument('--degradations', nargs='+', default=FIVE, metavar='NAME',
                        help='two or more, as in the test set; with strengths: blur:3, noise:30+jpeg:30 '
                        f"(default: {' '.join(FIVE)})")
    parser.add_argument('--samples', type=int, default=100, metavar='N',
                        help='crops, each under every degradation; more than there are photographs: several of each '
                        '(default: 100)')
    parser.add_argument('--sample', type=int, default=128, metavar='PX',
                        help='side of a sample, px of the LQ image (default: 128)')
    parser.add_argument('--pca', type=int, default=50, metavar='K', help='dimensions that PCA keeps (default: 50)')
    parser.add_argument('--perplexity', type=float, default=30, metavar='X',
                        help='of t-SNE; less than there are samples (default: 30)')
    parser.add_argument('--tsne_seeds', type=int, default=5, metavar='N', help='starts of t-SNE (default: 5)')
    parser.add_argument('--batch', type=int, metavar='N', help='samples at a time (default: 2 on a CPU, else 32)')
    parser.add_argument('--scratch', metavar='DIR',
                        help='folder for a temporary file: 4 MB per sample at B16, 67 MB at last (default: --out)')
    add_run_arguments(parser)
    return parser


if __name__ == '__main__':
    raise SystemExit(main())
