"""Measure networks on test sets, image by image, into a folder of results; goes on where it was interrupted."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from reflash_sr.commands.evaluation_figures import Places, draw_all
from reflash_sr.data.test_degradation.benchmark_sets import DegradedSet, PairedSet
from reflash_sr.errors import RunError, UserError
from reflash_sr.evaluation import table_formats as writers
from reflash_sr.evaluation.comparison import BICUBIC, Settings, baselines_of, check, identity, method_of
from reflash_sr.evaluation.comparison_table import Grid, Method, all_gains, make_table
from reflash_sr.evaluation.detail_crop import crop_box
from reflash_sr.evaluation.finished_scores import PROGRESS, Progress, Unit, load
from reflash_sr.evaluation.inference import Restorer
from reflash_sr.evaluation.metrics import DECIMALS, SMALLEST, UNITS, bicubic_upscale, check_metrics, measure
from reflash_sr.evaluation.scores import MEAN, Cell, Score, format_table
from reflash_sr.system import processes
from reflash_sr.system.devices import is_out_of_memory
from reflash_sr.system.files import atomic_write
from reflash_sr.system.result_folder import ResultFolder
from reflash_sr.weights.trained_network import TrainedNetwork

TOOL = 'evaluate_degradations'
MOST = 1 + 8  # methods that bars of different colours can tell apart, interpolation among them


def evaluate(networks: Sequence[TrainedNetwork],
             sets: Sequence[DegradedSet | PairedSet],
             out: str | os.PathLike,
             settings: Settings | None = None,
             baselines: Mapping[str, str] | None = None,
             device: torch.device | None = None,
             overwrite: bool = False) -> str:
    """Measure networks on sets, and write scores, tables and figures.

    In several processes each takes its share of the images; all end with the same scores.

    Args:
        networks: All of one scale; labels are unique.
        sets: At that scale; names are unique.
        out: Folder for the results.
        settings: How to measure.
        baselines: Label of the network without dropout, by the label of the one with. Default: the network that differs
            in dropout alone, where there is just one.
        device: Where to run. Default: the CPU.
        overwrite: Whether to put aside what is in the folder.

    Returns:
        The tables, as text to print.

    Raises:
        UserError: Something that was given does not go together; the folder holds another run.
        RunError: The results cannot be written.
    """
    settings, device = settings or Settings(), device or torch.device('cpu')
    check_metrics(list(settings.metrics))
    check(networks, sets)
    baselines = baselines_of(networks, baselines)
    methods = [Method(BICUBIC), *(method_of(one, baselines) for one in networks)]
    inputs = [*(one.path for one in networks), *(root for one in sets for root in one.roots)]
    smallest = 2 * settings.crop_border + max(SMALLEST[metric] for metric in settings.metrics)
    why = f"crop_border {settings.crop_border} and {', '.join(settings.metrics)} need {smallest} px"

    def open_folder() -> ResultFolder:
        for one in sets:
            one.check(smallest, why)
        return ResultFolder(out, TOOL, identity(networks, sets, settings, device), overwrite, inputs)

    folder = processes.on_rank_0(open_folder)
    places = Places(folder.path, [method.label for method in methods], {one.name: one.names for one in sets},
                    {one.name: one.degradations for one in sets})
    found = _measure_all(networks, sets, settings, device, folder, places)
    if processes.rank() > 0:
        return ''
    scores = [score for one in sets for name in one.names for score in found[one.name, name]]
    try:
        return _report(scores, methods, settings, folder, places)
    except OSError as error:
        raise RunError(f'{folder}: results cannot be written ({error.strerror}); start again to go on') from error


# ---------------------------------------------------------------------- measuring


def _measure_all(networks: Sequence[TrainedNetwork], sets: Sequence[DegradedSet | PairedSet], settings: Settings,
                 device: torch.device, folder: ResultFolder, places: Places) -> dict[Unit, list[Score]]:
    found = processes.on_rank_0(lambda: load(folder.path))
    units = [(one, place) for one in sets for place in range(len(one))]
    wanted = [(one, place) for one, place in units
              if (one.name, one.names[place]) not in found or _lacks_images(one, place, settings, places, networks)]
    processes.gather(None)  # nobody writes before all have looked
    mine = wanted[processes.rank()::processes.world_size()]
    restorers = {one.label: Restorer(one.net, one.scale, one.multiple, device, settings.amp, settings.tile,
                                     settings.overlap) for one in networks}
    new: dict[Unit, list[Score]] = {}
    failure: UserError | None = None
    try:
        with Progress(folder.path) as progress:
            show = processes.rank() == 0
            for one, place in tqdm(mine, 'Evaluating', unit='image', disable=None if show else True):
                scores = _measure(one, place, restorers, settings, places)
                new[one.name, one.names[place]] = scores
                progress.write(one.name, one.names[place], scores)
        _note_tiles(restorers)
    except UserError as error:
        failure = error
    except OSError as error:
        failure = RunError(f'{folder}: results cannot be written ({error.strerror}); make room, then start again')
    parts = processes.gather((new, failure))
    for part, failed in parts:  # all processes leave for the same reason
        if failed is not None:
            raise failed
        found.update(part)
    return found


def _note_tiles(restorers: Mapping[str, Restorer]) -> None:
    for label, one in restorers.items():
        if one.forced_tile:
            print(f'note: {label}: memory did not suffice for whole images: tiles down to {one.forced_tile} px. A '
                  f'network that sees farther than --overlap, {one.overlap} px, gives slightly other numbers so',
                  file=sys.stderr)


def _lacks_images(one: DegradedSet | PairedSet, place: int, settings: Settings, places: Places,
                    networks: Sequence[TrainedNetwork]) -> bool:
    """Whether somebody took away images that were written with the scores."""
    wanted: list[Path] = []
    for degradation in one.degradations:
        key = one.name, one.names[place], degradation
        if place < settings.strips:
            wanted += [places.crop(*key, label) for label in ('*GT', '*LQ', BICUBIC, *(net.label for net in networks))]
        if settings.save_images:
            wanted += [places.image(*key, net.label) for net in networks]
    return not all(path.is_file() for path in wanted)


def _measure(one: DegradedSet | PairedSet, place: int, restorers: Mapping[str, Restorer], settings: Settings,
             places: Places) -> list[Score]:
    """All scores of one image: every degradation, method and metric."""
    scores, name = [], one.names[place]
    for degradation in one.degradations:
        lq, gt = one.pair(place, degradation)
        box = crop_box(gt, one.scale) if place < settings.strips else None
        for label, make in {BICUBIC: lambda lq: bicubic_upscale(lq, one.scale),
                            **{key: restorer.restore for key, restorer in restorers.items()}}.items():
            try:
                sr = make(lq)
                values = {metric: measure(metric, sr, gt, settings.crop_border, settings.y_channel)
                          for metric in settings.metrics}
            except UserError as error:
                raise UserError(f'{one.path(place)}: {label}: {error}') from error
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise RunError(f'{one.path(place)}: {label}: not enough memory; give a --tile, or a smaller one, '
                                   'then start again to go on') from error
                raise
            scores += [Score(label, one.name, degradation, name, key, value) for key, value in values.items()]
            if settings.save_images and label != BICUBIC:
                write_png(sr, places.image(one.name, name, degradation, label))
            if box is not None:
                write_png(sr[box], places.crop(one.name, name, degradation, label))
        if box is not None:
            small = tuple(slice(part.start // one.scale, part.stop // one.scale) for part in box)
            enlarged = np.repeat(np.repeat(lq[small], one.scale, 0), one.scale, 1)
            for label, pixels in (('*GT', gt[box]), ('*LQ', enlarged)):
                write_png(pixels, places.crop(one.name, name, degradation, label))
    return scores


def write_png(pixels: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 as PNG, whole or not at all."""
    with atomic_write(path) as file:
        Image.fromarray(pixels).save(file, format='PNG')


