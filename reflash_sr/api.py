"""Functions for notebooks: they take paths or arrays, and return arrays or pandas DataFrames.

``docs/notebook.ipynb`` shows an example of each::

    import reflash_sr
    reflash_sr.evaluate(['p0.pth', 'p07.pth'], 'photos:val', degradations=['clean', 'b+n'])

A network is the path of a weights file, ``'bundled:NAME'`` for one that the package carries, or a result of
:func:`open_network`. Several networks are a list, or a dict from label to network; all must have the same scale, except
for :func:`clusters`. An image is a path or a (H, W, 3) uint8 RGB array, also for networks of Y or RGBA
(:mod:`reflash_sr.data.images.channels`). A folder of images may also be ``'photos:train'`` or ``'photos:val'``,
photographs inside installed packages. ``device``, on which a function runs, is ``'auto'``, ``'cpu'``, ``'cuda'`` or
``'mps'``; a GPU computes without TF32. All functions raise ``UserError``, a ``ValueError`` that says what is wrong and
what to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import interpolate

from reflash_sr.analysis.attribution import SIGMA, STEPS, WINDOW, Attribution, attribute, busiest_window
from reflash_sr.analysis.clusters import Clusters
from reflash_sr.analysis.image_pairs import ImageSelection, Pair, load_pairs, pairs_from_arrays
from reflash_sr.analysis.measure_ablation import AblationPlan
from reflash_sr.analysis.measure_ablation import ablate as ablate_pairs
from reflash_sr.analysis.measure_clusters import FIVE, ClusterPlan, Samples, cluster_samples
from reflash_sr.analysis.on_device import check_layers, on_device
from reflash_sr.analysis.saliency import Saliency, channel_saliency
from reflash_sr.commands.notebook_inputs import (
    Image,
    Network,
    Networks,
    check_whole,
    corner_of,
    folder_of,
    image_of,
    images_of,
    lq_of,
    names_of,
    open_all,
    open_one,
)
from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.data.test_degradation import degradations as test_degradations
from reflash_sr.data.test_degradation.benchmark_sets import DegradedSet, PairedSet, open_sets
from reflash_sr.errors import UserError
from reflash_sr.evaluation.comparison import Settings
from reflash_sr.evaluation.fit_shrinkage import Control, Fit
from reflash_sr.evaluation.measure_networks import measure_networks
from reflash_sr.evaluation.shrunk_rows import without_moments
from reflash_sr.evaluation.tiled_inference import Restorer
from reflash_sr.system.devices import exact_float32, select_device
from reflash_sr.weights.network_from_file import TrainedNetwork, open_network

__all__ = ['ablate', 'attribution', 'clusters', 'degrade', 'evaluate', 'open_network', 'saliency', 'upscale']


def degrade(gt: Image, degradation: str = 'clean', scale: int = 4, seed: int = 0, name: str = '') -> np.ndarray:
    """Make the LQ image of a test degradation (paper Sec. 5.3).

    Args:
        gt: The image. It is cropped at the right and bottom to a multiple of the scale.
        degradation: Name such as ``'clean'``, ``'b+n'``, ``'noise:30+jpeg:30'``, see
            :mod:`reflash_sr.data.test_degradation.degradations`.
        scale: Scale factor.
        seed: Seed of the noise, together with ``name`` and ``degradation``.
        name: Name of the image; default: file name without suffix, as in the tools. Images with the same name get the
            same noise.

    Returns:
        (⌊H / scale⌋, ⌊W / scale⌋, 3) uint8 RGB.
    """
    check_whole(seed=seed)
    check_whole(1, scale=scale)
    pixels, [degradation] = image_of(gt, 'gt'), names_of('degradation', [degradation])
    name = str(name or '' if isinstance(gt, np.ndarray) else name or Path(gt).stem)
    image = test_degradations.mod_crop(pixels, scale)
    if not image.size:
        raise UserError(f'gt: is too small: at scale {scale} a side needs {scale} px')
    rng = test_degradations.noise_rng(seed, name, degradation)
    return test_degradations.degrade(np.ascontiguousarray(image), degradation, scale, rng)


@exact_float32()
def upscale(network: Network, image: Image, tile: int | None = None, device: str = 'auto') -> np.ndarray:
    """Upscale an LQ image, (H, W, 3), to (H · scale, W · scale, 3) uint8 RGB.

    ``tile`` is the side of a tile, px of the LQ image; 0: no tiles. Default: tiles only if memory would run out.
    """
    opened, where, pixels = open_one(network), _device(device), image_of(image)
    check_whole(tile=tile)
    with on_device(opened.net, where, hint='give a smaller tile'):
        restorer = Restorer(opened.net, opened.scale, opened.multiple, where, tile=tile, channels=opened.channels)
        return restorer.restore(pixels)


@exact_float32()
def evaluate(networks: Networks, gt: Image | Sequence[Image], degradations: str | Sequence[str] = 'all',
             metrics: str | Sequence[str] = 'psnr', crop_border: int = 4, y_channel: bool = False, seed: int = 0,
             lq: str | os.PathLike | None = None, device: str = 'auto', control: str | None = None,
             fit_on: str | Sequence[str] | None = None) -> pd.DataFrame:
    """Measure networks and bicubic interpolation on images under degradations (paper Table 1).

    Args:
        gt: GT images: a folder, several folders, an array or several arrays.
        degradations: Names; ``'all'`` stands for the eight of Table 1.
        metrics: One or several of ``'psnr'`` (dB), ``'ssim'``, ``'lpips'``, ``'gradient'``.
        crop_border: Width of the border that is not measured, px.
        y_channel: Whether to measure on Y of YCbCr instead of RGB; 8-bit values in both cases.
        seed: Seed of the noise of the LQ images.
        lq: Folder of LQ images with the same names as in the folder ``gt``; then nothing is degraded.
        control: ``'shrink'`` adds rows of each network drawn towards interpolation, ``'shrink:0.5'`` with this α.
        fit_on: What α is fitted on: folders of GT images (default: ``'photos:train'``), ``'sets'`` (the other test
            sets) or ``'halves'`` (the other half of each test set).

    Returns:
        Columns ``method``, ``dataset``, ``degradation``, ``image``, ``metric``, ``value``; one row per value.
        PSNR is infinite if an SR image equals its GT.
    """
    opened, where = open_all(networks), _device(device)
    scale, names, (arrays, folders) = opened[0].scale, names_of('degradations', degradations), images_of(gt, 'gt')
    check_whole(seed=seed, crop_border=crop_border)
    datasets: list[DegradedSet | PairedSet]
    if lq is not None:
        datasets = open_sets([], [], [(folder_of(lq, 'lq'), folder_of(gt, 'gt'))], [], [], scale, seed)
    elif arrays:
        all_eight = (test_degradations.EIGHT if name == 'all' else (name,) for name in names)
        datasets = [DegradedSet('arrays', _InMemory(arrays), [one for some in all_eight for one in some], scale, seed)]
    else:
        datasets = open_sets(folders, names, [], [], [], scale, seed)
    settings = Settings(metrics=names_of('metrics', metrics), crop_border=crop_border, y_channel=y_channel)
    asked = Control.parse(control, None if fit_on is None else names_of('fit_on', fit_on))
    fit = asked and Fit(asked, opened, datasets, settings)
    if fit:
        fit.check()
    with ExitStack() as placed:
        for network in opened:
            placed.enter_context(on_device(network.net, where))
        rows = fit.run(where) if fit else ()
        return pd.DataFrame(without_moments(measure_networks(opened, datasets, settings, where, rows=rows)))


@exact_float32()
def ablate(networks: Networks, images: Image | Sequence[Image], layers: str | Sequence[str] = 'last',
           orders: str | Sequence[str] = (), random_orders: int = 3, degradation: str = 'clean', crop: int | None = 64,
           limit: int | None = None, seed: int = 0, device: str = 'auto') -> pd.DataFrame:
    """Channel ablation: remove channels of layers, and measure the loss of PSNR (paper Sec. 6.1, Fig. 6 and 8).

    Args:
        images: GT images: a folder, an array or several arrays. PSNR is on 8-bit RGB, or Y for a network of one
            channel, without cropping a border.
        layers: ``'first'``, ``'B1'``, …, ``'hr'``, ``'last'``, the path of a module, or ``'all'``.
        orders: Orders in which more and more channels are removed: ``'index'``, ``'random'``,
            ``'most-important-first'``, ``'least-important-first'``. Empty: each channel is removed alone.
        random_orders: Number of random orders.
        degradation: Degradation that makes the LQ images.
        crop: Side of the central crop of each image of a folder, px of the LQ image; None: the whole image.
        limit: Number of images of a folder, from the first; None: all.
        seed: Seed of the noise and of the random orders.

    Returns:
        Columns ``network``, ``image``, ``layer``, ``channel``, ``psnr_db``, ``drop_db``; with orders ``order`` and
        ``removed`` (number of removed channels, 0 to C) instead of ``channel``.
    """
    opened = open_all(networks)
    check_whole(seed=seed, random_orders=random_orders, crop=crop, limit=limit)
    found = check_layers(opened, names_of('layers', layers))
    kinds = names_of('orders', orders, least=0)
    pairs = _pairs(images, opened, degradation, crop, limit, seed)
    plan = AblationPlan(kinds, random_orders, seed)
    tables = []
    for network, modules in zip(opened, found):
        for layer in ablate_pairs(network, pairs, modules, plan, _device(device)):
            table = layer.in_turn_table() if kinds else layer.single_table()
            table.insert(0, 'network', network.label)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


@exact_float32()
def saliency(network: Network, image: Image, layers: str | Sequence[str] = 'last',
             device: str = 'auto') -> dict[str, Saliency]:
    """Compute a saliency map per channel of a layer (paper Sec. 6.1, Fig. 6 and 7).

    Both sides of the LQ image are multiples of ``TrainedNetwork.multiple``; ``layers`` are as for :func:`ablate`.

    Returns:
        For each layer: ``maps`` (C, H, W) in [0, 1], ``features`` (C, H, W), ``scores`` (C,), the sum of each map.
    """
    opened, where = open_one(network), _device(device)
    [names] = check_layers([opened], names_of('layers', layers))
    lq = lq_of(opened, image)
    with on_device(opened.net, where, hint='give a smaller image'):
        return channel_saliency(opened.net, lq.to(where), names)


@exact_float32()
def attribution(network: Network, image: Image, at: tuple[int, int] | None = None, window: int = WINDOW,
                steps: int = STEPS, sigma: float = SIGMA, device: str = 'auto') -> Attribution:
    """Map which pixels of the LQ image a window of the SR image depends on (LAM, arXiv 2011.11036).

    Both sides of the LQ image are multiples of ``TrainedNetwork.multiple``.

    Args:
        at: First row and column of the window, px of the SR image. Default: where the bicubically enlarged LQ image has
            most detail, in its middle half, so that networks of one scale share the window.
        window: Side of the window, px of the SR image.
        steps: Number of steps from blurred to sharp.
        sigma: Blur where the path begins, px of the LQ image.

    Returns:
        ``map`` (H, W), ``diffusion_index`` (0 to 100), ``sr``, the place of the window.
    """
    opened, where = open_one(network), _device(device)
    check_whole(1, window=window, steps=steps)
    lq = lq_of(opened, image)
    place = busiest_window(interpolate(lq, scale_factor=opened.scale, mode='bicubic'), window) if at is None else at
    top, left = corner_of(place)
    with on_device(opened.net, where, hint='give a smaller image'):
        return attribute(opened.net, lq.to(where), top, left, window, steps, sigma)


@exact_float32()
def clusters(networks: Networks, images: str | os.PathLike = 'photos:train', degradations: Sequence[str] = FIVE,
             layer: str | None = None, samples: int = 100, sample: int = 128, pca: int = 50, perplexity: float = 30,
             tsne_seeds: int = 5, seed: int = 0, device: str = 'auto') -> dict[str, Clusters]:
    """Measure how strongly features cluster by degradation (paper Sec. 6.2, Fig. 9).

    Args:
        images: Folder of photographs.
        degradations: Two or more.
        layer: Name or path of a layer. Default: the output of the last trunk block.
        samples: Number of crops; each becomes one sample per degradation.
        sample: Side of a sample, px of the LQ image.
        pca: Number of PCA dimensions.
        perplexity: Perplexity of t-SNE, below the number of samples × degradations.
        tsne_seeds: Number of t-SNE runs, each with its own seed.
        seed: Seed of the crops, the noise and t-SNE.

    Returns:
        For each label: ``points`` (tsne_seeds, n, 2), the t-SNE embedding; ``chi`` (tsne_seeds,), its Calinski–Harabasz
        index; ``chi_pca``, the index in PCA space; ``srga_of_each``, SRGA of every degradation but the first, to the
        first, and ``srga``, their mean. Sample i has degradation ``degradations[i % len(degradations)]``.
    """
    opened = open_all(networks)
    check_whole(samples=samples, sample=sample, pca=pca, tsne_seeds=tsne_seeds, seed=seed)
    folder, kinds = folder_of(images, 'images'), names_of('degradations', degradations)
    plan = ClusterPlan(folder, kinds, layer, samples, sample, pca, perplexity, tsne_seeds, seed)
    chosen = Samples(plan, opened)
    labels, where = plan.labels.tolist(), _device(device)
    return {network.label: cluster_samples(network, chosen.lq(network.scale), labels, name, pca, perplexity, plan.seeds,
                                           where)
            for network, name in zip(opened, chosen.layers)}


# ---------------------------------------------------------------------- arguments


class _InMemory(ImageSource):
    """An image source of arrays instead of files."""

    def __init__(self, images: Sequence[np.ndarray]):
        self._images = images
        self.root, self.roots, self.on_disk, self.others = 'memory', ['memory'], False, []
        self.names = [str(index) for index in range(len(self._images))]
        self.paths = [Path(name) for name in self.names]

    def read(self, index: int) -> np.ndarray:
        return self._images[index]


def _pairs(images: Image | Sequence[Image], opened: Sequence[TrainedNetwork], degradation: str, crop: int | None,
           limit: int | None, seed: int) -> list[Pair]:
    arrays, folders = images_of(images, 'images')
    if folders:
        return load_pairs(ImageSelection(folder_of(folders, 'images'), degradation, limit, crop, seed), opened)
    source, scale = _InMemory(arrays), opened[0].scale
    made: Iterable = ((name, degrade(gt, degradation, scale, seed, name), test_degradations.mod_crop(gt, scale))
                      for name, gt in zip(source.names, arrays))
    return pairs_from_arrays(made, opened[0])


def _device(name: str) -> torch.device:
    return select_device({'device': name})
