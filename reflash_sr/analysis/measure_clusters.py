"""How a network's features cluster by degradation, from photographs or LQ images (paper Sec. 6.2, Fig. 9)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from reflash_sr.analysis.clusters import Clusters, Labels, check, cluster
from reflash_sr.analysis.feature_file import FeatureFile
from reflash_sr.analysis.features import features_until, find_layer, study_layers
from reflash_sr.analysis.on_device import CPU, check_layers
from reflash_sr.data.images.channels import to_channels
from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.data.test_degradation.sample_crops import check_degradations, choose_crops, make_samples
from reflash_sr.errors import RunError, UserError
from reflash_sr.system.devices import arrange, is_out_of_memory, release_memory
from reflash_sr.weights.network_from_file import TrainedNetwork

MOST_SAMPLES, MOST_SEEDS = 100_000, 1000
FIVE = ('clean', 'blur', 'noise', 'jpeg', 'b+n+j')  # our choice: the paper does not name its five degradations
BATCH = {'cpu': 2}  # samples whose features fit a CPU's caches
BATCH_GPU = 32


@dataclass(frozen=True)
class ClusterPlan:
    """Samples, layer, and settings of PCA and t-SNE.

    Attributes:
        images: Folder of photographs, or ``photos:train``, ``photos:val``.
        degradations: Two or more names.
        layer: Name or path of a layer; None: the output of the last trunk block (the paper's B16).
        samples: Number of crops; each gives a sample under each degradation.
        sample: Side of a sample, px of the LQ image.
        pca: Dimensions that PCA keeps.
        perplexity: Perplexity of t-SNE.
        tsne_seeds: Number of starts of t-SNE.
        seed: Seed of the crop positions, of the noise, and of the first start of t-SNE.
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

    @property
    def labels(self) -> np.ndarray:
        """Index of each sample's degradation, (n,)."""
        return np.tile(np.arange(len(self.degradations)), self.samples)

    @property
    def seeds(self) -> range:
        """Seeds of t-SNE."""
        return range(self.seed, self.seed + self.tsne_seeds)


class Samples:
    """Crops of photographs under the degradations of a plan; an invalid plan is rejected before any work.

    Args:
        networks: The networks. All use the same crops if their scales are equal.

    Attributes:
        crops: The crops by scale.
        layers: The layer of each network.

    Raises:
        UserError: A number is out of range, a degradation or layer is unknown, or there are too few photographs.
    """

    def __init__(self, plan: ClusterPlan, networks: Sequence[TrainedNetwork]):
        check_degradations(plan.degradations)
        for name, value, least, most in (('samples', plan.samples, 2, MOST_SAMPLES), ('pca', plan.pca, 1, MOST_SAMPLES),
                                         ('tsne_seeds', plan.tsne_seeds, 1, MOST_SEEDS)):
            if not least <= value <= most:
                raise UserError(f'--{name}: {value}; give {least} to {most:,}')
        check(plan.labels, plan.perplexity, plan.seeds)
        self.plan = plan
        self.layers = [plan.layer or default_layer(network.net) for network in networks]
        for network, layer in zip(networks, self.layers):
            find_layer(network.net, layer)  # one layer, not 'all'
            if plan.sample < 1 or plan.sample % network.multiple:
                raise UserError(f'--sample: {plan.sample} px; {network.label} takes multiples of {network.multiple}, 1 '
                                'or more')
            check_layers([network], [layer])
        self._source = ImageSource({'dataroot_gt': plan.images})
        self.crops = {scale: choose_crops(self._source, plan.samples, plan.sample * scale, plan.seed)
                      for scale in dict.fromkeys(network.scale for network in networks)}
        self._latest: tuple[int, np.ndarray] | None = None

    def lq(self, scale: int) -> np.ndarray:
        """The samples for one scale, (n, h, w, 3) uint8 RGB: each crop under all degradations in turn."""
        if self._latest is None or self._latest[0] != scale:
            self._latest = None  # frees the memory of the previous scale
            self._latest = scale, make_samples(self._source, self.crops[scale], self.plan.degradations, scale,
                                               self.plan.seed)
        return self._latest[1]


def default_layer(net: nn.Module) -> str:
    """The output of the last trunk block, the paper's B16; ``'last'`` for networks without known blocks."""
    return next((name for name in reversed(study_layers(net)) if name.startswith('B')), 'last')


def cluster_samples(network: TrainedNetwork, lq: np.ndarray, labels: Labels, layer: str | None = None,
                    pca: int = 50, perplexity: float = 30, seeds: Sequence[int] = range(5), device: torch.device = CPU,
                    amp: bool = False, batch: int | None = None, scratch: str | os.PathLike | None = None) -> Clusters:
    """Measure how a network's features of LQ images cluster.

    Args:
        lq: (n, h, w, 3) uint8 RGB.
        labels: (n,) number of each image's degradation.
        layer: Name or path of a layer. Default: :func:`default_layer`.
        pca: Dimensions that PCA keeps.
        perplexity: Perplexity of t-SNE, below n.
        seeds: Seeds of t-SNE.
        amp: Whether to run in bfloat16 mixed precision.
        batch: Samples per batch. Default: depends on the device.
        scratch: Folder for the temporary file of features (n · d · 4 bytes: for 500 samples of 128×128 px 2 GB at B16,
            34 GB at ``last``). Default: the system's folder for temporary files.

    Raises:
        UserError: As for :func:`reflash_sr.analysis.clusters.cluster`, or the disk has no room for the features.
        RunError: Memory or the disk ran out.
    """
    with FeatureFile(len(lq), scratch) as file:
        fill(file, network.net, lq, layer or default_layer(network.net), device, amp, batch or network.batch,
             network.label, network.channels)
        return cluster(file.blocks(), labels, pca, perplexity, seeds)


def fill(file: FeatureFile, net: nn.Module, lq: np.ndarray, layer: str, device: torch.device, amp: bool = False,
         batch: int | None = None, label: str | None = None, channels: int = 3) -> None:
    """Run a network up to a layer on every sample, and write the features into a file, in the samples' order.

    Args:
        file: File for the features; under ``amp`` they may be bfloat16, and stay so.
        net: The network; is moved to the device.
        lq: (n, h, w, 3) uint8 RGB.
        layer: Name or path of a layer.
        amp: Whether to run in bfloat16 mixed precision.
        batch: Samples per batch; halved when memory runs out. Default: depends on the device.
        label: Text of the progress bar; None: no bar.
        channels: Channels of the network: 1, 3 or 4.

    Raises:
        RunError: There is not enough memory for one sample.
    """
    arrange(net.to(device))
    batch = batch or BATCH.get(device.type, BATCH_GPU)
    done, writing = 0, None
    bar = tqdm(desc=label, total=len(lq), unit=' samples', disable=True if label is None else None)
    mixed = torch.autocast(device.type, torch.bfloat16) if amp else nullcontext()
    with torch.no_grad(), bar, ThreadPoolExecutor(1) as writer, mixed:
        while done < len(lq):
            part = torch.from_numpy(lq[done:done + batch]).to(device)
            try:
                # A view of (n, h, w, 3): channels last already.
                seen = to_channels(part.permute(0, 3, 1, 2).float() / 255, channels)
                features = features_until(net, seen, layer)
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
            writing = writer.submit(file.append, features)  # writes while the network runs on the next batch
            done += len(part)
            bar.update(len(part))
        if writing is not None:
            writing.result()
