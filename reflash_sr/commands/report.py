"""One page about two or more networks: evaluated, ablated, mapped, clustered, and written as HTML."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reflash_sr.commands import ablate_channels as ablation_run
from reflash_sr.commands import cluster_degradations as clusters_run
from reflash_sr.commands import map_saliency as saliency_run
from reflash_sr.commands.analysis_inputs import ImageSelection, Pairs, check_layers, layers_of
from reflash_sr.commands.evaluate_degradations import Settings, evaluate
from reflash_sr.commands.html_page import Details, Figure, Section, Table, render
from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.data.images.read_image import image_size
from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.errors import UserError
from reflash_sr.evaluation.comparison import baselines_of, describe
from reflash_sr.evaluation.metrics import DECIMALS, UNITS
from reflash_sr.evaluation.scores import MEAN
from reflash_sr.system.result_folder import ResultFolder
from reflash_sr.weights.trained_network import TrainedNetwork, network_settings

TOOL = 'report'
LARGEST_SAMPLE, SAMPLE_STEP = 128, 16  # px of the LQ image, of the clusters' samples


@dataclass(frozen=True)
class Plan:
    """What the page is made of.

    Attributes:
        images: Folder of GT images, or ``photos:val``.
        cluster_images: Photographs for the clusters; None: the same.
        degradations: For the evaluation.
        layers: For ablation and saliency.
        limit: At most so many images for ablation.
        crop: Side of the middle part that ablation and saliency look at, px of the LQ image.
        samples: Crops for the clusters, each under five degradations.
        seed: Of everything random.
        amp: Whether the networks run in bfloat16 mixed precision.
    """

    images: str
    cluster_images: str | None = None
    degradations: tuple[str, ...] = ('all',)
    layers: tuple[str, ...] = ('last',)
    limit: int = 5
    crop: int = 64
    samples: int = 20
    seed: int = 0
    amp: bool = False


def run(plan: Plan, networks: Sequence[TrainedNetwork], out: str | os.PathLike, overwrite: bool = False,
        device: torch.device | None = None, baselines: Mapping[str, str] | None = None) -> Path:
    """Do all four analyses into folders of their own, and write ``report.html``.

    Args:
        plan: What is measured.
        networks: The networks; all of one scale.
        out: Folder for the page and the results.
        overwrite: Whether to put what is there aside.
        device: Where the networks run. Default: the CPU.
        baselines: As for :func:`reflash_sr.commands.evaluate_degradations.evaluate`.

    Returns:
        The page.

    Raises:
        UserError: Something in the plan does not fit.
    """
    if len(networks) < 2:
        raise UserError('--weights: a report compares; give two weights files or more')
    device = device or torch.device('cpu')
    sets = open_sets([plan.images], plan.degradations, [], [], [], networks[0].scale, plan.seed)
    photographs = plan.cluster_images or plan.images
    sample = _sample(photographs, plan.samples, networks)
    cluster_plan = clusters_run.Plan(photographs, samples=plan.samples, sample=sample, seed=plan.seed, amp=plan.amp,
                                     perplexity=max(1, min(30, plan.samples)))
    selection = ImageSelection(plan.images, 'clean', plan.limit, plan.crop, plan.seed)
    baselines = baselines_of(networks, baselines)
    check_layers(networks, layers_of(networks, plan.layers), Pairs(selection, networks).step)
    clusters_run.check(cluster_plan, networks)
    clusters_run.choose(cluster_plan, networks)
    others = [] if photographs == plan.images else [photographs]
    seen = sets + [one for root in others for one in open_sets([root], ['clean'], [], [], [], sets[0].scale, 0)]
    settings = {**vars(plan), 'networks': network_settings(networks), 'baselines': baselines,
                'sets': [describe(one) for one in seen]}
    folder = ResultFolder(out, TOOL, settings, overwrite, [plan.images, photographs, *(one.path for one in networks)])
    evaluation, ablation, saliency, clusters = (folder.path / name for name in
                                                ('evaluation', 'ablation', 'saliency', 'clusters'))
    parts: dict[Path, Callable[[], Any]] = {
        evaluation: lambda: evaluate(networks, sets, evaluation, Settings(seed=plan.seed, amp=plan.amp), baselines,
                                     device),
        ablation: lambda: ablation_run.run(selection, plan.layers, ('index', 'random'), 3, networks, ablation,
                                           device=device, amp=plan.amp),
        saliency: lambda: saliency_run.run(selection, plan.layers, networks, saliency, device=device, amp=plan.amp),
        clusters: lambda: clusters_run.run(cluster_plan, networks, clusters, device=device),
    }
    for path, work in parts.items():
        if not _is_finished(path, folder):
            work()
    sections = [_networks(networks), _evaluation(evaluation), _ablation(ablation), _saliency(saliency),
                _clusters(clusters), _options(networks, folder)]
    page = folder.write('report.html', render(' and '.join(one.label for one in networks), sections))
    folder.finish(page=page.name)
    return page


def _is_finished(path: Path, folder: ResultFolder) -> bool:
    """Whether a part is there from an earlier start of this very report."""
    try:
        return folder.continued and json.loads((path / 'summary.json').read_text(encoding='utf-8'))['finished'] is True
    except (OSError, ValueError, KeyError):
        return False


def _sample(images: str, samples: int, networks: Sequence[TrainedNetwork]) -> int:
    """Side of the clusters' samples, px of the LQ image: the largest usual one that fits into every photograph.

    Where photographs must give several, it fits with room to spare: they have to lie at different places.
    """
    scale, multiple = networks[0].scale, math.lcm(*(one.multiple for one in networks))
    paths = ImageSource({'dataroot_gt': images}).paths
    smallest = min(min(image_size(path)) for path in paths) // scale - (samples > len(paths)) * SAMPLE_STEP
    step = -(-SAMPLE_STEP // multiple) * multiple
    if smallest < step:
        raise UserError(f'{images}: the smallest image is too small for the clusters: a side needs '
                        f'{(step + SAMPLE_STEP) * scale} px; give larger ones with --cluster_images')
    return max(step, min(LARGEST_SAMPLE, smallest) // step * step)


# ---------------------------------------------------------------------- sections


def _networks(networks: Sequence[TrainedNetwork]) -> Section:
    rows = [(one.label, str(one.network_g['type']), _number(one.known_p, 'g'), f'{one.parameters:,}',
             f"{one.trained['iter']:,}" if one.trained.get('iter') else 'not stated', one.key, one.sha256[:12])
            for one in networks]
    head = ('name', 'network', 'p', 'parameters', 'iterations', 'weights', 'SHA-256')
    return Section('Networks', [Table(head, rows, 2)])


def _evaluation(path: Path) -> Section:
    """The table, each cell with its gain; bold where a smaller network with dropout beats a larger one without."""
    with open(path / 'table.csv', encoding='utf-8', newline='') as file:
        cells = list(csv.DictReader(file))
    parts: list[Any] = []
    for metric in dict.fromkeys(cell['metric'] for cell in cells):
        chosen = [cell for cell in cells if cell['metric'] == metric]
        columns = sorted(dict.fromkeys(cell['degradation'] for cell in chosen), key=lambda name: name != MEAN)
        lines, marked = [], set()
        for key in dict.fromkeys((cell['dataset'], cell['method']) for cell in chosen):
            found = {cell['degradation']: cell for cell in chosen if (cell['dataset'], cell['method']) == key}
            marked |= {(len(lines), 2 + place) for place, name in enumerate(columns)
                       if name in found and found[name]['beats']}
            lines.append([*key, *(_cell(found[name], DECIMALS[metric], name == columns[0]) if name in found else ''
                                 for name in columns)])
        unit = f' ({UNITS[metric]})' if metric in UNITS else ''
        pairs = dict.fromkeys(f"{cell['method']} over {cell['baseline']}" for cell in chosen if cell['baseline'])
        says = [f'{metric.upper()}{unit}, 8-bit RGB, 4 px border cropped.']
        if pairs:
            says.append(f"In brackets: gain of {'; '.join(pairs)}, for a whole row with its 95 % bootstrap interval "
                        'over images.')
        if marked:
            says.append('Marked: a smaller network with dropout that is better than a larger one without.')
        parts += [' '.join(says), Table(('set', 'method', *columns), lines, 2, frozenset(marked))]
    strips = sorted((path / 'strips').rglob('*.png'))
    bars = [Figure(path / f'{name}.png', title) for name, title in (
        ('gain_per_degradation', 'Gain per degradation'), ('absolute', 'Values per degradation'))
            if (path / f'{name}.png').is_file()]  # not there for many networks, nor where no gain is finite
    return Section('Evaluation', [*parts, *bars, *(Figure(strip, f'Crops of {strip.stem}') for strip in strips)])


def _cell(cell: Mapping[str, str], decimals: int, whole: bool) -> str:
    """The value and its gain; for what stands for a whole row, with the interval."""
    if not cell['value']:
        return '–'
    text = f"{float(cell['value']):.{decimals}f}"
    if not cell['gain']:
        return text
    gain = f"{float(cell['gain']):+.{decimals}f}"
    if whole and cell['gain_low']:
        low, high = (f'{float(cell[end]):+.{decimals}f}' for end in ('gain_low', 'gain_high'))
        return f"{text} ({gain} [{low}, {high}], n = {cell['images']})"
    return f'{text} ({gain})'


def _ablation(path: Path) -> Section:
    rows = [(model['label'], layer['layer'], _number(layer['psnr_db'], '.2f'), _number(layer['largest_drop_db'], '.3f'),
             _number(layer['gini'], '.2f'), _number(layer.get('gini_of_sizes'), '.2f'),
             _number(layer.get('share_rising'), '.0%'),
             *(_number(share, '.0%') for share in layer['share_1db'].values()))
            for model in _summary(path)['models'] for layer in model['layers']]
    return Section('Channel ablation', [
        'A channel is set to zero and the others are rescaled to the sum of all (paper Sec. 6.1). A network whose '
        'channels are worth the same can lose many before it loses 1 dB, and its drops have a small Gini coefficient; '
        'channels without which PSNR rises count as worth nothing in it, and with their size in the one beside it. '
        'PSNR is of what --crop takes of each image, without cropping a border: not that of the evaluation.',
        Table(('network', 'layer', 'PSNR (dB)', 'largest drop (dB)', 'Gini of drops', 'of their sizes',
               'PSNR rises without', 'may go (index)', 'may go (random)'), rows, 2),
        *(Figure(figure, figure.stem.replace('_', ' ')) for figure in sorted(path.glob('*.png')))])


def _saliency(path: Path) -> Section:
    return Section('Channel saliency', [
        'How much each value of a feature map moves the detail of the result (paper Sec. 6.1), all channels of a layer '
        'on one scale.', *(Figure(figure, figure.stem.replace('_', ' ')) for figure in sorted(path.glob('*.png')))])


def _clusters(path: Path) -> Section:
    rows = [(model['label'], model['layer'], '' if model['p'] is None else f"{model['p']:g}", _number(model['chi']),
             _number(model['chi_std']), _number(model['chi_pca'])) for model in _summary(path)['models']]
    return Section('Degradation clusters', [
        'How strongly the features of a layer cluster by degradation (paper Sec. 6.2): the lower the Calinski-Harabasz '
        'index (CHI), the less they depend on it. The spread is over starts of t-SNE.',
        Table(('network', 'layer', 'p', 'CHI (t-SNE)', 'std', 'CHI (PCA space)'), rows, 2),
        *(Figure(figure, figure.stem.replace('_', ' ')) for figure in sorted(path.glob('*.png')))])


def _options(networks: Sequence[TrainedNetwork], folder: ResultFolder) -> Section:
    parts = [Details(one.label, {'weights': one.path, 'sha256': one.sha256, 'network_g': one.network_g,
                                 'trained': one.trained}) for one in networks]
    settings = {key: value for key, value in folder.settings.items() if key not in ('networks', 'sets')}
    return Section('Options', [*parts, Details('this report', settings)])


def _summary(path: Path) -> dict[str, Any]:
    return json.loads((path / 'summary.json').read_text(encoding='utf-8'))


def _number(value: float | None, form: str = '.3g') -> str:
    return '–' if value is None else f'{value:{form}}'
