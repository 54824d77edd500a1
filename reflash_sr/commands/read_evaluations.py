"""Finished evaluations, checked against their summaries and against each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflash_sr.commands.evaluation_folder import TOOL, load_scores
from reflash_sr.commands.presets import Presets
from reflash_sr.commands.read_summaries import (
    Described,
    as_written,
    check_alike,
    check_files,
    hold,
    networks_of,
    read_finished,
)
from reflash_sr.errors import UserError
from reflash_sr.evaluation.comparison import BICUBIC
from reflash_sr.evaluation.metrics import METRICS
from reflash_sr.evaluation.scores import Score
from reflash_sr.evaluation.shrunk_rows import ONCE, PER_DEGRADATION
from reflash_sr.options.value_rules import ANY, COUNT, POSITIVE_INT, TEXT, Rule, is_number
from reflash_sr.system.result_folder import SUMMARY

_COMPARABLE = ('metrics', 'crop_border', 'y_channel', 'seed', 'amp')
PLAIN_WAY = '-'  # a network as it is
WAYS = {ONCE: '', PER_DEGRADATION: f' {PER_DEGRADATION}'}  # ways of fitting α, as they end names
_SET = {'name': TEXT, 'pictures': POSITIVE_INT, 'degradations': Rule(
    'a list of names', lambda value: isinstance(value, list) and value != [] and all(map(TEXT.holds, value)))}
_SETTINGS = {**dict.fromkeys(_COMPARABLE, ANY), 'crop_border': COUNT, 'metrics': Rule(
    f"a list of {', '.join(METRICS)}",
    lambda value: isinstance(value, list) and value != [] and all(one in list(METRICS) for one in value))}


@dataclass(frozen=True)
class Evaluation:
    """Results of ``evaluate_degradations``."""

    folder: Path
    settings: Mapping[str, Any]  # as in the summary
    networks: Mapping[str, Described]  # by label
    sets: Mapping[str, Mapping[str, Any]]  # datasets by name, as in the summary, without their folders
    images: Mapping[str, Collection[str]]  # names, by dataset
    scores: Sequence[Score]
    shrunk: Mapping[str, tuple[str, str]]  # rows of the control: label of the network, and the way, by label


def open_evaluation(folder: Path, presets: Presets | None = None) -> Evaluation:
    """Read finished results; with presets, networks are named after them.

    Raises:
        UserError: There are no finished results, or scores and summary contradict each other.
    """
    summary = read_finished(folder, TOOL)
    with as_written(folder / SUMMARY, f'tools/{TOOL}.py', 'evaluate again'):
        settings = summary['settings']
        networks = networks_of(summary, folder, presets)
        hold(settings, _SETTINGS)
        for one in settings['sets']:
            hold(one, _SET)
        sets = {one['name']: {key: value for key, value in one.items() if key != 'roots'} for one in settings['sets']}
        if not sets or len(sets) != len(settings['sets']):
            raise ValueError('sets: none, or two of one name')
        shrunk = {one['label']: (one['network'], WAYS[one['way']]) for one in summary.get('control') or ()}
        if not {network for network, _ in shrunk.values()} <= networks.keys():
            raise ValueError('control: a row of a network that is not there')
    path = folder / 'scores.csv'
    scores = list(load_scores(folder).values())
    if not scores:
        raise UserError(f'{path}: is missing, or holds no scores; evaluate again')
    there = {(one.dataset, one.method, one.metric, one.degradation, one.image) for one in scores
             if is_number(one.value) or one.value == math.inf}
    images = {name: sorted({key[-1] for key in there if key[0] == name}) for name in sets}
    wanted: set[tuple[str, str, str, str, str]] = set()
    for name, one in sets.items():
        if len(images[name]) > one['pictures']:
            raise UserError(f"{path}: has {len(images[name])} images of {name}, but summary.json says "
                            f"{one['pictures']}; evaluate again")
        names = images[name] + ['an image'] * (one['pictures'] - len(images[name]))
        wanted.update(itertools.product([name], (BICUBIC, *networks), settings['metrics'], one['degradations'], names))
        derived = [label for label in shrunk if any(key[:2] == (name, label) for key in there)]
        wanted.update(itertools.product([name], derived, settings['metrics'], one['degradations'], names))
    odd = min(wanted ^ there, default=None)
    if odd is not None:
        what = 'is missing' if odd in wanted else 'does not belong here'
        raise UserError(f"{path}: the score of {', '.join(odd)} {what}; evaluate again")
    by_hand = {one['label'] for one in summary.get('control') or () if one.get('fitted_on') is None}
    return Evaluation(folder, settings, networks, sets, images, [one for one in scores if one.method not in by_hand],
                      {label: row for label, row in shrunk.items() if label not in by_hand})


def check_comparable(found: Sequence[Evaluation]) -> None:
    """Raise ``UserError`` for evaluations of different studies, images or degradations, or with different settings."""
    networks = [(one.folder, network) for one in found for network in one.networks.values()]
    check_alike(networks)
    check_files(networks)
    known: dict[str, Evaluation] = {}
    fitted: dict[str, Evaluation] = {}  # those with the shrinkage control; others lack its rows
    for one in found:
        for key in _COMPARABLE:
            if one.settings[key] != found[0].settings[key]:
                raise UserError(f'{one.folder}: {key} is {one.settings[key]}, but {found[0].settings[key]} in '
                                f'{found[0].folder}; evaluate all with the same settings')
        for name, what in one.sets.items():
            other = known.setdefault(name, one)
            if (other.sets[name], other.images[name]) != (what, one.images[name]):
                raise UserError(f'{one.folder}: dataset {name}: holds other images or degradations than in '
                                f'{other.folder}')
            controlled = fitted.setdefault(name, one) if one.shrunk else one
            if _fit(one) != _fit(controlled):
                raise UserError(f'{one.folder}: dataset {name}: the shrinkage control is fitted in another way than in '
                                f'{controlled.folder}; evaluate all with the same --control and --fit_on')


def _fit(one: Evaluation) -> Any:
    """How α was chosen; the folders of the images do not count."""
    control = dict(one.settings.get('control') or {})
    return {**control, 'sets': [{key: value for key, value in some.items() if key != 'roots'}
                                for some in control.get('sets', ())]}
