"""The command ``clusters``: how features cluster by degradation (paper Fig. 9)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import numpy as np
import torch

from reflash_sr.analysis.clusters import Clusters
from reflash_sr.analysis.measure_clusters import FIVE, ClusterPlan, Samples, cluster_samples
from reflash_sr.analysis.on_device import CPU
from reflash_sr.analysis.srga import divergence, srga
from reflash_sr.commands.analysis_inputs import run_analysis
from reflash_sr.commands.arguments import add_network_arguments, add_run_arguments, open_device, open_networks
from reflash_sr.errors import UserError
from reflash_sr.figures.draw_clusters import Panel, chi_text, draw_chi, draw_scatter
from reflash_sr.system.files import csv_text
from reflash_sr.system.result_folder import ResultFolder
from reflash_sr.weights.network_from_file import TrainedNetwork, network_settings

TOOL = 'cluster_degradations'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with arguments. Default: those of the process. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description='Crop photographs, degrade the crops in several ways, and measure how the features of a layer '
        'cluster by degradation (paper Sec. 6.2, Fig. 9), with PCA, t-SNE, and the Calinski-Harabasz index (CHI). A '
        'lower CHI means that the network generalises better. SRGA measures how far the features of each degradation '
        'are from those of the first; lower is better, too.')
    add_network_arguments(parser)
    parser.add_argument('--images', required=True, metavar='DIR',
                        help='photographs with sides of at least --sample times the scale; or photos:train')
    parser.add_argument('--layer', metavar='NAME', help='see --list-layers (default: output of the last trunk block)')
    parser.add_argument('--list-layers', action='store_true', help='only list the layers of the networks')
    parser.add_argument('--degradations', nargs='+', default=FIVE, metavar='NAME',
                        help='two or more, as in evaluate; with strengths: blur:3, noise:30+jpeg:30 '
                        f"(default: {' '.join(FIVE)})")
    parser.add_argument('--samples', type=int, default=100, metavar='N',
                        help='number of crops, each under every degradation; if it exceeds the number of photographs, '
                        'several crops are taken from each (default: 100)')
    parser.add_argument('--sample', type=int, default=128, metavar='PX',
                        help='side of a sample, px of the LQ image (default: 128)')
    parser.add_argument('--pca', type=int, default=50, metavar='K', help='dimensions that PCA keeps (default: 50)')
    parser.add_argument('--perplexity', type=float, default=30, metavar='X',
                        help='perplexity of t-SNE, less than the number of samples (default: 30)')
    parser.add_argument('--tsne_seeds', type=int, default=5, metavar='N',
                        help='number of runs of t-SNE, with different starts (default: 5)')
    parser.add_argument('--batch', type=int, metavar='N', help='samples per batch (default: 2 on a CPU, else 32)')
    parser.add_argument('--scratch', metavar='DIR',
                        help='folder for a temporary file: 4 MB per sample at B16, 67 MB at last (default: --out)')
    add_run_arguments(parser)
    return run_analysis(TOOL, parser, _command, argv)


def _command(args: argparse.Namespace) -> None:
    plan = ClusterPlan(args.images, tuple(args.degradations), args.layer, args.samples, args.sample, args.pca,
                       args.perplexity, args.tsne_seeds, args.seed, args.amp == 'bf16')
    run(plan, open_networks(args), args.out, args.overwrite, open_device(args), args.batch, args.scratch)


def run(plan: ClusterPlan, networks: Sequence[TrainedNetwork], out: str | os.PathLike, overwrite: bool = False,
        device: torch.device = CPU, batch: int | None = None, scratch: str | os.PathLike | None = None) -> ResultFolder:
    """Measure networks; write ``coordinates.csv``, ``chi.csv``, ``srga.csv``, ``summary.json`` and figures.

    The figures are ``clusters.png`` and ``chi_over_p.png``. The reference of SRGA is the first degradation.

    Args:
        plan: Samples, layer, and settings of PCA and t-SNE.
        networks: The networks. All use the same crops if their scales are equal.
        overwrite: Whether to rename a folder with other results.
        batch: Samples per batch. Default: depends on the device.
        scratch: Folder for the temporary file of features (n · d · 4 bytes). Default: the results' folder.

    Raises:
        UserError: The plan or the folder is unsuitable; nothing was written.
        RunError: Memory or the disk ran out.
    """
    if batch is not None and batch < 1:
        raise UserError(f'--batch: {batch}; give 1 or more')
    samples = Samples(plan, networks)
    settings = {**vars(plan), 'layers': samples.layers, 'networks': network_settings(networks)}
    folder = ResultFolder(out, TOOL, settings, overwrite, inputs=[plan.images, *(network.path for network in networks)])
    results = []
    for network, layer in zip(networks, samples.layers):
        found = cluster_samples(network, samples.lq(network.scale), plan.labels, layer, plan.pca, plan.perplexity,
                                plan.seeds, device, plan.amp, batch, scratch or folder.path)
        print(f'{network.label}: CHI {chi_text(_panel(network, found, plan))} at {layer}, {found.chi_pca:.3g} in PCA '
              f'space; SRGA {found.srga:.2f}, to {plan.degradations[0]}')
        results.append(found)
    _write(folder, samples, networks, results)
    print(f'{folder}: {", ".join(sorted(path.name for path in folder.path.iterdir()))}')
    return folder


def _panel(network: TrainedNetwork, found: Clusters, plan: ClusterPlan) -> Panel:
    return Panel(network.label, found.points[0], plan.labels, found.chi, found.chi_pca, network.known_p,
                 srga=found.srga)


def _write(folder: ResultFolder, samples: Samples, networks: Sequence[TrainedNetwork],
           results: Sequence[Clusters]) -> None:
    plan = samples.plan
    places: list[tuple] = []
    values: list[tuple] = []
    distances: list[tuple] = []
    summary = []
    for network, layer, one in zip(networks, samples.layers, results):
        p = network.known_p
        names = [crop.name for crop in samples.crops[network.scale] for _ in plan.degradations]
        for seed, points in zip(plan.seeds, one.points):
            places += [(network.label, name, plan.degradations[kind], seed, f'{x:.6g}', f'{y:.6g}')
                       for name, kind, (x, y) in zip(names, plan.labels, points)]
        chis = [('t-sne', str(seed), chi) for seed, chi in zip(plan.seeds, one.chi)] + [('pca', '', one.chi_pca)]
        values += [(network.label, '' if p is None else f'{p:g}', layer, space, of_seed,
                    f'{chi:.6g}' if np.isfinite(chi) else '') for space, of_seed, chi in chis]
        distances += [(network.label, '' if p is None else f'{p:g}', layer, plan.degradations[0], name,
                       f'{of_it.std:.6g}', f'{of_it.shape:.6g}', f'{divergence(one.fits[0], of_it):.6g}',
                       f'{srga(one.fits[0], of_it):.6g}') for name, of_it in zip(plan.degradations, one.fits.values())]
        summary.append({'label': network.label, 'p': p, 'layer': layer, 'chi': one.mean, 'chi_std': one.std,
                        'chi_by_seed': one.chi.tolist(), 'chi_pca': one.chi_pca,
                        'srga': one.srga, 'srga_to': plan.degradations[0],
                        'srga_by_degradation': dict(zip(plan.degradations[1:], one.srga_of_each)),
                        'pca_dimensions': len(one.components.share),
                        'pca_share_of_variance': float(one.components.share.sum())})
    folder.write('coordinates.csv', csv_text(('model', 'image', 'degradation', 'seed', 'x', 'y'), places))
    folder.write('chi.csv', csv_text(('model', 'p', 'layer', 'space', 'seed', 'chi'), values))
    folder.write('srga.csv', csv_text(('model', 'p', 'layer', 'reference', 'degradation', 'std', 'shape', 'divergence',
                                       'srga'), distances))
    panels = [_panel(network, one, plan) for network, one in zip(networks, results)]
    title = f"Features of {', '.join(dict.fromkeys(samples.layers))} by degradation"
    draw_scatter(panels, plan.degradations, folder.path / 'clusters.png', title)
    if len({panel.p for panel in panels if panel.p is not None}) > 1:
        draw_chi(panels, folder.path / 'chi_over_p.png', title)
    folder.finish(models=summary,
                  crops={f'x{scale}': [vars(crop) for crop in some] for scale, some in samples.crops.items()})
