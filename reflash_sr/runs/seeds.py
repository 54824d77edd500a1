"""Evaluations of several seeds made one: gains over the network without dropout of the same seed, with both intervals.

Reads what ``tools/evaluate_degradations.py`` wrote, and knows a network by what its weights file says of it: its
dropout, its seed, its iteration, raw or EMA.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reflash_sr.errors import UserError
from reflash_sr.evaluation.grid import Score
from reflash_sr.evaluation.seeds import SeedGain, gain_over_seeds
from reflash_sr.evaluation.table import Grid
from reflash_sr.results import ResultFolder
from reflash_sr.runs.comparison import BICUBIC, Settings
from reflash_sr.runs.progress import load
from reflash_sr.runs.seed_tables import PLAIN, Entry, cells, draw, lines, tables, to_csv
from reflash_sr.weights_files import KEYS

TOOL = 'compare_seeds'
READS = 'evaluate_degradations'
_COMPARABLE = ('metrics', 'crop_border', 'y_channel', 'seed', 'amp')
BICUBIC_DRIFT = 0.01  # of a score, between machines
_USUAL = {'dropout_dim': 'channel', 'dropout_position': 'last-conv', 'dropout_stage': 'branch'}


@dataclass(frozen=True, order=True)
class _Network:
    variant: str
    iteration: int
    weights: str
    seed: int

    def __str__(self) -> str:
        return f'{self.variant}, seed {self.seed}, iteration {self.iteration:,}, {self.weights}'


@dataclass(frozen=True)
class _Evaluation:
    folder: Path
    settings: Mapping[str, Any]
    networks: Mapping[str, _Network]
    kinds: Mapping[str, str]  # what is trained, and for how long, but for its dropout
    studies: Mapping[str, set[str]]  # to which it may belong, by its experiment's name; none where that does not say
    sets: Mapping[str, Mapping[str, Any]]
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
    seen: dict[tuple[_Network, str], Path] = {}
    for one in found:
        for network, dataset in itertools.product(one.networks.values(), one.sets):
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
            network = one.networks[score.method]
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
    folder.write('cells.md', cells({(one.variant, one.seed, one.iteration) for one, _ in seen}))
    draw(entries, folder.path, how)
    missing = _missing(seen)
    folder.finish(entries=len(entries), missing=missing)
    return folder, '\n'.join(lines(entries) + missing)


# ---------------------------------------------------------------------- reading


def _open(folder: Path) -> _Evaluation:
    """Read results, and hold them against what they say they are."""
    try:
        summary = json.loads((folder / 'summary.json').read_text(encoding='utf-8'))
        tool, finished = summary['tool'], summary['finished']
    except OSError as error:
        raise UserError(f'{folder}: holds no results; give folders that tools/{READS}.py wrote') from error
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{folder / 'summary.json'}: is not as one of the tools writes it ({type(error).__name__}: "
                        f'{error}); evaluate again') from error
    if tool != READS or finished is not True:
        what = f'results of {tool}' if tool != READS else 'an evaluation that was interrupted'
        raise UserError(f'{folder}: holds {what}; give finished results of tools/{READS}.py')
    try:
        settings = summary['settings']
        networks = {one['label']: _network_of(one, folder) for one in settings['networks']}
        kinds = {one['label']: _kind_of(one) for one in settings['networks']}
        studies = {one['label']: studies_of(one) for one in settings['networks']}
        sets = {one['name']: {key: value for key, value in one.items() if key != 'roots'} for one in settings['sets']}
        methods, metrics = (BICUBIC, *networks), settings['metrics']
        shapes = {name: (one['pictures'], tuple(one['degradations'])) for name, one in sets.items()}
        _ = [settings[key] for key in _COMPARABLE]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'summary.json'}: is not as tools/{READS}.py writes it ({type(error).__name__}: "
                        f'{error}); evaluate again') from error
    scores = [score for some in load(folder).values() for score in some]
    there = {(one.dataset, one.method, one.metric, one.degradation, one.image) for one in scores
             if not math.isnan(one.value)}
    wanted = set()
    for name, (pictures, degradations) in shapes.items():
        images = sorted({key[-1] for key in there if key[0] == name})
        images += ['a picture'] * (pictures - len(images))
        wanted.update(itertools.product([name], methods, metrics, degradations, images))
    odd = min(wanted ^ there, default=None)
    if odd is not None:
        what = 'is missing' if odd in wanted else 'has no place here'
        raise UserError(f"{folder / 'scores.csv'}: the score of {', '.join(odd)} {what}; evaluate again")
    return _Evaluation(folder, settings, networks, kinds, studies, sets, scores)


def _check_alike(found: Sequence[_Evaluation]) -> None:
    first = found[0]
    known: dict[str, _Evaluation] = {}
    kind = next(iter(first.kinds.values()))
    studies: set[str] = set()
    for one in found:
        for label, other in one.kinds.items():
            if other != kind:
                raise UserError(f'{one.folder}: {label}: is {other}, but others are {kind}; give networks that differ '
                                'in dropout, seed and iteration alone')
        for label, some in one.studies.items():
            if some and studies and not some & studies:
                raise UserError(f'{one.folder}: {label}: is of the study {min(some, key=len)}, but others are of '
                                f'{min(studies, key=len)}; compare each study on its own')
            studies = some & studies or some or studies
        for key in _COMPARABLE:
            if one.settings[key] != first.settings[key]:
                raise UserError(f'{one.folder}: {key} is {one.settings[key]}, but {first.settings[key]} in '
                                f'{first.folder}; evaluate all in the same way')
        for name, what in one.sets.items():
            other = known.setdefault(name, one)
            if other.sets[name] != what:
                raise UserError(f'{one.folder}: set {name}: holds other pictures or degradations than in '
                                f'{other.folder}')


def _network_of(one: Mapping[str, Any], folder: str | os.PathLike) -> _Network:
    """What a summary says of a network, as far as it is told apart by it."""
    trained, network_g = one.get('trained') or {}, one['network_g']
    for key in ('manual_seed', 'iter'):
        if type(trained.get(key)) is not int:
            raise UserError(f"{folder}: {one['label']}: {one['weights']} does not say its {key}; train it with this "
                            'version')
    if one['key'] not in (*KEYS, 'bare'):
        raise ValueError(f"key {one['key']!r}")
    parts = [f"p = {one['dropout_p']:g}"]
    if one['dropout_p']:
        parts += [str(network_g[key]) for key, usual in _USUAL.items() if network_g.get(key, usual) != usual]
    return _Network(', '.join(parts), trained['iter'], one['key'], trained['manual_seed'])


def _kind_of(one: Mapping[str, Any]) -> str:
    network_g, trained = one['network_g'], one['trained']
    section = network_g.get('base', network_g)
    words = [str(section['type']).removeprefix('Dropout')]
    words += [f'{key}={value}' for key, value in sorted(section.items())
              if key not in ('type', 'dropout_p', *_USUAL)]
    return f"{' '.join(words)}, trained for {trained.get('total_iter', 'an unknown number of')} iterations"


def studies_of(one: Mapping[str, Any]) -> set[str]:
    """To which studies a network may belong: its experiment is ``STUDY_CELL_seedN``, and CELL ends in its dropout.

    Args:
        one: What a summary says of the network.

    Returns:
        Names; none where the experiment is not called so.
    """
    network_g, trained = one['network_g'], one['trained']
    end = f"_p{one['dropout_p']:g}_seed{trained['manual_seed']}"
    name = str(trained.get('experiment', ''))
    if not name.endswith(end):
        return set()
    values = [network_g.get(key) for key in _USUAL]
    parts = ['+'.join(value) if isinstance(value, list) else str(value) for value in values]
    found = {name.removesuffix(end)}
    for _ in _USUAL:  # the cell's name has those that are axes, in any order
        found |= {stem.removesuffix(f'_{part}') for stem in found for part in (*parts, f'{parts[-1]}-stage')}
    return found


def _missing(seen: Collection[tuple[_Network, str]]) -> list[str]:
    """Lines about what a whole comparison has, and this one has not."""
    networks, sets = {network for network, _ in seen}, sorted({dataset for _, dataset in seen})
    variants, stages, seeds = (sorted(set(some)) for some in (
        [one.variant for one in networks] + [PLAIN], [(one.iteration, one.weights) for one in networks],
        [one.seed for one in networks]))
    lines = []
    for variant, stage, seed in itertools.product(variants, stages, seeds):
        network = _Network(variant, *stage, seed)
        absent = [dataset for dataset in sets if (network, dataset) not in seen]
        if absent:
            lines.append(f'not there: {network}' + (f" on {', '.join(absent)}" if len(absent) < len(sets) else ''))
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
