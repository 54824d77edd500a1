"""The command ``report``: evaluation and the four analyses of two or more networks on one HTML page."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reflash_sr.analysis.attribution import WINDOW
from reflash_sr.analysis.image_pairs import ImageSelection, load_pairs
from reflash_sr.analysis.measure_ablation import AblationPlan
from reflash_sr.analysis.measure_attribution import AttributionPlan
from reflash_sr.analysis.measure_clusters import ClusterPlan, Samples
from reflash_sr.analysis.on_device import check_layers
from reflash_sr.commands import ablate_channels as ablation_run
from reflash_sr.commands import arguments as tool_args
from reflash_sr.commands import cluster_degradations as clusters_run
from reflash_sr.commands import map_attribution as attribution_run
from reflash_sr.commands import map_saliency as saliency_run
from reflash_sr.commands import report_sections as sections
from reflash_sr.commands.evaluate_degradations import Settings, evaluate
from reflash_sr.commands.html_page import render
from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.data.images.read_image import image_size
from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.errors import UserError
from reflash_sr.evaluation.comparison import BICUBIC, baselines_of, describe
from reflash_sr.evaluation.fit_shrinkage import CONTROL, HALVES, Control, Fit
from reflash_sr.evaluation.pairs import pair_notes
from reflash_sr.evaluation.seal import Lines
from reflash_sr.options.registry import load_plugins
from reflash_sr.system.files import relative
from reflash_sr.system.result_folder import ResultFolder
from reflash_sr.system.run_command import run_command
from reflash_sr.weights.network_from_file import TrainedNetwork, network_settings

TOOL = 'report'
METRICS = ('psnr', 'ssim', 'gradient')
ATTRIBUTION_STEPS = 16  # of the path of attribution maps, fewer than those of the tool alone
LARGEST_SAMPLE, SAMPLE_STEP = 128, 16  # px of the LQ image: largest side of a sample for the clusters, and its steps


@dataclass(frozen=True)
class Plan:
    """The settings of a report.

    Attributes:
        images: Folder of GT images, or ``photos:val``.
        cluster_images: Photographs for the clusters; None: ``images``.
        degradations: For the evaluation.
        fit_on: What the shrinkage control of the evaluation is fitted on, as for
            :class:`~reflash_sr.evaluation.fit_shrinkage.Control`; a single image has no halves, and no control.
        layers: For ablation and saliency.
        limit: Largest number of images for ablation, saliency and attribution.
        crop: Side of their central crop, px of the LQ image; 0: the whole image.
        samples: Number of crops for the clusters, each under five degradations.
        seed: Seed of all random numbers.
        amp: Whether the networks run in bfloat16 mixed precision.
    """

    images: str
    cluster_images: str | None = None
    degradations: tuple[str, ...] = ('all',)
    fit_on: tuple[str, ...] = (HALVES,)
    layers: tuple[str, ...] = ('last',)
    limit: int = 5
    crop: int = 64
    samples: int = 20
    seed: int = 0
    amp: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool with command-line arguments. Default: those of the process. Returns the exit status."""
    load_plugins()
    parser = argparse.ArgumentParser(
        description='Evaluate networks, ablate their channels, map their saliency and attribution, cluster their '
        'features, and write one HTML page that works offline. After an interruption, repeat the command for the '
        'missing parts.')
    tool_args.add_network_arguments(parser)
    parser.add_argument('--images', required=True, metavar='DIR', help='GT images, or photos:val')
    parser.add_argument('--cluster_images', metavar='DIR', help='photographs for the clusters (default: --images)')
    parser.add_argument('--degradations', nargs='+', default=['all'], metavar='NAME',
                        help='for the evaluation, as in tools/evaluate_degradations.py (default: all)')
    parser.add_argument('--baseline', nargs='+', default=[], metavar='LABEL=LABEL',
                        help='as in tools/evaluate_degradations.py')
    parser.add_argument('--fit_on', nargs='+', default=[HALVES], metavar='DIR',
                        help='images that the shrinkage control is fitted on, as in tools/evaluate_degradations.py '
                        f'(default: {HALVES})')
    parser.add_argument('--layer', nargs='+', default=['last'], metavar='NAME',
                        help='for ablation and saliency: first, B1, …, hr, last, the path of a module, or all '
                        '(default: last)')
    parser.add_argument('--limit', type=tool_args.count, default=5, metavar='N',
                        help='number of images for ablation, saliency and attribution (default: 5)')
    parser.add_argument('--crop', type=tool_args.count, default=64, metavar='PX',
                        help='side of their central crop, px of the LQ image; 0: the whole image (default: 64)')
    parser.add_argument('--samples', type=tool_args.count, default=20, metavar='N',
                        help='crops for the clusters, each under five degradations (default: 20; the paper: 100)')
    tool_args.add_run_arguments(parser)
    args = parser.parse_args(argv)
    return run_command(lambda: _run(args), TOOL)


def _run(args: argparse.Namespace) -> None:
    plan = Plan(args.images, args.cluster_images, tuple(args.degradations), tuple(args.fit_on), tuple(args.layer),
                args.limit, args.crop, args.samples, args.seed, args.amp is not None)
    networks = tool_args.open_networks(args)
    baselines = tool_args.pairs_of(args.baseline, {BICUBIC, *(network.label for network in networks)}, '--baseline')
    page = run(plan, networks, args.out, args.overwrite, tool_args.open_device(args), baselines)
    print(f'Page: {relative(page)}')


