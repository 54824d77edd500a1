"""The command ``compare``: gains over the network without dropout of the same seed, from several evaluations.

Reads results of ``tools/evaluate_degradations.py``. A network is identified by its weights file: dropout, seed,
iteration, and raw or EMA weights.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from reflash_sr.commands.arguments import count
from reflash_sr.commands.presets import read_presets
from reflash_sr.commands.read_evaluations import PLAIN_WAY, check_comparable, open_evaluation
from reflash_sr.commands.read_summaries import Identity
from reflash_sr.commands.seed_figures import draw
from reflash_sr.commands.seed_tables import BEYOND, PLAIN, Entry, cells, lines, tables, to_csv
from reflash_sr.errors import UserError
from reflash_sr.evaluation.bootstrap import gain_over_seeds
from reflash_sr.evaluation.comparison import BICUBIC, Settings
from reflash_sr.evaluation.comparison_table import Grid
from reflash_sr.evaluation.metrics import WITHOUT_GAIN
from reflash_sr.evaluation.scores import Score
from reflash_sr.system.result_folder import ResultFolder
from reflash_sr.system.run_command import run_command

TOOL = 'compare_seeds'
BICUBIC_DRIFT = 0.01  # largest difference of a score of bicubic interpolation between machines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with arguments. Default: those of the process. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description='Combine evaluations of a study (cells, seeds, iterations, raw and EMA weights): the gain of '
        'every cell over p = 0 of the same seed, with an interval over images and an interval over seeds, as a table, '
        'a figure for each kind of weights, and a curve if several iterations were evaluated.')
    parser.add_argument('--results', nargs='+', required=True, metavar='DIR',
                        help='result folders of tools/evaluate_degradations.py; each may hold a part of the study')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the results')
    parser.add_argument('--overwrite', action='store_true', help='rename an existing folder to DIR_archived_TIME')
    parser.add_argument('--study', metavar='FILE', help='option file of a study of presets: its networks are named '
                        'after them, and compared with the first instead of p = 0')
    parser.add_argument('--seed', type=count, default=0, metavar='N', help='seed of the bootstrap (default: 0)')
    args = parser.parse_args(argv)

    def work() -> None:
        folder, text = compare(args.results, args.out, args.overwrite, args.seed, args.study)
        print(f'{text}\nResults: {folder}')

    return run_command(work, TOOL)


def compare(folders: Sequence[str | os.PathLike], out: str | os.PathLike, overwrite: bool = False,
            seed: int = 0, study: str | os.PathLike | None = None) -> tuple[ResultFolder, str]:
    """Compare, and write ``gains.csv``, ``gains.md``, ``gains.png``, ``gains_WEIGHTS.png`` and ``curve.png``.

    ``cells.md`` lists the networks: at which iterations each variant was evaluated, seed by seed. For presets,
    ``by_degradation_WEIGHTS.png`` is there instead of ``gains.png``.

    Args:
        folders: Results of ``evaluate_degradations``, for networks of one study.
        overwrite: Whether to rename a folder with other results.
        seed: Seed of the bootstrap.
        study: Option file of a study of presets: networks are named after them, may differ in what these set, and
            are compared with the first. None: they differ in dropout alone, and are compared with p = 0.

    Returns:
        The folder, and lines to print.

    Raises:
        UserError: A folder holds no finished evaluation, lacks facts about its networks, or was measured with other
            settings; a network occurs twice, or is not of the study; no network has a counterpart without dropout (or
            of the first preset).
    """
    presets = read_presets(study) if study is not None else None
    order = list(presets.names) if presets else [PLAIN]
    found = [open_evaluation(Path(folder), presets) for folder in folders]
    check_comparable(found)
    scores: dict[tuple[int, str], list[Score]] = {}  # by iteration and weights
    bicubic: dict[tuple[str, str, str, str], Score] = {}
    seen: dict[tuple[Identity, str], Path] = {}
    for one in found:
        for network, dataset in itertools.product((each.identity for each in one.networks.values()), one.sets):
            if (network, dataset) in seen:
                raise UserError(f'{one.folder}: {network} on {dataset}: is also in {seen[network, dataset]}; '
                                'give results of one study, each network once')
            seen[network, dataset] = one.folder
        for score in one.scores:
            if score.method == BICUBIC:
                before = bicubic.setdefault((score.dataset, score.degradation, score.image, score.metric), score)
                if not math.isclose(before.value, score.value, abs_tol=BICUBIC_DRIFT):
                    raise UserError(f'{one.folder}: bicubic interpolation has {score.value:.4f} on {score.dataset}, '
                                    f'{score.degradation}, {score.image}, but {before.value:.4f} elsewhere; evaluate '
                                    'both with one version')
                continue
            of, way = one.shrunk.get(score.method, (score.method, PLAIN_WAY))
            network = one.networks[of].identity
            scores.setdefault((network.iteration, network.weights), []).append(
                Score(_label(network.variant, network.seed, way), score.dataset, score.degradation, score.image,
                      score.metric, score.value))
    common = set.intersection(*({score.dataset for score in some} for some in scores.values()))
    entries = [entry for (iteration, weights), some in sorted(scores.items())
               for entry in _entries(iteration, weights, some, bicubic.values(), common, seed, order)]
    if all(metric in WITHOUT_GAIN for one in found for metric in one.settings['metrics']):
        what = ', '.join(found[0].settings['metrics'])
        raise UserError(f'{folders[0]}: has only {what}, which has no gain; evaluate with --metrics psnr')
    if not entries:
        what = f'{order[0]} is not there' if presets else 'no network with dropout has a counterpart without dropout'
        raise UserError(f'{folders[0]}: {what}, of the same seed and iteration; evaluate both')
    folder = ResultFolder(out, TOOL, {'results': [str(folder) for folder in folders], 'seed': seed,
                                      'study': None if study is None else str(study),
                                      'evaluations': [one.settings for one in found]}, overwrite, folders)
    how = str(Settings(**{key: found[0].settings[key] for key in ('crop_border', 'y_channel', 'amp')}))
    folder.write('gains.csv', to_csv(entries))
    folder.write('gains.md', tables(entries, how, order[0]))
    folder.write('cells.md', cells([(one.variant, one.seed, one.iteration, (one.weights, dataset))
                                    for one, dataset in seen]))
    draw(entries, folder.path, how, order[0], presets is not None)
    missing = _missing(seen, order) + [f'not there: the shrinkage control in {one.folder}' for one in found
                                if any(other.shrunk for other in found) and not one.shrunk]
    folder.finish(entries=len(entries), missing=missing)
    return folder, '\n'.join(lines(entries, order[0]) + missing)


def _label(variant: str, seed: int, way: str = PLAIN_WAY) -> str:
    return f'{variant}\t{seed}\t{way}'


def _comparisons(variants: Iterable[str], ways: Iterable[str],
                 reference: str) -> dict[str, tuple[tuple[str, str], tuple[str, str]]]:
    """What is compared, by its name: (variant, way of shrinking), with (the reference, its way)."""
    plain = reference, PLAIN_WAY
    found = {variant: ((variant, PLAIN_WAY), plain) for variant in variants}
    for way in ways:
        found[f'{reference}, shrunk{way}'] = (reference, way), plain
        found |= {f'{variant}, {BEYOND}{way}': ((variant, way), (reference, way)) for variant in variants}
    return found


def _entries(iteration: int, weights: str, scores: Sequence[Score], bicubic: Iterable[Score], common: Collection[str],
             seed: int, order: Sequence[str]) -> list[Entry]:
    """All entries of one iteration.

    ``common`` are the datasets that were evaluated at every iteration, ``order`` the reference and then variants that
    come first.
    """
    measured = {score.dataset for score in scores}
    grid = Grid([*scores, *(score for score in bicubic if score.dataset in measured)])
    labels = [label.split('\t') for label in grid.methods if label != BICUBIC]
    variants = _in_order({variant for variant, _, _ in labels}, order)[1:]
    numbers = sorted({int(number) for _, number, _ in labels})
    compared = _comparisons(variants, sorted({way for _, _, way in labels} - {PLAIN_WAY}), order[0])
    metrics = [metric for metric in grid.metrics if metric not in WITHOUT_GAIN]
    entries = []
    for metric, (group, datasets), method in itertools.product(metrics, grid.groups(common).items(), compared):
        (variant, way), (reference, its_way) = compared[method]
        pairs = {number: (_label(variant, number, way), _label(reference, number, its_way)) for number in numbers}
        pairs = {number: pair for number, pair in pairs.items() if all(grid.has(one, datasets) for one in pair)}
        for column, places in grid.columns(datasets).items() if pairs else ():
            gain = gain_over_seeds([grid.differences(metric, *pair, datasets, places) for pair in pairs.values()], seed)
            if gain is None:
                continue
            value, without = (float(np.mean([grid.mean(metric, one, datasets, places)[0] for one in some]))
                              for some in zip(*pairs.values()))
            entries.append(Entry(metric, weights, iteration, group, column, method, value, without,
                                 grid.mean(metric, BICUBIC, datasets, places)[0], gain.mean, gain.images, gain.low,
                                 gain.high, len(pairs), gain.seeds_low, gain.seeds_high,
                                 dict(zip(pairs, gain.by_seed))))
    return entries


def _in_order(variants: Collection[str], order: Sequence[str]) -> list[str]:
    """The reference, the other names of ``order`` as far as they are there, and the rest by name."""
    return [order[0], *(one for one in order[1:] if one in variants), *sorted(set(variants) - set(order))]


def _missing(seen: Collection[tuple[Identity, str]], order: Sequence[str]) -> list[str]:
    """Lines about the networks and datasets that are missing for a complete comparison."""
    networks, datasets = {network for network, _ in seen}, sorted({dataset for _, dataset in seen})
    variants = _in_order({network.variant for network in networks} | set(order), order)
    seeds = sorted({network.seed for network in networks})
    lines = []
    for stage in sorted({(network.iteration, network.weights) for network in networks}):
        measured = {dataset for network, dataset in seen if (network.iteration, network.weights) == stage}
        if len(measured) < len(datasets):
            absent = [dataset for dataset in datasets if dataset not in measured]
            lines.append(f"not there: any network, iteration {stage[0]:,}, {stage[1]} on {', '.join(absent)}")
        for variant, seed in itertools.product(variants, seeds):
            network = Identity(variant, *stage, seed)
            absent = sorted(dataset for dataset in measured if (network, dataset) not in seen)
            if absent:
                where = f" on {', '.join(absent)}" if len(absent) < len(measured) else ''
                lines.append(f'not there: {network}{where}')
    return lines
