"""The command ``ablate``: tables and figures of channel ablation (paper Fig. 6 and 8)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from reflash_sr.analysis.ablation import ORDERS, gini, share_dispensable, share_rising
from reflash_sr.analysis.image_pairs import ImageSelection, Pair, load_pairs
from reflash_sr.analysis.measure_ablation import AblationPlan, LayerAblation, ablate, layer_maps
from reflash_sr.analysis.on_device import CPU, check_layers
from reflash_sr.commands import analysis_inputs as inputs
from reflash_sr.commands.arguments import add_network_arguments, add_run_arguments, open_device, open_networks
from reflash_sr.figures import draw_ablation as figures
from reflash_sr.figures.style import save
from reflash_sr.system.result_folder import ResultFolder
from reflash_sr.weights.network_from_file import TrainedNetwork, network_settings

TOOL = 'ablate_channels'
DETAILED = 4  # up to this number, every layer has its own figures; otherwise one figure shows all layers


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with arguments. Default: those of the process. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description='Remove the channels of a layer, each alone and one after the other, and measure the loss of PSNR '
        '(paper Sec. 6.1, Fig. 6 and 8; 8-bit RGB, or Y for a network of one channel; no border cropped). A network '
        'whose channels are equally important can lose many of them; a network that depends on a few channels cannot.')
    add_network_arguments(parser)
    inputs.add_image_arguments(parser)
    inputs.add_layer_arguments(parser)
    parser.add_argument('--orders', nargs='*', default=['index', 'random'], metavar='ORDER',
                        help=f"orders in which channels are removed one after the other: {', '.join(ORDERS)}; empty: "
                        'remove only single channels (default: index random)')
    parser.add_argument('--random_orders', type=int, default=3, metavar='N',
                        help='number of random orders, with the seeds --seed, --seed + 1, ... (default: 3)')
    parser.add_argument('--batch', type=int, metavar='N',
                        help='variants per batch (default: as many as fit into memory)')
    parser.add_argument('--no_closed_form', action='store_true',
                        help='always run the network, even if the result can be computed without it (for checks)')
    add_run_arguments(parser)
    return inputs.run_analysis(TOOL, parser, _command, argv)


def _command(args: argparse.Namespace) -> None:
    plan = AblationPlan(args.orders, args.random_orders, args.seed, args.amp == 'bf16', args.batch,
                        not args.no_closed_form)
    networks = open_networks(args)
    selection = inputs.selection_of(args)
    run(selection, load_pairs(selection, networks), args.layer, plan, networks, args.out, args.overwrite,
        open_device(args))


def run(selection: ImageSelection, pairs: Sequence[Pair], layers: Sequence[str], plan: AblationPlan,
        networks: Sequence[TrainedNetwork], out: str | os.PathLike, overwrite: bool = False,
        device: torch.device = CPU) -> ResultFolder:
    """Ablate; write ``MODEL/single.csv``, ``MODEL/in_turn.csv``, figures and ``summary.json``.

    Args:
        selection: Description of the images, for the summary.
        pairs: The images (:func:`reflash_sr.analysis.image_pairs.load_pairs`).
        layers: Names of layers, or ``'all'``.
        plan: Orders and how to run.
        overwrite: Whether to rename a folder with other results.

    Raises:
        UserError: A layer or the folder is unsuitable; nothing was written.
        RunError: Memory or the disk ran out.
    """
    names = check_layers(networks, layers)
    settings = {**vars(selection), 'layers': names, 'orders': list(plan.orders), 'random_orders': plan.random_orders,
                'amp': plan.amp, 'closed_form': plan.closed_form, 'networks': network_settings(networks)}
    folder = ResultFolder(out, TOOL, settings, overwrite, inputs=[selection.images, *(one.path for one in networks)])
    results = [ablate(network, pairs, some, plan, device) for network, some in zip(networks, names)]
    _write(folder, networks, pairs, results, device)
    return folder


def _write(folder: ResultFolder, networks: Sequence[TrainedNetwork], pairs: Sequence[Pair],
           results: Sequence[Sequence[LayerAblation]], device: torch.device) -> None:
    models: list[dict[str, Any]] = []
    for network, layers, name in zip(networks, results, inputs.folder_names([network.label for network in networks])):
        (folder.path / name).mkdir(exist_ok=True)
        for file, tables in (('single', [layer.single_table() for layer in layers]),
                             ('in_turn', [layer.in_turn_table() for layer in layers])):
            text = pd.concat(tables).to_csv(index=False, float_format='%.4f', lineterminator='\n')
            folder.write(f'{name}/{file}.csv', text)
        for one in layers if len(layers) <= DETAILED else ():
            maps = layer_maps(network, pairs[0], one.layer, device)
            if maps is not None:
                title = f'{one.layer} of {network.label}, {pairs[0].name}: the most important channel first'
                save(figures.figure_features(maps, one.drops[0], title),
                     folder.path / f'{name}/features_{inputs.file_name(one.layer)}.png')
        models.append({'label': network.label, 'folder': name, 'layers': [_summary(layer) for layer in layers]})
    by_layer: dict[str, dict[str, LayerAblation]] = {}
    for network, layers in zip(networks, results):
        for one in layers:
            by_layer.setdefault(one.layer, {})[network.label + _on(one.colours)] = one
    if len(by_layer) <= DETAILED:
        for layer, ablations in by_layer.items():
            _draw_layer(folder, layer, ablations)
    else:
        _draw_layers(folder, [name for name, found in by_layer.items() if len(found) == len(networks)], models)
    folder.finish(images=[pair.name for pair in pairs], models=models)
    for label, found in ((model['label'], layer) for model in models for layer in model['layers']):
        say = {key: inputs.say(found[key]) for key in ('psnr_db', 'gini', 'gini_of_sizes', 'share_rising')}
        shares = ', '.join(f'{kind} {inputs.say(share)}' for kind, share in found['share_1db'].items())
        print(f"{label}, {found['layer']}: {say['psnr_db']} dB{_on(found['colours'])}; Gini of drops {say['gini']}, of "
              f"their sizes {say['gini_of_sizes']}; PSNR rises without {say['share_rising']} of the channels; share "
              f"that may go before 1 dB is lost: {shares or '-'}")
    print(f'{folder}: {", ".join(sorted(path.name for path in folder.path.iterdir()))}')


def _on(colours: str) -> str:
    """What PSNR compares, after a label or a number, if it is not RGB."""
    return '' if colours == 'RGB' else f' (PSNR of {colours})'


def _summary(layer: LayerAblation) -> dict[str, Any]:
    drops, mean = layer.drops, inputs.mean
    return {'layer': layer.layer, 'colours': layer.colours, 'channels': drops.shape[1], 'closed_form': layer.closed,
            'psnr_db': mean(layer.psnr), 'mean_drop_db': mean(drops.ravel()), 'largest_drop_db': mean(drops.max(1)),
            'gini': mean(map(gini, drops)), 'gini_of_sizes': mean(map(gini, np.abs(drops))),
            'share_rising': mean(map(share_rising, drops)),
            'share_1db': {kind: mean(map(share_dispensable, curves)) for kind, curves in layer.curves().items()}}


def _draw_layer(folder: ResultFolder, layer: str, found: Mapping[str, LayerAblation]) -> None:
    """Two figures of a layer; ``found`` by label of the network."""
    name = inputs.file_name(layer)
    save(figures.figure_single({label: one.drops for label, one in found.items()},
                               f'Without a single channel of {layer}'), folder.path / f'single_{name}.png')
    curves = {label: one.curves() for label, one in found.items()}
    by_kind = {kind: {label: some[kind] for label, some in curves.items()} for kind in next(iter(curves.values()))}
    if by_kind:
        save(figures.figure_in_turn(by_kind, f'PSNR while channels of layer {layer} are removed'),
             folder.path / f'in_turn_{name}.png')


def _draw_layers(folder: ResultFolder, layers: Sequence[str], models: Sequence[Mapping[str, Any]]) -> None:
    """One figure of the layers that all networks have."""
    found = {model['label']: {layer['layer']: layer for layer in model['layers']} for model in models}
    kinds = models[0]['layers'][0]['share_1db']
    values = {'Gini coefficient': {label: [some[layer]['gini'] for layer in layers] for label, some in found.items()},
              'largest drop, dB': {label: [some[layer]['largest_drop_db'] for layer in layers]
                                   for label, some in found.items()},
              **{f"share,\n{kind.replace('-', ' ')}": {label: [some[layer]['share_1db'][kind] for layer in layers]
                                                       for label, some in found.items()} for kind in kinds}}
    if layers:
        save(figures.figure_layers(values, layers, 'What single channels are worth, and the share of channels that may '
                                   'go before 1 dB is lost'), folder.path / 'layers.png')