def run(plan: Plan, networks: Sequence[TrainedNetwork], out: str | os.PathLike, overwrite: bool = False,
        device: torch.device | None = None, baselines: Mapping[str, str] | None = None) -> Path:
    """Run the evaluation and all analyses, each with its own folder, and write ``report.html``.

    Args:
        networks: The networks; all of one scale.
        out: Folder for the page and the results.
        overwrite: Whether to rename a folder with other results.
        device: Where the networks run. Default: the CPU.
        baselines: As for :func:`reflash_sr.commands.evaluate_degradations.evaluate`.

    Returns:
        Path of the page.

    Raises:
        UserError: A setting does not fit the images or the networks; nothing is written.
    """
    if len(networks) < 2:
        raise UserError('--weights: a report compares networks; give two weights files or more')
    device = device or torch.device('cpu')
    sets = open_sets([plan.images], plan.degradations, [], [], [], networks[0].scale, plan.seed)
    photographs = plan.cluster_images or plan.images
    cluster_plan = ClusterPlan(photographs, samples=plan.samples, seed=plan.seed, amp=plan.amp,
                               sample=_sample(photographs, plan.samples, networks),
                               perplexity=max(1, min(30, plan.samples)))
    how = Settings(METRICS, seed=plan.seed, amp=plan.amp)
    control = None if plan.fit_on == (HALVES,) and len(sets[0]) < 2 else Control.parse(CONTROL, plan.fit_on)
    fit = None if control is None else Fit(control, networks, sets, how)
    if fit is not None:
        fit.check()
    selection = ImageSelection(plan.images, 'clean', plan.limit, plan.crop, plan.seed)
    baselines = baselines_of(networks, baselines)
    pairs = load_pairs(selection, networks)
    check_layers(networks, plan.layers)
    smallest = min(side for pair in pairs for side in pair.gt.shape[:2])
    windows = AttributionPlan(max(1, min(WINDOW, smallest - 1)), steps=ATTRIBUTION_STEPS)
    windows.places(pairs)
    Samples(cluster_plan, networks)  # refuses now what would be refused later
    others = [] if photographs == plan.images else open_sets([photographs], ['clean'], [], [], [], sets[0].scale, 0)
    settings = {**vars(plan), 'networks': network_settings(networks), 'baselines': baselines,
                'sets': [describe(one) for one in [*sets, *others]], 'control': fit and fit.described}
    folder = ResultFolder(out, TOOL, settings, overwrite, [plan.images, photographs, *(one.path for one in networks)])
    evaluation, ablation, saliency, attribution, clusters = (
        folder.path / name for name in ('evaluation', 'ablation', 'saliency', 'attribution', 'clusters'))
    parts: dict[Path, Callable[[], Any]] = {
        evaluation: lambda: evaluate(networks, sets, evaluation, how, baselines, device, control=control,
                                     lines=Lines(BICUBIC)),
        ablation: lambda: ablation_run.run(selection, pairs, plan.layers, AblationPlan(seed=plan.seed, amp=plan.amp),
                                           networks, ablation, device=device),
        saliency: lambda: saliency_run.run(selection, pairs, plan.layers, networks, saliency, device=device,
                                           amp=plan.amp),
        attribution: lambda: attribution_run.run(selection, pairs, windows, networks, attribution, device=device,
                                                 amp=plan.amp),
        clusters: lambda: clusters_run.run(cluster_plan, networks, clusters, device=device),
    }
    for path, work in parts.items():
        if not (folder.continued and _is_finished(path)):
            work()
    page = folder.write('report.html', render(' and '.join(network.label for network in networks), [
        sections.networks_section(networks), sections.evaluation_section(evaluation, pair_notes(networks, baselines)),
        sections.ablation_section(ablation), sections.saliency_section(saliency),
        sections.attribution_section(attribution), sections.clusters_section(clusters),
        sections.options_section(networks, folder.settings)]))
    folder.finish(page=page.name)
    return page


def _is_finished(path: Path) -> bool:
    try:
        return json.loads((path / 'summary.json').read_text(encoding='utf-8'))['finished'] is True
    except (OSError, ValueError, KeyError):
        return False


def _sample(images: str, samples: int, networks: Sequence[TrainedNetwork]) -> int:
    """Side of the clusters' samples, px of the LQ image: the largest multiple of the step that fits every photograph.

    Several samples from one photograph must lie at different positions, so one step is left free.
    """
    scale, multiple = networks[0].scale, math.lcm(*(network.multiple for network in networks))
    paths = ImageSource({'dataroot_gt': images}).paths
    smallest = min(min(image_size(path)) for path in paths) // scale - (samples > len(paths)) * SAMPLE_STEP
    step = -(-SAMPLE_STEP // multiple) * multiple
    if smallest < step:
        raise UserError(f'{images}: the smallest image is too small for the clusters: a side needs '
                        f'{(step + SAMPLE_STEP) * scale} px; give larger ones with --cluster_images')
    return max(step, min(LARGEST_SAMPLE, smallest) // step * step)
