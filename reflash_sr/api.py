"""Functions for notebooks: they take paths or arrays, and return arrays or pandas DataFrames.

``docs/notebook.ipynb`` shows an example of each::

    import reflash_sr
    reflash_sr.evaluate(['p0.pth', 'p07.pth'], 'photos:val', degradations=['clean', 'b+n'])

A network is the path of a weights file, or a result of :func:`open_network`. Several networks are a list, or a dict
from label to network; all must have the same scale, except for :func:`clusters`. An image is a path or a (H, W, 3)
uint8 RGB array. A folder of images may also be ``'photos:train'`` or ``'photos:val'``, photographs inside installed
packages. ``device`` is ``'auto'``, ``'cpu'``, ``'cuda'`` or ``'mps'``. All functions raise ``UserError``, a
``ValueError`` that says what is wrong and what to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from reflash_sr.analysis.clusters import Clusters
from reflash_sr.analysis.image_pairs import ImageSelection, Pair, load_pairs, pairs_from_arrays
from reflash_sr.analysis.measure_ablation import AblationPlan
from reflash_sr.analysis.measure_ablation import ablate as ablate_pairs
from reflash_sr.analysis.measure_clusters import FIVE, ClusterPlan, Samples, cluster_samples
from reflash_sr.analysis.on_device import check_layers, on_device
from reflash_sr.analysis.saliency import Saliency, channel_saliency
from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.data.images.read_image import read_image
from reflash_sr.data.test_degradation import degradations as test_degradations
from reflash_sr.data.test_degradation.benchmark_sets import DegradedSet, PairedSet, open_sets
from reflash_sr.errors import UserError
from reflash_sr.evaluation.comparison import Settings
from reflash_sr.evaluation.inference import Restorer, to_tensor
from reflash_sr.evaluation.measure import measure_networks
from reflash_sr.system.devices import select_device
from reflash_sr.weights.trained_network import TrainedNetwork, open_network

__all__ = ['ablate', 'clusters', 'degrade', 'evaluate', 'open_network', 'saliency', 'upscale']

Network = str | os.PathLike | TrainedNetwork
Networks = Network | Sequence[Network] | Mapping[str, Network]
Image = str | os.PathLike | np.ndarray


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
    name = name or ('' if isinstance(gt, np.ndarray) else Path(gt).stem)
    image = test_degradations.mod_crop(_image(gt, 'gt'), scale)
    if not image.size:
        raise UserError(f'gt: is too small: at scale {scale} a side needs {scale} px')
    rng = test_degradations.noise_rng(seed, name, degradation)
    return test_degradations.degrade(np.ascontiguousarray(image), degradation, scale, rng)


def upscale(network: Network, image: Image, tile: int | None = None, device: str = 'auto') -> np.ndarray:
    """Upscale an LQ image.

    Args:
        network: The network.
        image: The LQ image, (H, W, 3).
        tile: Side of a tile, px of the LQ image; 0: no tiles. Default: tiles only if memory would run out.
        device: Device to run on.

    Returns:
        (H · scale, W · scale, 3) uint8 RGB.
    """
    opened = _open(network)
    return Restorer(opened.net, opened.scale, opened.multiple, _device(device), tile=tile).restore(_image(image))


def evaluate(networks: Networks, gt: Image | Sequence[Image], degradations: str | Sequence[str] = 'all',
             metrics: str | Sequence[str] = 'psnr', crop_border: int = 4, y_channel: bool = False, seed: int = 0,
             lq: str | os.PathLike | None = None, device: str = 'auto') -> pd.DataFrame:
    """Measure networks and bicubic interpolation on images under degradations (paper Table 1).

    Args:
        networks: Networks of the same scale.
        gt: GT images: a folder, several folders, an array or several arrays.
        degradations: Names; ``'all'`` stands for the eight of Table 1.
        metrics: One or several of ``'psnr'`` (dB), ``'ssim'``, ``'lpips'``.
        crop_border: Width of the border that is not measured, px.
        y_channel: Whether to measure on Y of YCbCr instead of RGB; 8-bit values in both cases.
        seed: Seed of the noise of the LQ images.
        lq: Folder of LQ images with the same names as in the folder ``gt``; then nothing is degraded.
        device: Device to run on.

    Returns:
        Columns ``method``, ``dataset``, ``degradation``, ``image``, ``metric``, ``value``; one row per value.
        PSNR is infinite if an SR image equals its GT.
    """
    opened = _open_all(networks)
    scale, names = opened[0].scale, [degradations] if isinstance(degradations, str) else list(degradations)
    datasets: list[DegradedSet | PairedSet]
    if lq is not None:
        datasets = open_sets([], [], [(str(lq), str(gt))], [], [], scale, seed)
    elif _are_arrays(gt):
        all_eight = (test_degradations.EIGHT if name == 'all' else (name,) for name in names)
        datasets = [DegradedSet('arrays', _InMemory(gt), [name for group in all_eight for name in group], scale, seed)]
    else:
        folders = [gt] if isinstance(gt, (str, os.PathLike)) else gt
        datasets = open_sets([str(folder) for folder in folders], names, [], [], [], scale, seed)
    kinds = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    settings = Settings(metrics=kinds, crop_border=crop_border, y_channel=y_channel)
    return pd.DataFrame(measure_networks(opened, datasets, settings, _device(device)))


def ablate(networks: Networks, images: Image | Sequence[Image], layers: str | Sequence[str] = 'last',
           orders: str | Sequence[str] = (), random_orders: int = 3, degradation: str = 'clean', crop: int | None = 64,
           limit: int | None = None, seed: int = 0, device: str = 'auto') -> pd.DataFrame:
    """Channel ablation: remove channels of layers, and measure the loss of PSNR (paper Sec. 6.1, Fig. 6 and 8).

    Args:
        networks: Networks of the same scale.
        images: GT images: a folder, an array or several arrays. PSNR is on 8-bit RGB without cropping a border.
        layers: ``'first'``, ``'B1'``, …, ``'hr'``, ``'last'``, the path of a module, or ``'all'``.
        orders: Orders in which more and more channels are removed: ``'index'``, ``'random'``,
            ``'most-important-first'``, ``'least-important-first'``. Empty: each channel is removed alone.
        random_orders: Number of random orders.
        degradation: Degradation that makes the LQ images.
        crop: Side of the central crop of each image of a folder, px of the LQ image; None: the whole image.
        limit: Number of images of a folder, from the first; None: all.
        seed: Seed of the noise and of the random orders.
        device: Device to run on.

    Returns:
        Columns ``network``, ``image``, ``layer``, ``channel``, ``psnr_db``, ``drop_db``; with orders ``order`` and
        ``removed`` (number of removed channels, 0 to C) instead of ``channel``.
    """
    opened = _open_all(networks)
    names = [layers] if isinstance(layers, str) else list(layers)
    found = check_layers(opened, names)
    kinds = (orders,) if isinstance(orders, str) else tuple(orders)
    pairs = _pairs(images, opened, degradation, crop, limit, seed)
    plan = AblationPlan(kinds, random_orders, seed)
    tables = []
    for network, modules in zip(opened, found):
        for layer in ablate_pairs(network, pairs, modules, plan, _device(device)):
            table = layer.in_turn_table() if kinds else layer.single_table()
            table.insert(0, 'network', network.label)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def saliency(network: Network, image: Image, layers: str | Sequence[str] = 'last',
             device: str = 'auto') -> dict[str, Saliency]:
    """Compute a saliency map per channel of a layer (paper Sec. 6.1, Fig. 6 and 7).

    Args:
        network: The network.
        image: The LQ image, (H, W, 3); both sides are multiples of ``TrainedNetwork.multiple``.
        layers: As for :func:`ablate`.
        device: Device to run on.

    Returns:
        For each layer: ``maps`` (C, H, W) in [0, 1], ``features`` (C, H, W), ``scores`` (C,), the sum of each map.
    """
    opened, where = _open(network), _device(device)
    [names] = check_layers([opened], [layers] if isinstance(layers, str) else list(layers))
    pixels = _image(image)
    if any(side % opened.multiple for side in pixels.shape[:2]):
        raise UserError(f'image: {pixels.shape[1]}×{pixels.shape[0]} px, but {opened.label} needs multiples of '
                        f'{opened.multiple} px; crop the image')
    with on_device(opened.net, where, hint='give a smaller image'):
        return channel_saliency(opened.net, to_tensor(pixels).to(where), names)


def clusters(networks: Networks, images: str | os.PathLike = 'photos:train', degradations: Sequence[str] = FIVE,
             layer: str | None = None, samples: int = 100, sample: int = 128, pca: int = 50, perplexity: float = 30,
             tsne_seeds: int = 5, seed: int = 0, device: str = 'auto') -> dict[str, Clusters]:
    """Measure how strongly features cluster by degradation (paper Sec. 6.2, Fig. 9).

    Args:
        networks: The networks; scales may differ.
        images: Folder of photographs.
        degradations: Two or more.
        layer: Name or path of a layer. Default: the output of the last trunk block.
        samples: Number of crops; each becomes one sample per degradation.
        sample: Side of a sample, px of the LQ image.
        pca: Number of PCA dimensions.
        perplexity: Perplexity of t-SNE, below the number of samples × degradations.
        tsne_seeds: Number of t-SNE runs, each with its own seed.
        seed: Seed of the crops, the noise and t-SNE.
        device: Device to run on.

    Returns:
        For each label: ``points`` (tsne_seeds, n, 2), the t-SNE embedding; ``chi`` (tsne_seeds,), its Calinski–Harabasz
        index; ``chi_pca``, the index in PCA space. Sample i has degradation ``degradations[i % len(degradations)]``.
    """
    opened = _open_all(networks)
    plan = ClusterPlan(str(images), tuple(degradations), layer, samples, sample, pca, perplexity, tsne_seeds, seed)
    chosen = Samples(plan, opened)
    labels, where = plan.labels.tolist(), _device(device)
    return {network.label: cluster_samples(network, chosen.lq(network.scale), labels, name, pca, perplexity, plan.seeds,
                                           where)
            for network, name in zip(opened, chosen.layers)}


# ---------------------------------------------------------------------- arguments


class _InMemory(ImageSource):
    """An image source of arrays instead of files."""

    def __init__(self, images: Image | Sequence[Image]):
        arrays = [images] if isinstance(images, (np.ndarray, str, os.PathLike)) else images
        self._images = [_image(array, 'gt') for array in arrays]
        self.root, self.on_disk, self.others = 'memory', False, []
        self.names = [str(index) for index in range(len(self._images))]
        self.paths = [Path(name) for name in self.names]

    def read(self, index: int) -> np.ndarray:
        return self._images[index]


def _open(network: Network) -> TrainedNetwork:
    return network if isinstance(network, TrainedNetwork) else open_network(network)


def _open_all(networks: Networks) -> list[TrainedNetwork]:
    """Open networks and make their labels unique."""
    if isinstance(networks, Mapping):
        return [replace(_open(network), label=str(label)) for label, network in networks.items()]
    several = [networks] if isinstance(networks, (str, os.PathLike, TrainedNetwork)) else networks
    opened = [_open(network) for network in several]
    if not opened:
        raise UserError('networks: none; give at least one')
    labels = [network.label for network in opened]
    numbers = [labels[:index].count(label) + 1 for index, label in enumerate(labels)]
    return [network if labels.count(network.label) == 1 else replace(network, label=f'{network.label} ({number})')
            for network, number in zip(opened, numbers)]


def _image(image: Image, what: str = 'image') -> np.ndarray:
    """Read an image, or check that an array is (H, W, 3) uint8."""
    if not isinstance(image, np.ndarray):
        return read_image(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(f'{what}: is an array {image.shape} of {image.dtype}; give (H, W, 3) uint8 RGB, or a path')
    return image


def _are_arrays(images: Image | Sequence[Image]) -> bool:
    return isinstance(images, np.ndarray) or (not isinstance(images, (str, os.PathLike)) and len(images) > 0
                                              and isinstance(images[0], np.ndarray))


def _pairs(images: Image | Sequence[Image], opened: Sequence[TrainedNetwork], degradation: str, crop: int | None,
           limit: int | None, seed: int) -> list[Pair]:
    if not _are_arrays(images):
        return load_pairs(ImageSelection(str(images), degradation, limit, crop, seed), opened)
    source, scale = _InMemory(images), opened[0].scale
    made: Iterable = ((name, degrade(gt, degradation, scale, seed, name), test_degradations.mod_crop(gt, scale))
                      for name, gt in zip(source.names, map(source.read, range(len(source)))))
    return pairs_from_arrays(made, opened[0])


def _device(name: str) -> torch.device:
    return select_device({'device': name})