# ---------------------------------------------------------------------- reporting


def _report(scores: list[Score], methods: list[Method], settings: Settings, folder: ResultFolder,
            places: Places) -> str:
    grid = Grid(scores)
    folder.write('scores.csv', writers.scores_csv(scores))
    entries = make_table(grid, methods, settings.seed)
    pairs = None
    if len(methods) > MOST:
        pairs = [(other, one.label) for one in methods[1:] for other in (BICUBIC, one.baseline) if other]
        print(f'{len(methods) - 1} networks: each is compared with interpolation and its baseline alone, neither '
              'gains nor values are drawn; tools/compare_seeds.py draws seeds and iterations', file=sys.stderr)
    gains = all_gains(grid, settings.seed, pairs)
    shutil.rmtree(folder.path / PROGRESS, ignore_errors=True)
    folder.write('table.csv', writers.table_csv(entries, methods))
    folder.write('table.md', writers.markdown(entries, methods, str(settings)))
    folder.write('table.tex', writers.latex(entries, methods, str(settings)))
    folder.write('gains.csv', writers.gains_csv(gains))
    draw_all(grid, methods, places, settings, bars=len(methods) <= MOST)
    for torn in folder.path.rglob('.*.part'):  # of images that were being written when the run was killed
        torn.unlink()
    endless = [score for score in scores if not np.isfinite(score.value)]
    for score in endless:
        print(f'warning: {score.dataset}: {score.image}: {score.degradation}: {score.method} equals the ground truth; '
              'the image is left out of the means of all', file=sys.stderr)
    cells = [Cell(entry.method, entry.dataset, entry.degradation, entry.metric, entry.value, entry.images)
             for entry in entries]
    folder.finish(
        cells=[asdict(cell) for cell in cells if cell.degradation != MEAN],
        gains=[{'metric': entry.metric, 'dataset': entry.dataset, 'degradation': entry.degradation,
                'method': entry.method, **asdict(entry.gain)} for entry in entries if entry.gain is not None],
        left_out=[[score.dataset, score.image, score.degradation, score.method] for score in endless])
    tables = [format_table([cell for cell in cells if cell.metric == metric], metric,
                           f"{UNITS[metric] + ', ' if metric in UNITS else ''}{settings}", DECIMALS[metric])
              for metric in grid.metrics]
    baselines = {method.label: method.baseline for method in methods}
    with_mean = {entry.dataset for entry in entries if entry.degradation == MEAN}
    lines = [f'{entry.metric}, {entry.dataset}: {entry.method} over {baselines[entry.method]}: '
             f'{writers.format_gain(entry.gain, DECIMALS[entry.metric])}'
             for entry in entries
             if entry.gain is not None and (entry.degradation == MEAN or entry.dataset not in with_mean)]
    head = ['gain, mean over degradations [95 % interval over images]'] if lines else []
    return '\n\n'.join(tables + ['\n'.join(head + lines)] * bool(lines) + [f'Results: {folder}'])
