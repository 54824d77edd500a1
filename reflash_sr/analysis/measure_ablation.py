"""Channel ablation of a network over images (paper Sec. 6.1, Fig. 6 and 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from reflash_sr.analysis.ablation import ORDERS, Ablation, channel_order, drop
from reflash_sr.analysis.features import as_maps, features_until, find_layer
from reflash_sr.analysis.image_pairs import Pair
from reflash_sr.analysis.on_device import CPU, on_device
from reflash_sr.data.images.channels import COLOURS
from reflash_sr.errors import UserError, suggest
from reflash_sr.positions import Site
from reflash_sr.weights.network_from_file import TrainedNetwork

HINT = 'give a smaller --batch or --crop'


@dataclass(frozen=True)
class AblationPlan:
    """How channels are removed.

    Attributes:
        orders: Orders in which channels are removed in turn, of :data:`reflash_sr.analysis.ablation.ORDERS`; empty:
            each channel alone only.
        random_orders: Number of random orders.
        seed: Seed of the first random order; each further order adds 1.
        amp: Whether the network runs in bfloat16 mixed precision.
        batch: Variants per batch. None: as many as fit into memory.
        closed_form: Whether the last layer is computed without running the network where possible.

    Raises:
        UserError: Unknown order, or a number out of range.
    """

    orders: Sequence[str] = ('index', 'random')
    random_orders: int = 3
    seed: int = 0
    amp: bool = False
    batch: int | None = None
    closed_form: bool = True

    def __post_init__(self) -> None:
        for order in self.orders:
            if order not in ORDERS:
                raise UserError(f"--orders: '{order}' is not known{suggest(order, ORDERS)}")
        for name, value in (('random_orders', self.random_orders), ('batch', self.batch)):
            if value is not None and value < 1:
                raise UserError(f'--{name}: {value}; give 1 or more')

    @property
    def seeded_orders(self) -> dict[str, tuple[str, int]]:
        """Order and seed by their name in the tables: ``'index'``, ``'random:0'``, ``'random:1'``, …"""
        found = {}
        for order in self.orders:
            for seed in range(self.seed, self.seed + self.random_orders) if order == 'random' else (0,):
                found[f'{order}:{seed}' if order == 'random' else order] = (order, seed)
        return found


@dataclass(frozen=True)
class LayerAblation:
    """PSNR of a network on I images without some of the C channels of a layer, dB (8 bits, no border cropped).

    Attributes:
        colours: What PSNR compares: ``'RGB'``, or ``'Y'`` for a network of one channel.
        closed: Whether the closed form was used.
        psnr: (I,): with all channels.
        single: (I, C): without each channel.
        in_turn: (I, C + 1) by name of the order: without the first 0, 1, …, C channels of that order.
    """

    layer: str
    colours: str
    images: list[str]
    closed: bool
    psnr: np.ndarray
    single: np.ndarray
    in_turn: dict[str, np.ndarray]

    @property
    def drops(self) -> np.ndarray:
        """(I, C): PSNR lost without each channel, dB."""
        return drop(self.psnr[:, None], self.single)

    def curves(self) -> dict[str, np.ndarray]:
        """:attr:`in_turn` by kind of order, (K, C + 1): ``'random'`` holds all its seeds and images."""
        kinds = dict.fromkeys(name.partition(':')[0] for name in self.in_turn)
        return {kind: np.concatenate([curves for name, curves in self.in_turn.items()
                                      if name.partition(':')[0] == kind]) for kind in kinds}

    def single_table(self) -> pd.DataFrame:
        """Columns image, layer, channel, psnr_db, drop_db."""
        count, channels = self.single.shape
        return pd.DataFrame({'image': np.repeat(self.images, channels), 'layer': self.layer,
                             'channel': np.tile(np.arange(channels), count),
                             'psnr_db': self.single.ravel(), 'drop_db': self.drops.ravel()})

    def in_turn_table(self) -> pd.DataFrame:
        """Columns image, layer, order, removed (number of channels), psnr_db, drop_db."""
        count, steps = len(self.images), self.single.shape[1] + 1
        psnr = np.array(list(self.in_turn.values())).reshape(-1, steps)
        return pd.DataFrame({'image': np.repeat(np.tile(self.images, len(self.in_turn)), steps), 'layer': self.layer,
                             'order': np.repeat(list(self.in_turn), count * steps),
                             'removed': np.tile(np.arange(steps), len(psnr)),
                             'psnr_db': psnr.ravel(), 'drop_db': drop(psnr[:, :1], psnr).ravel()})


def ablate(network: TrainedNetwork, pairs: Sequence[Pair], layers: Sequence[str] = ('last',),
           plan: AblationPlan = AblationPlan(), device: torch.device = CPU) -> list[LayerAblation]:
    """Ablate layers of a network over images.

    Args:
        pairs: Images of sizes that the network accepts.
        layers: Names as in :func:`reflash_sr.analysis.features.find_layer`.
        plan: Orders and how to run.

    Raises:
        UserError: As for :class:`reflash_sr.analysis.ablation.Ablation`.
        RunError: Memory ran out.
    """
    steps = len(pairs) * len(layers) * (1 + len(plan.seeded_orders))
    bar = tqdm(total=steps, desc=network.label, disable=None, unit='run',
               bar_format='{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}')
    with on_device(network.net, device, plan.amp, HINT), bar:
        return [_ablate_layer(network, pairs, layer, plan, device, bar) for layer in layers]


def layer_maps(network: TrainedNetwork, pair: Pair, layer: str, device: torch.device = CPU) -> np.ndarray | None:
    """Features of a layer for an image, (C, H, W) float32; None for tokens, unless there is one for each pixel."""
    with on_device(network.net, device, hint=HINT):
        features = features_until(network.net, pair.seen_by(network).lq.to(device), layer)
    maps = as_maps(features, pair.lq.shape[-2:])
    return maps if features.dim() == 4 or maps.shape[1:] == pair.lq.shape[-2:] else None


def _ablate_layer(network: TrainedNetwork, pairs: Sequence[Pair], layer: str, plan: AblationPlan, device: torch.device,
                  bar: tqdm) -> LayerAblation:
    site = find_layer(network.net, layer)
    found = [_ablate_pair(network, pair, site, plan, device, bar) for pair in pairs]
    closed, psnr, single, curves = zip(*found)
    in_turn = {name: np.stack([curve[name] for curve in curves]) for name in plan.seeded_orders}
    return LayerAblation(layer, COLOURS[network.channels], [pair.name for pair in pairs], closed[-1], np.array(psnr),
                         np.stack(single), in_turn)


def _ablate_pair(network: TrainedNetwork, pair: Pair, site: Site, plan: AblationPlan, device: torch.device,
                 bar: tqdm) -> tuple[bool, float, np.ndarray, dict[str, np.ndarray]]:

    def progress(count: int) -> None:
        bar.update(count / ablation.channels)

    pair = pair.seen_by(network)
    lq = pair.lq.to(device, memory_format=torch.channels_last)
    ablation = Ablation(network.net, lq, pair.gt, site, plan.batch or network.batch, plan.closed_form)
    single = ablation.single(progress)
    drops = drop(ablation.psnr, single)
    curves = {name: ablation.in_turn(channel_order(order, drops, seed), progress)
              for name, (order, seed) in plan.seeded_orders.items()}
    return ablation.closed, ablation.psnr, single, curves
