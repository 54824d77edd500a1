"""How networks tell degradations apart: photographs to features, clusters, tables and figures (paper Sec. 6.2)."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from reflash_sr.analysis import clusters
from reflash_sr.analysis.feature_file import FeatureFile
from reflash_sr.analysis.features import features_until, find_layer, study_layers
from reflash_sr.commands.analysis_inputs import check_layers
from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.data.test_degradation.sample_crops import Crop, check_degradations, choose_crops, make_samples
from reflash_sr.errors import RunError, UserError
from reflash_sr.figures.draw_clusters import Panel, chi_text, draw_chi, draw_scatter
from reflash_sr.system.devices import is_out_of_memory, release_memory
from reflash_sr.system.files import csv_text
from reflash_sr.system.result_folder import ResultFolder
from reflash_sr.weights.trained_network import TrainedNetwork, network_settings

TOOL = 'cluster_degradations'
MOST_SAMPLES, MOST_SEEDS = 100_000, 1000
FIVE = ('clean', 'blur', 'noise', 'jpeg', 'b+n+j')  # the paper does not name its five
BATCH = {'cpu': 2}  # samples at a time that stay near a CPU's caches
BATCH_GPU = 32


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        images: Folder of photographs, or ``photos:train``, ``photos:val``.
        degradations: Names, two or more.
        layer: Name or path of a layer; None: the output of the last trunk block (the paper's B16).
        samples: Crops; each gives a sample for each degradation.
        sample: Side of a sample, px of the LQ image.
        pca: Dimensions that PCA keeps.
        perplexity: Of t-SNE.
        tsne_seeds: How many starts of t-SNE.
        seed: Of the crops' places, the noise and the first start of t-SNE.
        amp: Whether the networks run in bfloat16 mixed precision.
    """

    images: str
    degradations: tuple[str, ...] = FIVE
    layer: str | None = None
    samples: int = 100
    sample: int = 128
    pca: int = 50
    perplexity: float = 30
    tsne_seeds: int = 5
    seed: int = 0
    amp: bool = False


def run(plan: Plan, networks: Sequence[TrainedNetwork], out: str | os.PathLike, overwrite: bool = False,
        device: torch.device = torch.device('cpu'), batch: int | None = None,  # noqa: B008
        scratch: str | os.PathLike | None = None) -> ResultFolder:
    """Measure networks; write ``coordinates.csv``, ``chi.csv``, ``clusters.png``, ``chi_over_p.png``, ``summary.json``.

    Args:
        plan: What is measured.
        networks: The networks; each is compared on the same crops, as far as their scales are the same.
        out: Folder for the results.
        overwrite: Whether to put what is there aside.
        device: Where the networks run.
        batch: Samples at a time. Default: by device.
        scratch: Folder for the temporary file of features (n · d · 4 bytes: 2 GB at B16, 34 GB at ``last``). Default:
            the results' folder.

    Returns:
        The folder.

    Raises:
        UserError: Something in the plan does not fit; before any network runs, but for a layer that is not reached.
        RunError: The disk ran full.
    """
    if batch is not None and batch < 1:
        raise UserError(f'--batch: {batch}; give 1 or more')
    kinds, seeds, layers = check(plan, networks)
    source, crops = choose(plan, networks)
    settings = {**vars(plan), 'layers': layers, 'networks': network_settings(networks)}
    folder = ResultFolder(out, TOOL, settings, overwrite, inputs=[plan.images, *(one.path for one in networks)])
    made, results = {}, []
    for network, layer in zip(networks, layers):
        if network.scale not in made:
            made = {network.scale: make_samples(source, crops[network.scale], plan.degradations, network.scale,
                                                plan.seed)}
        with FeatureFile(len(kinds), scratch or folder.path) as file:
            fill(file, network.net, made[network.scale], layer, device, plan.amp, batch, network.label)
            results.append(clusters.cluster(file.blocks(), kinds, plan.pca, plan.perplexity, seeds))
        print(f'{network.label}: CHI {chi_text(_panel(network, results[-1], kinds))} at {layer}, '
              f'{results[-1].chi_pca:.3g} in PCA space')
    _write(folder, plan, networks, layers, crops, kinds, results)
    print(f'{folder}: {", ".join(sorted(path.name for path in folder.path.iterdir()))}')
    return folder


def check(plan: Plan, networks: Sequence[TrainedNetwork]) -> tuple[np.ndarray, range, list[str]]:
    """Refuse a plan that does not fit, before anything is done.

    Returns:
        (n,) degradation of each sample by number, seeds of t-SNE, and the layer of each network.

    Raises:
        UserError: Says what does not fit.
    """
    check_degradations(plan.degradations)
    for name, value, least, most in (('samples', plan.samples, 2, MOST_SAMPLES), ('pca', plan.pca, 1, MOST_SAMPLES),
                                     ('tsne_seeds', plan.tsne_seeds, 1, MOST_SEEDS)):
        if not least <= value <= most:
            raise UserError(f'--{name}: {value}; give {least} to {most:,}')
    kinds = np.tile(np.arange(len(plan.degradations)), plan.samples)
    seeds = range(plan.seed, plan.seed + plan.tsne_seeds)
    clusters.check(kinds, plan.perplexity, seeds)
    layers = [plan.layer or default_layer(one.net) for one in networks]
    for network, layer in zip(networks, layers):
        _check_network(network, layer, plan.sample)
    check_layers(networks, [[layer] for layer in layers], math.lcm(*(one.multiple for one in networks)))
    return kinds, seeds, layers


