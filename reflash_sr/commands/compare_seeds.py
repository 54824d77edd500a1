"""Evaluations of several seeds made one: gains over the network without dropout of the same seed, with both intervals.

Reads what ``tools/evaluate_degradations.py`` wrote, and knows a network by what its weights file says of it: its
dropout, its seed, its iteration, raw or EMA.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reflash_sr.commands.read_summaries import (
    Described,
    Identity,
    as_written,
    check_alike,
    check_files,
    hold,
    networks_of,
    read_finished,
)
from reflash_sr.commands.seed_tables import PLAIN, Entry, cells, draw, lines, tables, to_csv
from reflash_sr.errors import UserError
from reflash_sr.evaluation.comparison import BICUBIC, Settings
from reflash_sr.evaluation.comparison_table import Grid
from reflash_sr.evaluation.finished_scores import load
from reflash_sr.evaluation.metrics import METRICS
from reflash_sr.evaluation.scores import Score
from reflash_sr.evaluation.seed_intervals import SeedGain, gain_over_seeds
from reflash_sr.options.rules import ANY, COUNT, POSITIVE_INT, TEXT, Rule, is_number
from reflash_sr.system.result_folder import SUMMARY, ResultFolder

TOOL = 'compare_seeds'
READS = 'evaluate_degradations'
_COMPARABLE = ('metrics', 'crop_border', 'y_channel', 'seed', 'amp')
_SET = {'name': TEXT, 'pictures': POSITIVE_INT,
        'degradations': Rule('a list of names', lambda v: isinstance(v, list) and v != [] and all(map(TEXT.holds, v)))}
_METRICS = Rule(f"a list of {', '.join(METRICS)}",
                lambda v: isinstance(v, list) and v != [] and all(one in list(METRICS) for one in v))
BICUBIC_DRIFT = 0.01  # of a score, between machines


@dataclass(frozen=True)
class _Evaluation:
    folder: Path
    settings: Mapping[str, Any]
    networks: Mapping[str, Described]
    sets: Mapping[str, Mapping[str, Any]]
    images: Mapping[str, Collection[str]]  # of each set
    scores: Sequence[Score]


def compare(folders: Sequence[str | os.PathLike], out: str | os.PathLike, overwrite: bool = False,
            seed: int = 0) -> tuple[ResultFolder, str]:
    """Compare, and write ``gains.csv``, ``gains.md``, ``gains.png``, ``gains_WEIGHTS.png`` and ``curve.png``.

    ``cells.md`` says which networks there were: at which iterations each variant was evaluated, seed by seed.

    Args:
        folders: Results of ``evaluate_degradations``, of networks of one study.
        out: Folder for the results.
        overwrite: Whether to put what is there aside.
        seed: Of the bootstrap.

    Returns:
        The folder, and lines to print.

    Raises:
        UserError: A folder is no finished evaluation, says not enough of its networks, or was measured in another way;
            two networks are the same; nothing has a twin without dropout.
    """
    found = [_open(Path(folder)) for folder in folders]
    _check_alike(found)
    scores: dict[tuple[int, str], list[Score]] = {}
    bicubic: dict[tuple[str, str, str, str], Score] = {}
    seen: dict[tuple[Identity, str], Path] = {}
    for one in found:
        for network, dataset in itertools.product((each.identity for each in one.networks.values()), one.sets):
            if (network, dataset) in seen:
                raise UserError(f'{one.folder}: {network} on {dataset}: stands in {seen[network, dataset]} already; '
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
            network = one.networks[score.method].identity
            scores.setdefault((network.iteration, network.weights), []).append(
                Score(f'{network.variant}\t{network.seed}', score.dataset, score.degradation, score.image, score.metric,
                      score.value))
    common = set.intersection(*({score.dataset for score in some} for some in scores.values()))
    entries = [entry for (iteration, weights), some in sorted(scores.items())
               for entry in _entries(iteration, weights, some, bicubic.values(), common, seed)]
    if not entries:
        raise UserError(f'{folders[0]}: no network with dropout has a twin without it, of the same seed and iteration, '
                        'here; evaluate both')
    settings = {'results': [str(folder) for folder in folders], 'seed': seed,
                'evaluations': [one.settings for one in found]}
    folder = ResultFolder(out, TOOL, settings, overwrite, folders)
    folder.write('gains.csv', to_csv(entries))
    how = str(Settings(**{key: found[0].settings[key] for key in ('crop_border', 'y_channel', 'amp')}))
    folder.write('gains.md', tables(entries, how))
    folder.write('cells.md', cells([(one.variant, one.seed, one.iteration, (one.weights, dataset))
                                    for one, dataset in seen]))
    draw(entries, folder.path, how)
    missing = _missing(seen)
    folder.finish(entries=len(entries), missing=missing)
    return folder, '\n'.join(lines(entries) + missing)


# ---------------------------------------------------------------------- reading


def _open(folder: Path) -> _Evaluation:
    """Read results, and hold them against what they say they are."""
    summary = read_finished(folder, READS)
    with as_written(folder / SUMMARY, f'tools/{READS}.py', 'evaluate again'):
        settings = summary['settings']
        networks = networks_of(summary, folder)
        hold(settings, {'metrics': _METRICS, 'crop_border': COUNT} | dict.fromkeys(_COMPARABLE[2:], ANY))
        for one in settings['sets']:
            hold(one, _SET)
        sets = {one['name']: {key: value for key, value in one.items() if key != 'roots'} for one in settings['sets']}
        if not sets or len(sets) != len(settings['sets']):
            raise ValueError('sets: none, or two of one name')
    path = folder / 'scores.csv'
    scores = [score for some in load(folder).values() for score in some]
    if not scores:
        raise UserError(f'{path}: is missing, or holds no scores; evaluate again')
    there = Counter((one.dataset, one.method, one.metric, one.degradation, one.image) for one in scores
                    if is_number(one.value) or one.value == math.inf)
    images = {name: sorted({key[-1] for key in there if key[0] == name}) for name in sets}
    wanted = set()
    for name, one in sets.items():
        if len(images[name]) > one['pictures']:
            raise UserError(f"{path}: has {len(images[name])} images of {name}, but summary.json says "
                            f"{one['pictures']}; evaluate again")
        names = images[name] + ['an image'] * (one['pictures'] - len(images[name]))
        wanted.update(itertools.product([name], (BICUBIC, *networks), settings['metrics'], one['degradations'], names))
    odd = min(wanted ^ there.keys(), default=None) or next((key for key, times in there.items() if times > 1), None)
    if odd is not None:
        what = 'has no place here' if odd not in wanted else 'stands twice' if there[odd] > 1 else 'is missing'
        raise UserError(f"{path}: the score of {', '.join(odd)} {what}; evaluate again")
    return _Evaluation(folder, settings, networks, sets, images, scores)


def _check_alike(found: Sequence[_Evaluation]) -> None:
    networks = [(one.folder, network) for one in found for network in one.networks.values()]
    check_alike(networks)
    check_files(networks)
    first = found[0]
    known: dict[str, _Evaluation] = {}
    for one in found:
        for key in _COMPARABLE:
            if one.settings[key] != first.settings[key]:
                raise UserError(f'{one.folder}: {key} is {one.settings[key]}, but {first.settings[key]} in '
                                f'{first.folder}; evaluate all in the same way')
        for name, what in one.sets.items():
            other = known.setdefault(name, one)
            if (other.sets[name], other.images[name]) != (what, one.images[name]):
                raise UserError(f'{one.folder}: set {name}: holds other images or degradations than in '
                                f'{other.folder}')


def _missing(seen: Collection[tuple[Identity, str]]) -> list[str]:
    """Lines about what a whole comparison has, and this one has not."""
    networks, sets = {network for network, _ in seen}, sorted({dataset for _, dataset in seen})
    variants, stages, seeds = (sorted(set(some)) for some in (
        [one.variant for one in networks] + [PLAIN], [(one.iteration, one.weights) for one in networks],
        [one.seed for one in networks]))
    lines = []
    for stage in stages:
        measured = {dataset for network, dataset in seen if (network.iteration, network.weights) == stage}
        if len(measured) < len(sets):
            absent = [dataset for dataset in sets if dataset not in measured]
            lines.append(f"not there: any network, iteration {stage[0]:,}, {stage[1]} on {', '.join(absent)}")
        for variant, seed in itertools.product(variants, seeds):
            network = Identity(variant, *stage, seed)
            absent = sorted(dataset for dataset in measured if (network, dataset) not in seen)
            if absent:
                where = f" on {', '.join(absent)}" if len(absent) < len(measured) else ''
                lines.append(f'not there: {network}{where}')
    return lines


# ---------------------------------------------------------------------- comparing


def _entries(iteration: int, weights: str, scores: list[Score], bicubic: Iterable[Score], common: Collection[str],
             seed: int) -> list[Entry]:
    sets = {score.dataset for score in scores}
    grid = Grid([*scores, *(score for score in bicubic if score.dataset in sets)])
    labels = [label.split('\t') for label in grid.methods if label != BICUBIC]
    variants = sorted({variant for variant, _ in labels if variant != PLAIN})
    numbers = sorted({int(number) for _, number in labels})
    entries = []
    for metric in grid.metrics:
        for group, names in grid.groups(common).items():
            for variant in variants:
                seeds = tuple(number for number in numbers
                              if all(grid.has(f'{kind}\t{number}', names) for kind in (variant, PLAIN)))
                if not seeds:
                    continue
                for column, places in grid.columns(names).items():
                    entry = _entry(grid, metric, names, places, variant, seeds, seed)
                    if entry is not None:
                        means, gain = entry
                        entries.append(Entry(metric, weights, iteration, group, column, variant, *means, gain, seeds))
    return entries


def _entry(grid: Grid, metric: str, names: Sequence[str], places: Sequence[int], variant: str, seeds: Sequence[int],
           seed: int) -> tuple[tuple[float, float, float], SeedGain] | None:
    gain = gain_over_seeds([grid.differences(metric, f'{variant}\t{one}', f'{PLAIN}\t{one}', names, places)
                            for one in seeds], seed)
    if gain is None:
        return None
    means = (np.mean([grid.mean(metric, f'{kind}\t{one}', names, places)[0] for one in seeds])
             for kind in (variant, PLAIN))
    return (*map(float, means), grid.mean(metric, BICUBIC, names, places)[0]), gain
