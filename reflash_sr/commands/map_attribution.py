"""The command ``attribute``: local attribution maps and the diffusion index (arXiv 2011.11036)."""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from reflash_sr.analysis.attribution import SIGMA, STEPS, WINDOW, Attribution
from reflash_sr.analysis.image_pairs import ImageSelection, Pair, load_pairs
from reflash_sr.analysis.measure_attribution import AttributionPlan, attribution_by_image
from reflash_sr.analysis.on_device import CPU
from reflash_sr.commands import analysis_inputs as inputs
from reflash_sr.commands.arguments import add_network_arguments, add_run_arguments, count, open_device, open_networks
from reflash_sr.errors import UserError
from reflash_sr.evaluation.tiled_inference import to_image
from reflash_sr.figures.draw_attribution import figure_attribution
from reflash_sr.figures.style import save
from reflash_sr.system.files import csv_text
from reflash_sr.system.result_folder import ResultFolder
from reflash_sr.weights.network_from_file import TrainedNetwork, network_settings

TOOL = 'map_attribution'
CROP = 64  # px of the LQ image
HEAD = ('network', 'image', 'top', 'left', 'side', 'diffusion_index', 'detail', 'detail_blurred', 'attributed')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with arguments. Default: those of the process. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description='Map which pixels of the LQ image a window of the SR image depends on (local attribution maps), '
        'and measure how widely they are spread (the diffusion index, 0 to 100).')
    add_network_arguments(parser)
    inputs.add_image_arguments(parser, crop=CROP)
    parser.add_argument('--window', type=count, default=WINDOW, metavar='PX',
                        help=f'side of the window, px of the SR image (default: {WINDOW})')
    parser.add_argument('--at', type=count, nargs=2, metavar=('ROW', 'COLUMN'),
                        help='its upper left corner, px of the SR image of the crop (default: where the GT has most '
                        'detail, in the middle half of the image)')
    parser.add_argument('--steps', type=count, default=STEPS, metavar='N',
                        help=f'steps from blurred to sharp, each a forward and a backward pass (default: {STEPS})')
    parser.add_argument('--sigma', type=float, default=SIGMA, metavar='PX',
                        help=f'blur where the path begins, px of the LQ image (default: {SIGMA})')
    parser.add_argument('--sheets', type=count, default=1, metavar='N',
                        help='draw the first N images (default: 1)')
    add_run_arguments(parser)
    return inputs.run_analysis(TOOL, parser, _command, argv)


def _command(args: argparse.Namespace) -> None:
    networks = open_networks(args)
    selection = inputs.selection_of(args)
    plan = AttributionPlan(args.window, args.at and (args.at[0], args.at[1]), args.steps, args.sigma)
    run(selection, load_pairs(selection, networks), plan, networks, args.out, args.overwrite, open_device(args),
        args.amp == 'bf16', args.sheets)


def run(selection: ImageSelection, pairs: Sequence[Pair], plan: AttributionPlan, networks: Sequence[TrainedNetwork],
        out: str | os.PathLike, overwrite: bool = False, device: torch.device = CPU, amp: bool = False,
        sheets: int = 1) -> ResultFolder:
    """Attribute a window of each image; write ``scores.csv``, figures of the first images and ``summary.json``.

    Args:
        selection: Description of the images, for the summary.
        pairs: The images (:func:`reflash_sr.analysis.image_pairs.load_pairs`).
        overwrite: Whether to rename a folder with other results.
        amp: Whether to run in bfloat16 mixed precision.
        sheets: Number of images that are drawn.

    Raises:
        UserError: A number, the window or the folder is unsuitable; nothing was written.
        RunError: Memory or the disk ran out.
    """
    if sheets < 0:
        raise UserError(f'--sheets: {sheets}; give 0 or more')
    plan.places(pairs)
    settings = {**vars(selection), **vars(plan), 'amp': amp, 'sheets': sheets, 'networks': network_settings(networks)}
    folder = ResultFolder(out, TOOL, settings, overwrite, inputs=[selection.images, *(one.path for one in networks)])
    rows: list[tuple] = []
    models: list[dict[str, Any]] = []
    drawn: list[dict[str, Attribution]] = [{} for _ in pairs[:sheets]]
    for network in networks:
        indices, gaps = [], []
        for place, one in enumerate(_named(network, attribution_by_image(network, pairs, plan, device, amp))):
            rows.append(_row(network.label, pairs[place].name, one))
            indices.append(one.diffusion_index)
            gaps.append(one.gap)
            if place < sheets:
                drawn[place][network.label] = one
        models.append({'label': network.label, 'diffusion_index': inputs.mean(indices), 'std': _spread(indices),
                       'gap': inputs.mean(gaps), 'diffusion_index_by_image': indices})
    folder.write('scores.csv', csv_text(HEAD, rows))
    for pair, name, by_model in zip(pairs, inputs.folder_names([pair.name for pair in pairs]), drawn):
        figure = figure_attribution(to_image(pair.lq) / 255, by_model, f'Local attribution, {pair.name}')
        save(figure, folder.path / f'attribution_{name}.png')
    folder.finish(images=[pair.name for pair in pairs], models=models)
    for model in models:
        print(f"{model['label']}: diffusion index {inputs.say(model['diffusion_index'])} ± "
              f"{inputs.say(model['std'])} (images: {len(pairs)}); error of the integral {inputs.say(model['gap'])}")
    print(f'{folder}: {", ".join(sorted(path.name for path in folder.path.iterdir()))}')
    return folder


def _named(network: TrainedNetwork, found: Iterator[Attribution]) -> Iterator[Attribution]:
    """Say which network it is whose weights are bad."""
    try:
        yield from found
    except UserError as error:
        raise UserError(f'{network.label}: {error}') from error


def _row(network: str, image: str, one: Attribution) -> tuple:
    index = one.diffusion_index
    return (network, image, one.top, one.left, one.side, '' if index is None else f'{index:.4f}', f'{one.detail:.6g}',
            f'{one.detail_blurred:.6g}', f'{one.map.sum():.6g}')


def _spread(values: Sequence[float | None]) -> float | None:
    """Standard deviation over images (of a sample); None if there are fewer than two."""
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None
