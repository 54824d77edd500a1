"""The command ``saliency``: tables and figures of channel saliency (paper Fig. 6 and 7)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from reflash_sr.analysis.image_pairs import ImageSelection, Pair, load_pairs
from reflash_sr.analysis.measure_saliency import saliency_by_image
from reflash_sr.analysis.on_device import CPU, check_layers
from reflash_sr.analysis.saliency import Saliency, rank_correlation
from reflash_sr.commands import analysis_inputs as inputs
from reflash_sr.commands.arguments import add_network_arguments, add_run_arguments, open_device, open_networks
from reflash_sr.errors import UserError
from reflash_sr.figures import draw_saliency as figures
from reflash_sr.figures.style import save
from reflash_sr.system.files import csv_text
from reflash_sr.system.result_folder import ResultFolder
from reflash_sr.weights.network_from_file import TrainedNetwork, network_settings

TOOL = 'map_saliency'
MEANS = ('share_of_8', 'rank_correlation', 'rank_correlation_of_sizes')  # over images


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with arguments. Default: those of the process. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description='Map where each channel of a layer influences the detail of the output (paper Sec. 6.1, Fig. 6 '
        'and 7), by the gradient of detail with respect to the features. One backward pass serves all layers of an '
        'image; it keeps all features in memory, which --crop limits.')
    add_network_arguments(parser)
    inputs.add_image_arguments(parser, crop=72)
    inputs.add_layer_arguments(parser)
    parser.add_argument('--channels', type=int, default=32, metavar='N',
                        help='number of channels on a sheet, the most salient first (default: 32)')
    parser.add_argument('--sheets', type=int, default=1, metavar='N',
                        help='draw sheets for the first N images (default: 1)')
    parser.add_argument('--no_correlation', action='store_true',
                        help='do not compute the rank correlation of saliency and PSNR drops, which ablates every '
                        'channel')
    add_run_arguments(parser)
    return inputs.run_analysis(TOOL, parser, _command, argv)


def _command(args: argparse.Namespace) -> None:
    networks = open_networks(args)
    selection = inputs.selection_of(args)
    run(selection, load_pairs(selection, networks), args.layer, networks, args.out, args.overwrite, open_device(args),
        args.amp == 'bf16', args.channels, args.sheets, not args.no_correlation)


def run(selection: ImageSelection, pairs: Sequence[Pair], layers: Sequence[str], networks: Sequence[TrainedNetwork],
        out: str | os.PathLike, overwrite: bool = False, device: torch.device = CPU, amp: bool = False,
        channels: int = 32, sheets: int = 1, correlate: bool = True) -> ResultFolder:
    """Map saliency; write ``MODEL/scores.csv``, sheets, a comparison of the models and ``summary.json``.

    Args:
        selection: Description of the images, for the summary.
        pairs: The images (:func:`reflash_sr.analysis.image_pairs.load_pairs`).
        layers: Names of layers, or ``'all'``.
        overwrite: Whether to rename a folder with other results.
        amp: Whether to run in bfloat16 mixed precision.
        channels: Number of channels on a sheet.
        sheets: Number of images with sheets.
        correlate: Whether to ablate every channel as well, for the rank correlation of scores and drops.

    Raises:
        UserError: A number, a layer or the folder is unsuitable; nothing was written.
        RunError: Memory or the disk ran out.
    """
    for option, value, least in (('channels', channels, 1), ('sheets', sheets, 0)):
        if value < least:
            raise UserError(f'--{option}: {value}; give {least} or more')
    names = check_layers(networks, layers)
    settings = {**vars(selection), 'layers': names, 'amp': amp, 'channels': channels, 'sheets': sheets,
                'correlate': correlate, 'networks': network_settings(networks)}
    folder = ResultFolder(out, TOOL, settings, overwrite, inputs=[selection.images, *(one.path for one in networks)])
    sheet_names = inputs.folder_names([pair.name for pair in pairs])
    models: list[dict[str, Any]] = []
    first: dict[str, dict[str, Saliency]] = {}  # of the first image, by layer and network
    for network, some, name in zip(networks, names, inputs.folder_names([network.label for network in networks])):
        (folder.path / name).mkdir(exist_ok=True)
        rows: list[tuple] = []
        numbers: dict[str, list[dict[str, Any]]] = {layer: [] for layer in some}
        for place, found in enumerate(saliency_by_image(network, pairs, some, correlate, device, amp)):
            for layer, one in found.items():
                rows += _rows(pairs[place].name, layer, one)
                numbers[layer].append(_numbers(one))
                if place < sheets:
                    title = f'Saliency of {layer}, {pairs[place].name}, {network.label}'
                    save(figures.figure_sheet(one, title, channels),
                         folder.path / f'{name}/{sheet_names[place]}_{inputs.file_name(layer)}.png')
                if place == 0 and sheets:
                    first.setdefault(layer, {})[network.label] = one
        folder.write(f'{name}/scores.csv', csv_text(('image', 'layer', 'channel', 'score', 'drop_db'), rows))
        models.append({'label': network.label, 'folder': name,
                       'layers': [_summary(layer, of_images) for layer, of_images in numbers.items()]})
    for layer, by_model in first.items():
        if len(by_model) > 1:
            save(figures.figure_models(by_model, f'Saliency of {layer}, {pairs[0].name}'),
                 folder.path / f'models_{inputs.file_name(layer)}.png')
    folder.finish(images=[pair.name for pair in pairs], models=models)
    for label, numbers_of in ((model['label'], layer) for model in models for layer in model['layers']):
        say = {key: inputs.say(numbers_of[key]) for key in MEANS}
        print(f"{label}, {numbers_of['layer']}: the 8 most salient of {numbers_of['channels']} channels have "
              f"{say['share_of_8']} of the saliency; rank correlation with drops {say['rank_correlation']}, with their "
              f"sizes {say['rank_correlation_of_sizes']}")
    print(f'{folder}: {", ".join(sorted(path.name for path in folder.path.iterdir()))}')
    return folder


def _rows(image: str, layer: str, one: Saliency) -> list[tuple]:
    drops = [''] * len(one.scores) if one.drops is None else [f'{drop:.4f}' for drop in one.drops]
    return [(image, layer, channel, f'{score:.6g}', drop)
            for channel, (score, drop) in enumerate(zip(one.scores, drops))]


def _numbers(one: Saliency) -> dict[str, Any]:
    scores = np.sort(one.scores)[::-1]
    return {'channels': len(scores), 'share_of_8': float(scores[:8].sum() / scores.sum()) if scores.sum() else None,
            'rank_correlation': None if one.drops is None else rank_correlation(one.scores, one.drops),
            'rank_correlation_of_sizes': (None if one.drops is None else
                                          rank_correlation(one.scores, np.abs(one.drops)))}


def _summary(layer: str, numbers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {'layer': layer, 'channels': numbers[0]['channels'],
            **{key: inputs.mean(image[key] for image in numbers) for key in MEANS},
            'rank_correlation_by_image': [image['rank_correlation'] for image in numbers]}
