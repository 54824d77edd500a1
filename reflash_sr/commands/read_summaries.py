"""Networks as described in the summaries of earlier results, with checks."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflash_sr.commands.presets import Presets
from reflash_sr.errors import UserError
from reflash_sr.options.known_keys import NAME
from reflash_sr.options.training_record import describe, differences, read_record, split_record, without_dropout
from reflash_sr.options.value_rules import DROP_RATE, SECTION, TEXT, Rule, is_int
from reflash_sr.system.result_folder import SUMMARY

_LENGTH = ('train:total_iter', 'train:scheduler')  # keys of a record that go with the length of training
_AXIS = r'_[a-z][a-z_]*-[^_]+'  # in the name of an experiment: an axis that is not of dropout
USUAL = {'dropout_noise': 'zero', 'dropout_blend': 0, 'dropout_schedule': None, 'dropout_dim': 'channel',
         'dropout_position': 'last-conv', 'dropout_stage': 'branch'}
FORMS = {'dropout_blend': 'blend {}'}
_NETWORK = {'label': TEXT, 'weights': TEXT, 'sha256': TEXT, 'key': NAME, 'network_g': SECTION,
            'dropout_p': DROP_RATE}


@dataclass(frozen=True, order=True)
class Identity:
    """Identifies a network within a study."""

    variant: str
    iteration: int
    weights: str
    seed: int

    def __str__(self) -> str:
        return f'{self.variant}, seed {self.seed}, iteration {self.iteration:,}, {self.weights}'


@dataclass(frozen=True)
class Described:
    """A network as a summary describes it."""

    label: str
    identity: Identity
    dropout_p: float
    kind: str  # architecture, without dropout
    total_iter: int | None  # length of training; None if the file does not say
    studies: frozenset[str]  # studies to which it may belong, from the name of its experiment; empty if unknown
    sha256: str  # of its weights file
    record: Mapping[str, Any] | None  # what it was trained with; None if its file does not say
    own: Mapping[str, Any]  # what its preset changes in that, if it is of one


@contextlib.contextmanager
def as_written(path: str | os.PathLike, tool: str, remedy: str) -> Iterator[None]:
    """Turn errors in reading a file into a ``UserError``: the file is not as the tool writes it; with a remedy."""
    try:
        yield
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, csv.Error) as error:
        raise UserError(f'{path}: is not as {tool} writes it ({type(error).__name__}: {error}); {remedy}') from error


def read_finished(folder: Path, tool: str) -> dict[str, Any]:
    """Read the summary of a tool's results; raises ``UserError`` if they are missing or not finished."""
    try:
        text = (folder / SUMMARY).read_bytes()
    except OSError as error:
        raise UserError(f'{folder}: holds no results; give result folders of tools/{tool}.py') from error
    with as_written(folder / SUMMARY, 'one of the tools', 'evaluate again'):
        summary = json.loads(text)
        other, finished = summary['tool'], summary['finished']
    if other != tool or finished is not True:
        what = f'results of {other}' if other != tool else 'a run that was interrupted'
        raise UserError(f'{folder}: holds {what}; give finished results of tools/{tool}.py')
    return summary


def networks_of(summary: Mapping[str, Any], folder: Path, presets: Presets | None = None) -> dict[str, Described]:
    """Networks by label; call it inside :func:`as_written`. Raises ``UserError`` if a seed or iteration is missing."""
    entries = summary['settings']['networks']
    found = {entry['label']: describe_network(entry, folder, presets) for entry in entries}
    if not found or len(found) != len(entries):
        raise ValueError('networks: none, or two with the same label')
    return found