def choose(plan: Plan, networks: Sequence[TrainedNetwork]) -> tuple[ImageSource, dict[int, list[Crop]]]:
    """Open the photographs, and choose the crops for each scale; raises ``UserError`` where they do not suffice."""
    source = ImageSource({'dataroot_gt': plan.images})
    return source, {scale: choose_crops(source, plan.samples, plan.sample * scale, plan.seed)
                    for scale in dict.fromkeys(one.scale for one in networks)}


def default_layer(net: nn.Module) -> str:
    """The output of the last trunk block, the paper's B16; ``'last'`` in networks without known blocks."""
    return next((name for name in reversed(study_layers(net)) if name.startswith('B')), 'last')


def fill(file: FeatureFile, net: nn.Module, samples: np.ndarray, layer: str, device: torch.device, amp: bool = False,
         batch: int | None = None, label: str | None = None) -> None:
    """Run a network up to a layer on every sample, and write what comes out into a file.

    Args:
        file: Takes the features, in the samples' order.
        net: The network; is moved to the device.
        samples: (n, h, w, 3) uint8 RGB.
        layer: Name or path.
        device: Where to run.
        amp: Whether in bfloat16 mixed precision; features that are bfloat16 then are kept so.
        batch: Samples at a time; halved where memory runs out. Default: by device.
        label: For the progress bar; None for no bar.
    """
    net.to(device, memory_format=torch.channels_last)
    batch = batch or BATCH.get(device.type, BATCH_GPU)
    done, writing = 0, None
    bar = tqdm(desc=label, total=len(samples), unit=' samples', disable=True if label is None else None)
    mixed = torch.autocast(device.type, torch.bfloat16) if amp else nullcontext()
    with torch.no_grad(), bar, ThreadPoolExecutor(1) as writer, mixed:
        while done < len(samples):
            part = torch.from_numpy(samples[done:done + batch]).to(device)
            try:
                # A view of (n, h, w, 3): channels last already.
                features = features_until(net, part.permute(0, 3, 1, 2).float() / 255, layer)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if batch == 1:
                    raise RunError(f'{device}: not enough memory for one sample; give a smaller --sample') from None
                batch = batch // 2
                release_memory(device)
                continue
            if writing is not None:
                writing.result()
            writing = writer.submit(file.append, features)  # while the network works on the next
            done += len(part)
            bar.update(len(part))
        if writing is not None:
            writing.result()


def _check_network(network: TrainedNetwork, layer: str, sample: int) -> None:
    find_layer(network.net, layer)
    if sample < 1 or sample % network.multiple:
        raise UserError(f'--sample: {sample} px; {network.label} takes multiples of {network.multiple}, 1 or more')


def _panel(network: TrainedNetwork, result: clusters.Clusters, kinds: np.ndarray) -> Panel:
    return Panel(network.label, result.points[0], kinds, result.chi, result.chi_pca, network.known_p)


def _write(folder: ResultFolder, plan: Plan, networks: Sequence[TrainedNetwork], layers: Sequence[str],
           crops: dict[int, list[Crop]], kinds: np.ndarray, results: Sequence[clusters.Clusters]) -> None:
    seeds = range(plan.seed, plan.seed + plan.tsne_seeds)
    places, values, summary = [], [], []
    for network, layer, one in zip(networks, layers, results):
        p = network.known_p
        names = [crop.name for crop in crops[network.scale] for _ in plan.degradations]
        for seed, points in zip(seeds, one.points):
            places += [(network.label, name, plan.degradations[kind], seed, f'{x:.6g}', f'{y:.6g}')
                       for name, kind, (x, y) in zip(names, kinds, points)]
        rows = [('t-sne', seed, float(value)) for seed, value in zip(seeds, one.chi)] + [('pca', '', one.chi_pca)]
        values += [(network.label, '' if p is None else f'{p:g}', layer, space, seed, _number(value))
                   for space, seed, value in rows]
        summary.append({'label': network.label, 'p': p, 'layer': layer, 'chi': one.mean, 'chi_std': one.std,
                        'chi_by_seed': one.chi.tolist(), 'chi_pca': one.chi_pca,
                        'pca_dimensions': len(one.components.share),
                        'pca_share_of_variance': float(one.components.share.sum())})
    folder.write('coordinates.csv', csv_text(('model', 'image', 'degradation', 'seed', 'x', 'y'), places))
    folder.write('chi.csv', csv_text(('model', 'p', 'layer', 'space', 'seed', 'chi'), values))
    panels = [_panel(network, one, kinds) for network, one in zip(networks, results)]
    title = f"Features of {', '.join(dict.fromkeys(layers))} by degradation"
    draw_scatter(panels, plan.degradations, folder.path / 'clusters.png', title)
    if len({panel.p for panel in panels if panel.p is not None}) > 1:
        draw_chi(panels, folder.path / 'chi_over_p.png', title)
    folder.finish(models=summary, crops={f'x{scale}': [vars(crop) for crop in some] for scale, some in crops.items()})


def _number(value: float) -> str:
    """For a table; empty where it is infinite."""
    return f'{value:.6g}' if np.isfinite(value) else ''
