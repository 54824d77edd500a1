"""Channel saliency maps of networks over images: numbers, tables, figures (paper Sec. 6.1, Fig. 6 and 7)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from reflash_sr.analysis.ablation import Ablation, drop
from reflash_sr.analysis.saliency import Saliency, channel_saliency, rank_correlation
from reflash_sr.commands.analysis_inputs import (
    ImageSelection,
    Pair,
    Pairs,
    check_layers,
    file_name,
    folder_names,
    layers_of,
    mean,
    running,
)
from reflash_sr.errors import UserError
from reflash_sr.figures import draw_saliency as figures
from reflash_sr.figures.style import save
from reflash_sr.system.files import csv_text
from reflash_sr.system.result_folder import ResultFolder
from reflash_sr.weights.trained_network import TrainedNetwork, network_settings

TOOL = 'map_saliency'
HINT = 'give a smaller --crop'


def run(selection: ImageSelection, layers: Sequence[str], networks: Sequence[TrainedNetwork], out: str | os.PathLike,
        overwrite: bool = False, device: torch.device = torch.device('cpu'), amp: bool = False,  # noqa: B008
        channels: int = 32, sheets: int = 1, correlate: bool = True) -> ResultFolder:
    """Map saliency; write ``MODEL/scores.csv``, sheets, a comparison of the models and ``summary.json``.

    Args:
        images: Which images.
        layers: Names of layers, or ``'all'``.
        networks: The networks.
        out: Folder for the results.
        overwrite: Whether to put what is there aside.
        device: Where the networks run.
        amp: Whether in bfloat16 mixed precision.
        channels: How many channels a sheet shows.
        sheets: Of how many images sheets are drawn.
        correlate: Whether to ablate every channel too, for the rank correlation of scores and drops.

    Returns:
        The folder.

    Raises:
        UserError: Something asked for does not fit; before anything is written.
        RunError: Memory or the disk ran out.
    """
    for name, value, least in (('channels', channels, 1), ('sheets', sheets, 0)):
        if value < least:
            raise UserError(f'--{name}: {value}; give {least} or more')
    names = layers_of(networks, layers)
    pairs = Pairs(selection, networks)
    check_layers(networks, names, pairs.step)
    loaded = list(pairs)
    settings = {**vars(selection), 'layers': names, 'amp': amp, 'channels': channels, 'sheets': sheets,
                'correlate': correlate, 'networks': network_settings(networks)}
    folder = ResultFolder(out, TOOL, settings, overwrite, inputs=[selection.images, *(one.path for one in networks)])
    folders = folder_names([one.label for one in networks])
    sheet_names = folder_names([pair.name for pair in loaded])
    models, first = [], {}
    for network, some, name in zip(networks, names, folders):
        (folder.path / name).mkdir(exist_ok=True)
        rows: list[tuple] = []
        numbers: dict[str, list[dict[str, Any]]] = {layer: [] for layer in some}
        with running(network.net, device, amp, HINT), tqdm(
                total=len(loaded) * len(some), desc=network.label, disable=None, unit='layer') as bar:
            for place, pair in enumerate(loaded):
                found = _map(network, pair, some, device)
                for layer, one in found.items():
                    drops = _drops(network, pair, layer, device) if correlate else None
                    lost = [None] * len(one.scores) if drops is None else [f'{value:.4f}' for value in drops]
                    rows += [(pair.name, layer, channel, f'{score:.6g}', lost[channel])
                             for channel, score in enumerate(one.scores)]
                    numbers[layer].append(_numbers(one, drops))
                    if place < sheets:
                        title = f'Saliency of {layer}, {pair.name}, {network.label}'
                        path = f'{name}/{sheet_names[place]}_{file_name(layer)}.png'
                        save(figures.figure_sheet(one, title, channels), folder.path / path)
                    if place == 0:
                        first.setdefault(layer, {})[network.label] = one
                    bar.update()
        folder.write(f'{name}/scores.csv', csv_text(('image', 'layer', 'channel', 'score', 'drop_db'), rows))
        models.append({'label': network.label, 'folder': name,
                       'layers': [_summary(layer, some_numbers) for layer, some_numbers in numbers.items()]})
    if len(networks) > 1 and sheets:
        for layer, by_model in first.items():
            if len(by_model) > 1:
                save(figures.figure_models(by_model, f'Saliency of {layer}, {loaded[0].name}'),
                     folder.path / f'models_{file_name(layer)}.png')
    folder.finish(images=[pair.name for pair in loaded], models=models)
    for model in models:
        for layer in model['layers']:
            print(f"{model['label']}, {layer['layer']}: the 8 most salient of {layer['channels']} channels have "
                  f"{_say(layer['share_of_8'])} of the saliency; rank correlation with drops "
                  f"{_say(layer['rank_correlation'])}, with their sizes {_say(layer['rank_correlation_of_sizes'])}")
    print(f'{folder}: {", ".join(sorted(path.name for path in folder.path.iterdir()))}')
    return folder


def _map(network: TrainedNetwork, pair: Pair, layers: Sequence[str], device: torch.device) -> dict[str, Saliency]:
    lq = pair.lq.to(device).contiguous(memory_format=torch.channels_last)
    return channel_saliency(network.net, lq, layers)


def _drops(network: TrainedNetwork, pair: Pair, layer: str, device: torch.device) -> np.ndarray:
    lq = pair.lq.to(device).contiguous(memory_format=torch.channels_last)
    ablation = Ablation(network.net, lq, pair.gt, layer)
    return drop(ablation.psnr, ablation.single())


def _numbers(one: Saliency, drops: np.ndarray | None) -> dict[str, Any]:
    scores = np.sort(one.scores)[::-1]
    return {'channels': len(scores), 'share_of_8': float(scores[:8].sum() / scores.sum()) if scores.sum() else None,
            'rank_correlation': None if drops is None else rank_correlation(one.scores, drops),
            'rank_correlation_of_sizes': None if drops is None else rank_correlation(one.scores, np.abs(drops))}


def _summary(layer: str, numbers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {'layer': layer, 'channels': numbers[0]['channels'],
            'share_of_8': mean(one['share_of_8'] for one in numbers),
            'rank_correlation': mean(one['rank_correlation'] for one in numbers),
            'rank_correlation_of_sizes': mean(one['rank_correlation_of_sizes'] for one in numbers),
            'rank_correlation_by_image': [one['rank_correlation'] for one in numbers]}


def _say(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