def hold(section: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Raise a ``ValueError`` if a value is missing or breaks its rule."""
    for key, rule in rules.items():
        if not rule.holds(section[key]):
            raise ValueError(f'{key} must be {rule.wanted}, not {str(section[key])[:80]!r}')


def check_alike(networks: Sequence[tuple[Path, Described]]) -> None:
    """Raise ``UserError`` for networks that differ in more than dropout, seed and iteration, or in their study.

    Each seed may have weights to begin with, and a number format, of its own. Trainings may be of several lengths if
    all networks are from the end of theirs.
    """
    kind, length = networks[0][1].kind, networks[0][1].total_iter
    studies: frozenset[str] = frozenset()
    known: dict[Any, dict[str, Any]] = {}  # options by seed, by length, and under None those that all share
    mixed = any(one.total_iter != length for _, one in networks)
    for folder, one in networks:
        if mixed and one.identity.iteration != one.total_iter:
            raise UserError(f'{folder}: {one.label}: is iteration {one.identity.iteration:,} of a training of '
                            f"{one.total_iter or 'unknown length'}, and others are trained longer or shorter; give "
                            'networks of one length, or only those from the end of theirs')
        if one.kind != kind:
            raise UserError(f'{folder}: {one.label}: is {one.kind}, but others are {kind}; give networks that differ '
                            'only in dropout, seed and iteration')
        if one.studies and studies and not one.studies & studies:
            raise UserError(f'{folder}: {one.label}: is of the study {min(one.studies, key=len)}, but others are of '
                            f'{min(studies, key=len)}; compare each study on its own')
        studies = one.studies & studies or one.studies or studies
        if one.record is not None:
            shared, start = split_record(one.record)
            start['amp'] = shared.pop('amp', None)
            long = {key: shared.pop(key) for key in list(shared) if key.startswith(_LENGTH)}
            found = [differences(some, known.setdefault(of, some)) for of, some in (
                (None, shared), (('seed', one.identity.seed), start), (('length', one.total_iter), long),
                (('preset', one.identity.variant), dict(one.own)))]
            if any(found):
                what = describe({key: value for some in found for key, value in some.items()})
                raise UserError(f'{folder}: {one.label}: was not trained as the others: it differs in {what}; give '
                                'networks that differ only in dropout, seed and iteration; or, with --study, in what '
                                'its presets set')


def check_files(networks: Iterable[tuple[Path, Described]]) -> None:
    """Raise ``UserError`` for one weights file with two identities, for instance two seeds."""
    known: dict[tuple[str, str], Described] = {}
    for folder, one in networks:
        before = known.setdefault((one.sha256, one.identity.weights), one)
        if before.identity != one.identity:
            raise UserError(f'{folder}: {one.label}: has the weights file of {before.label} ({before.identity}), and '
                            f'cannot be {one.identity}; evaluate again')


def describe_network(one: Mapping[str, Any], folder: Path, presets: Presets | None = None) -> Described:
    """Describe a network from its entry in a summary: after its dropout, or after its preset.

    Raises:
        UserError: It does not say its seed or its iteration, or is of no preset.
        ValueError: The entry is damaged, as is one that raises a ``LookupError``, ``TypeError`` or ``AttributeError``.
    """
    hold(one, _NETWORK)
    network_g, trained = one['network_g'], one.get('trained') or {}
    for key in ('manual_seed', 'iter'):
        if not is_int(trained.get(key)) or trained[key] < 0:
            raise UserError(f"{folder}: {one['label']}: {one['weights']} does not say its {key}; train it with this "
                            'version')
    if 'base' not in network_g and network_g.get('dropout_p', one['dropout_p']) != one['dropout_p']:
        raise ValueError(f"dropout_p is {one['dropout_p']}, but {network_g['dropout_p']} in network_g")
    parts = [f"p = {one['dropout_p']:g}"]
    if one['dropout_p']:
        parts += [FORMS.get(key, '{}').format(_text(network_g[key])) for key, usual in USUAL.items()
                  if network_g.get(key, usual) != usual]
    iteration, total, kind, own = trained['iter'], trained.get('total_iter'), _kind_of(network_g), {}
    variant, studies, record = ', '.join(parts), frozenset(studies_of(one)), read_record(trained.get('options'))
    if presets is not None:
        variant = presets.name_of(str(trained.get('experiment', '')), trained['manual_seed'], network_g,
                                  f"{folder}: {one['label']}")
        studies, kind = frozenset({presets.study}), kind if presets.same_kind else ''
        record, own = (None, {}) if record is None else presets.split(record)
        if presets.length and iteration == total:
            iteration = total = presets.length
    identity = Identity(variant, iteration, one['key'], trained['manual_seed'])
    return Described(one['label'], identity, float(one['dropout_p']), kind, total, studies, one['sha256'], record, own)


def _kind_of(network_g: Mapping[str, Any]) -> str:
    section = without_dropout(network_g)
    return ' '.join([section.pop('type'), *(f'{key}={value}' for key, value in sorted(section.items()))])


def _text(value: Any) -> str:
    if isinstance(value, Mapping):  # a schedule
        return ' '.join(str(one) if key == 'type' else f'{key} {one}' for key, one in value.items())
    return '+'.join(map(str, value)) if isinstance(value, list) else str(value)


def studies_of(one: Mapping[str, Any]) -> set[str]:
    """Names of studies to which a network of a summary may belong; empty if unknown.

    The experiment is called ``STUDY_CELL_seedN``; CELL ends with the dropout settings. Other axes, ``_KEY-VALUE``,
    stand before or behind them.
    """
    network_g, trained = one['network_g'], one['trained']
    p, seed = re.escape(f"{one['dropout_p']:g}"), trained['manual_seed']
    match = re.fullmatch(rf'(.+)_p{p}(?:{_AXIS})*_seed{seed}', str(trained.get('experiment', '')))
    if match is None:
        return set()
    values = [network_g.get(key) for key in USUAL]
    parts = [_text(value) for value in values]
    found = {match[1]}
    for _ in USUAL:  # the cell's name contains the settings that are axes, in any order
        found |= {stem.removesuffix(f'_{part}') for stem in found for part in (*parts, f'{parts[-1]}-stage')}
    return found | {stem[:place] for stem in found for place, letter in enumerate(stem)
                    if letter == '_' and re.fullmatch(_AXIS, stem[place:]) and not stem.endswith(tuple(parts))}
