"""Ablate channels of networks over images: numbers, tables, figures (paper Sec. 6.1, Fig. 6 and 8)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from reflash_sr.analysis.ablation import ORDERS, Ablation, channel_order, drop, gini, share_dispensable, share_rising
from reflash_sr.analysis.features import channel_dim, features_until
from reflash_sr.commands.analysis_inputs import (
    ImageSelection,
    Pairs,
    check_layers,
    file_name,
    folder_names,
    layers_of,
    mean,
    running,
)
from reflash_sr.errors import UserError, suggest
from reflash_sr.figures import draw_ablation as figures
from reflash_sr.figures.style import save
from reflash_sr.system.files import csv_text
from reflash_sr.system.result_folder import ResultFolder
from reflash_sr.weights.trained_network import TrainedNetwork, network_settings

TOOL = 'ablate_channels'
DETAILED = 4  # layers up to which each has its own figures; above, one figure shows them all
HINT = 'give a smaller --batch or --crop'


@dataclass
class Layer:
    """What came out for one layer of one model; a list of arrays has one for each image."""

    name: str
    closed: bool = False
    psnr: list[float] = field(default_factory=list)
    single: list[np.ndarray] = field(default_factory=list)  # (C,), PSNR without each channel
    drops: list[np.ndarray] = field(default_factory=list)  # (C,)
    curves: dict[str, list[np.ndarray]] = field(default_factory=dict)  # by order, (C + 1,)


def run(selection: ImageSelection, layers: Sequence[str], orders: Sequence[str], random_orders: int,
        networks: Sequence[TrainedNetwork], out: str | os.PathLike, overwrite: bool = False,
        device: torch.device = torch.device('cpu'), amp: bool = False, batch: int | None = None,  # noqa: B008
        closed_form: bool = True) -> ResultFolder:
    """Ablate; write ``MODEL/single.csv``, ``MODEL/in_turn.csv``, figures and ``summary.json``.

    Args:
        images: Which images.
        layers: Names of layers, or ``'all'``.
        orders: In which channels are removed in turn, of :data:`reflash_sr.analysis.ablation.ORDERS`; may be empty.
        random_orders: How many random orders, seeded ``images.seed`` and on.
        networks: The networks.
        out: Folder for the results.
        overwrite: Whether to put what is there aside.
        device: Where the networks run.
        amp: Whether in bfloat16 mixed precision.
        batch: Variants at a time. Default: what memory allows.
        closed_form: Whether the last layer is computed without running the network, where it can be.

    Returns:
        The folder.

    Raises:
        UserError: Something asked for does not fit; before anything is written.
        RunError: Memory or the disk ran out.
    """
    for order in orders:
        if order not in ORDERS:
            raise UserError(f"--orders: '{order}' is not known{suggest(order, ORDERS)}")
    for name, value in {'random_orders': random_orders, 'batch': 1 if batch is None else batch}.items():
        if value < 1:
            raise UserError(f'--{name}: {value}; give 1 or more')
    names = layers_of(networks, layers)
    pairs = Pairs(selection, networks)
    loaded = list(pairs)
    seeded = [(order, seed) for order in dict.fromkeys(orders)
              for seed in (range(selection.seed, selection.seed + random_orders) if order == 'random' else (None,))]
    settings = {**vars(selection), 'layers': names, 'orders': list(orders), 'random_orders': random_orders, 'amp': amp,
                'closed_form': closed_form, 'networks': network_settings(networks)}
    check_layers(networks, names, pairs.step)
    folder = ResultFolder(out, TOOL, settings, overwrite, inputs=[selection.images, *(one.path for one in networks)])
    results = []
    for network, some in zip(networks, names):
        found = [Layer(layer) for layer in some]
        steps = len(loaded) * len(found) * (1 + len(seeded))
        with running(network.net, device, amp, HINT), tqdm(
                total=steps, desc=network.label, disable=None, unit='run',
                bar_format='{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}') as bar:
            for pair in loaded:
                for layer in found:
                    _ablate(network, pair, layer, seeded, device, batch, closed_form, bar)
        results.append(found)
    _write(folder, networks, loaded, results, seeded, device)
    return folder


def _ablate(network: TrainedNetwork, pair: Any, layer: Layer, seeded: Sequence[tuple[str, int | None]],
            device: torch.device, batch: int | None, closed_form: bool, bar: tqdm) -> None:
    lq = pair.lq.to(device).contiguous(memory_format=torch.channels_last)
    one = Ablation(network.net, lq, pair.gt, layer.name, batch, closed_form)
    layer.closed = one.closed
    layer.psnr.append(one.psnr)
    layer.single.append(one.single(lambda count: bar.update(count / one.channels)))
    layer.drops.append(drop(one.psnr, layer.single[-1]))
    for name, seed in seeded:
        order = channel_order(name, layer.drops[-1], seed or 0)
        psnr = one.in_turn(order, lambda count: bar.update(count / one.channels))
        layer.curves.setdefault(_order_name(name, seed), []).append(psnr)


def _order_name(order: str, seed: int | None) -> str:
    return order if seed is None else f'{order}:{seed}'


# ---------------------------------------------------------------------- what is written


def _write(folder: ResultFolder, networks: Sequence[TrainedNetwork], pairs: Sequence[Any],
           results: Sequence[Sequence[Layer]], seeded: Sequence[tuple[str, int | None]], device: torch.device) -> None:
    models = []
    for network, layers, name in zip(networks, results, folder_names([one.label for one in networks])):
        (folder.path / name).mkdir(exist_ok=True)
        folder.write(f'{name}/single.csv', csv_text(
            ('image', 'layer', 'channel', 'psnr_db', 'drop_db'),
            ((pair.name, one.name, channel, _db(psnr), _db(lost)) for one in layers for place, pair in enumerate(pairs)
             for channel, (psnr, lost) in enumerate(zip(one.single[place], one.drops[place])))))
        folder.write(f'{name}/in_turn.csv', csv_text(
            ('image', 'layer', 'order', 'removed', 'psnr_db', 'drop_db'),
            ((pair.name, one.name, order, removed, _db(psnr), _db(lost))
             for one in layers for order, curves in one.curves.items() for place, pair in enumerate(pairs)
             for removed, (psnr, lost) in enumerate(zip(curves[place], drop(curves[place][0], curves[place]))))))
        models.append({'label': network.label, 'folder': name, 'layers': [_summary(one, seeded) for one in layers]})
        if len(layers) <= DETAILED:
            for one in layers:
                _draw_features(folder, f'{name}/features_{file_name(one.name)}.png', network, one, pairs[0], device)
    _draw(folder, [one.label for one in networks], results, seeded, models)
    folder.finish(images=[pair.name for pair in pairs], models=models)
    for model in models:
        for layer in model['layers']:
            print(f"{model['label']}, {layer['layer']}: {_say(layer['psnr_db'])} dB; Gini of drops "
                  f"{_say(layer['gini'])}, of their sizes {_say(layer['gini_of_sizes'])}; PSNR rises without "
                  f"{_say(layer['share_rising'])} of the channels; share that may go before 1 dB is lost: "
                  + (', '.join(f'{order} {_say(share)}' for order, share in layer['share_1db'].items()) or '-'))
    print(f'{folder}: {", ".join(sorted(path.name for path in folder.path.iterdir()))}')


def _summary(layer: Layer, seeded: Sequence[tuple[str, int | None]]) -> dict[str, Any]:
    shares = {}
    for order in dict.fromkeys(name for name, _ in seeded):
        curves = [curve for name, seed in seeded if name == order for curve in layer.curves[_order_name(name, seed)]]
        shares[order] = mean(share_dispensable(curve) for curve in curves)
    drops = np.stack(layer.drops)
    return {'layer': layer.name, 'channels': drops.shape[1], 'closed_form': layer.closed, 'psnr_db': mean(layer.psnr),
            'mean_drop_db': mean(drops.ravel()), 'largest_drop_db': mean(drops.max(1)),
            'gini': mean(gini(one) for one in drops), 'gini_of_sizes': mean(gini(np.abs(one)) for one in drops),
            'share_rising': mean(share_rising(one) for one in drops), 'share_1db': shares}


def _draw(folder: ResultFolder, labels: Sequence[str], results: Sequence[Sequence[Layer]],
          seeded: Sequence[tuple[str, int | None]], models: Sequence[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(layer.name for layers in results for layer in layers))
    if len(names) > DETAILED:
        common = [name for name in names if all(name in {one.name for one in layers} for layers in results)]
        by_layer = [{one['layer']: one for one in model['layers']} for model in models]
        values = {'Gini coefficient': {label: [found[name]['gini'] for name in common]
                                       for label, found in zip(labels, by_layer)},
                  'largest drop, dB': {label: [found[name]['largest_drop_db'] for name in common]
                                       for label, found in zip(labels, by_layer)}}
        for order in dict.fromkeys(name for name, _ in seeded):
            values[f'share,\n{order.replace("-", " ")}'] = {
                label: [found[name]['share_1db'][order] for name in common] for label, found in zip(labels, by_layer)}
        if common:
            save(figures.figure_layers(values, common, 'What single channels are worth, and the share of channels that '
                                       'may go before 1 dB is lost'), folder.path / 'layers.png')
        return
    for name in names:
        chosen = {label: next(one for one in layers if one.name == name) for label, layers in zip(labels, results)
                  if any(one.name == name for one in layers)}
        drops = {label: np.stack(one.drops) for label, one in chosen.items()}
        save(figures.figure_single(drops, f'Without a single channel of {name}'),
             folder.path / f'single_{file_name(name)}.png')
        curves = {order: {label: np.stack([curve for each, seed in seeded if each == order
                                           for curve in one.curves[_order_name(each, seed)]])
                          for label, one in chosen.items()} for order in dict.fromkeys(order for order, _ in seeded)}
        if curves:
            save(figures.figure_in_turn(curves, f'Without more and more channels of {name}'),
                 folder.path / f'in_turn_{file_name(name)}.png')


def _draw_features(folder: ResultFolder, path: str, network: TrainedNetwork, layer: Layer, pair: Any,
                   device: torch.device) -> None:
    with running(network.net, device, False, HINT):
        features = features_until(network.net, pair.lq.to(device), layer.name).float().cpu()
    if channel_dim(features) == 2:  # tokens
        height, width = pair.lq.shape[-2:]
        if features.shape[1] != height * width:
            return
        features = features.transpose(1, 2).unflatten(2, (height, width))
    title = f'{layer.name} of {network.label}, {pair.name}: the most important channel first'
    save(figures.figure_features(features[0].numpy(), layer.drops[0], title), folder.path / path)


def _db(value: float) -> str:
    return f'{value:.4f}'


def _say(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
