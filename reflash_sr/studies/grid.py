"""A grid of training runs: its cells and their status.

A study is an option file with a section ``study`` (``options/study_tiny.yml`` explains it). Every combination of its
axes is a cell; a cell with a seed is an experiment, an ordinary training run.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflash_sr.errors import UserError, suggest
from reflash_sr.options import known_keys
from reflash_sr.options import option_file as options
from reflash_sr.options.value_rules import BOOL, COUNT, SECTION, Rule
from reflash_sr.weights.file_formats import suffix_of

KEYS = {'axes': SECTION, 'presets': SECTION, 'with_p0': BOOL,
        'compare_on': Rule('a list of degradations', lambda v: isinstance(v, list)),
        'cluster': SECTION}
MOST_SEEDS = 1000
PRESET = 'preset'  # the axis of the presets
SEED = '{seed}'  # in any text of the file, stands for the seed of the cell
# Axes with a short name, and the format of their values in the names of cells; other axes are keys of the option file.
DROPOUT = {'dropout_position': '{}', 'dropout_dim': '{}', 'dropout_p': 'p{}', 'dropout_stage': '{}-stage'}
RESERVED = {'name': 'it is built from the values of the axes', 'study': 'it is the grid itself',
            'manual_seed': 'all cells share it, so that they are comparable; repeat them with --seeds N'}


@dataclass(frozen=True)
class Cell:
    """One cell of the grid, with one seed: an experiment.

    Attributes:
        name: Such as ``'last-conv_channel_p0.3'``; safe in file names.
        values: Values of the axes. A cell with p = 0 has neither position nor dimension.
        seed: ``manual_seed`` of the experiment.
        options: Content of the experiment's option file.
    """

    name: str
    values: dict[str, Any]
    seed: int
    options: dict[str, Any]

    @property
    def experiment(self) -> str:
        """Name of the experiment: its folder under ``experiments``."""
        return self.options['name']


@dataclass(frozen=True)
class Study:
    """A grid of experiments.

    Attributes:
        file: The option file.
        options: The option file's content without the section ``study``.
        axes: Values by axis. Presets are an axis of their names.
        cells: Every cell with every seed, seed by seed, p = 0 first.
        compare_on: Degradations on which cells are compared; empty for all.
        cluster: Parameters for submitit.
    """

    file: str
    name: str
    options: dict[str, Any]
    axes: dict[str, list]
    cells: list[Cell]
    compare_on: list[str]
    cluster: dict[str, Any]
    preset_keys: tuple[str, ...] = ()  # options that a preset sets

    @property
    def seeds(self) -> list[int]:
        """The seeds; the first is that of the file."""
        return list(dict.fromkeys(cell.seed for cell in self.cells))

    @property
    def reference(self) -> str:
        """What cells are compared with: the first preset, or p = 0."""
        return self.axes[PRESET][0] if PRESET in self.axes else 'p = 0'

    def is_reference(self, cell: Cell) -> bool:
        """Whether other cells are compared with this one."""
        return cell.values.get(PRESET) == self.reference if PRESET in self.axes else cell.values.get('dropout_p') == 0


def load(file: str | os.PathLike, seeds: int = 1, force_yml: Sequence[str] = ()) -> Study:
    """Load a study and expand its grid.

    Args:
        file: An option file with a section ``study``.
        seeds: Repetitions, with ``manual_seed``, ``manual_seed + 1``, …
        force_yml: Changes to the file, ``section:key=value`` each.

    Returns:
        The study; its cells are not checked yet (see :func:`reflash_sr.studies.check_cells.check`).

    Raises:
        UserError: There are no cells or no seed, an axis is not a key of the file or is also changed by force_yml, or
            two cells have the same name.
    """
    opt = options.load(file)
    options.force(opt, force_yml)
    try:
        if not 1 <= seeds <= MOST_SEEDS:
            raise UserError(f'--seeds: must be 1 to {MOST_SEEDS:,}, not {seeds:,}')
        section = opt.pop('study', None)
        if not isinstance(section, dict):
            raise UserError(f"study: is missing; write the grid, as in study: {{axes: {{dropout_p: [0.1, 0.3]}}}}. A "
                            f'single run is started with basicsr train -opt {file}')
        for key, value in section.items():
            if key not in KEYS:
                raise UserError(f'study: {key}: is not a known key{suggest(key, KEYS)}')
            if not KEYS[key].holds(value):
                raise UserError(f'study: {key}: must be {KEYS[key].wanted}, not {value!r}')
        for key, rule in (('name', known_keys.NAME), ('manual_seed', COUNT)):
            if not rule.holds(opt.get(key)):
                raise UserError(f'{key}: must be {rule.wanted}, not {opt.get(key)!r}')
        presets = _presets(section.get('presets'))
        axes = _axes(section.get('axes') or {}, opt, presets)
        _check_forced(force_yml, axes)
        with_p0 = section.get('with_p0', any(axis in DROPOUT for axis in axes))
        by_name: dict[str, dict[str, Any]] = {}
        for values in _combinations(axes, with_p0, opt):
            name = name_of(values)
            if name in by_name:
                raise UserError(f"study: two cells are called '{name}': {by_name[name]} and {values}; remove one of "
                                'them')
            by_name[name] = values
        cells = [_cell(opt, name, values, opt['manual_seed'] + i, presets) for i in range(seeds)
                 for name, values in by_name.items()]
    except UserError as error:
        raise UserError(f'{file}: {error}') from error
    keys = tuple(dict.fromkeys(key for values in presets.values() for key in values))
    return Study(str(file), opt['name'], opt, axes, cells, section.get('compare_on', []), section.get('cluster', {}),
                 keys)


def folder_of(cell: Cell, root: str | os.PathLike = '.') -> Path:
    """The experiment's folder; ``root`` is the parent of ``experiments``."""
    return Path(root, 'experiments', cell.experiment)


def status(cell: Cell, root: str | os.PathLike = '.') -> str:
    """Status of a cell: ``'new'``, ``'begun'``, ``'finished'``, or ``'changed'`` (trained with other options)."""
    folder = folder_of(cell, root)
    ending = suffix_of(cell.options)
    if not any(folder.glob(f'models/*{ending}')) and not any(folder.glob('training_states/*.state')):
        return 'new'
    if differences(cell, root):
        return 'changed'
    last = folder / 'validation' / f"iter_{int(cell.options['train']['total_iter'])}.csv"
    return 'finished' if (folder / 'models' / f'net_g_latest{ending}').is_file() and last.is_file() else 'begun'


def differences(cell: Cell, root: str | os.PathLike = '.') -> list[str]:
    """List where a cell's options differ from the option file that BasicSR copied into the experiment's folder.

    Keys that change no number, such as ``logger: print_freq``, do not count (``known_keys.WITHOUT_EFFECT``).
    """
    try:
        before = _settled(options.load(folder_of(cell, root) / f'{cell.experiment}.yml'))
    except UserError:
        return ['its option file cannot be read']
    now = _settled(cell.options)
    return [f'{key} was {before.get(key)!r}, is now {now.get(key)!r}' for key in before | now
            if not known_keys.WITHOUT_EFFECT.fullmatch(key)
            and (key not in before or key not in now or before[key] != now[key])]


def _presets(section: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Named sets of options: for each name the values by ``section:key``."""
    for name, values in (section or {}).items():
        where = f'study: presets: {name}'
        if not known_keys.NAME.holds(name) or not isinstance(values, dict):
            raise UserError(f'{where}: must be a name with a section, such as {{network_g:dropout_p: 0.7}}')
        if not name.isprintable() or set(name) & set(',|'):
            raise UserError(f"study: presets: {name!r}: must be a name without ',' and '|'; it stands in tables")
        for key in values.keys() & RESERVED.keys():
            raise UserError(f'{where}: {key}: {RESERVED[key]}')
    return dict(section or {})


def _axes(section: Mapping[str, Any], opt: Mapping[str, Any], presets: Mapping[str, Any]) -> dict[str, list]:
    axes: dict[str, list] = {PRESET: list(presets)} if presets else {}
    if not section and not axes:
        raise UserError('study: axes: is empty, so there are no cells; write at least one axis, as in '
                        'dropout_p: [0.1, 0.3]')
    in_presets = {key.removeprefix('network_g:') for values in presets.values() for key in values}
    for axis, values in section.items():
        where = f'study: axes: {axis}'
        short = axis.removeprefix('network_g:')
        short = short if short in DROPOUT else axis
        if axis in RESERVED:
            raise UserError(f'{where}: cannot be an axis: {RESERVED[axis]}')
        if short not in DROPOUT and ':' not in axis and axis not in opt:
            known = [*DROPOUT, *(key for key, _ in _flat(opt) if key not in RESERVED)]
            raise UserError(f'{where}: is not a known axis{suggest(axis, known)}')
        if short in axes:
            raise UserError(f'{where}: is given twice')
        if short in in_presets or (presets and short in DROPOUT):
            raise UserError(f'{where}: is what presets are for; write it into each of them, or do without presets')
        if not isinstance(values, list) or not values:
            raise UserError(f'{where}: has no list of values, so there are no cells; write one, as in [0.1, 0.3], not '
                            f'{values!r}')
        if any(isinstance(value, dict) for value in values):
            raise UserError(f'{where}: its values must not be sections; write one axis per key of a section')
        axes[short] = values
    return axes


def _check_forced(force_yml: Sequence[str], axes: Mapping[str, list]) -> None:
    for entry in force_yml:
        key = entry.partition('=')[0]
        axis = next((name for name in (key, key.removeprefix('network_g:')) if name in axes), None)
        if axis is not None:
            raise UserError(f'--force_yml: {entry}: {axis} is an axis, whose values every cell sets; give '
                            f'study:axes:{axis}=[…] instead')


def _combinations(axes: Mapping[str, list], with_p0: bool, opt: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the values of every cell; cells with p = 0 that differ only in position or dimension are merged."""
    network = opt.get('network_g')
    base_p = network.get('dropout_p') if isinstance(network, dict) else None
    others = [axis for axis in axes if axis not in DROPOUT]
    grid = [dict(zip(axes, values)) for values in itertools.product(*axes.values())]
    if with_p0:
        grid = [{'dropout_p': 0, **dict(zip(others, values))}
                for values in itertools.product(*(axes[axis] for axis in others))] + grid
    cells: list[dict[str, Any]] = []
    for values in grid:
        p = values.get('dropout_p', base_p)
        if p == 0 and not isinstance(p, bool):
            values = {'dropout_p': 0, **{axis: values[axis] for axis in others}}
            if values in cells:
                continue
        cells.append(values)
    return cells


def _cell(opt: Mapping[str, Any], name: str, values: dict[str, Any], seed: int,
          presets: Mapping[str, Mapping[str, Any]]) -> Cell:
    cell_opt = deepcopy(dict(opt))
    chosen = presets.get(values.get(PRESET, ''), {})
    options.force(cell_opt, [f'{key}={json.dumps(value)}' for key, value in chosen.items()], 'study: presets')
    options.force(cell_opt, [f"{'network_g:' if axis in DROPOUT else ''}{axis}={json.dumps(value)}"
                             for axis, value in values.items() if axis != PRESET], 'study: axes')
    cell_opt = _with_seed(cell_opt, seed)
    cell_opt.update(name=f"{opt['name']}_{name}_seed{seed}", manual_seed=seed)
    return Cell(name, values, seed, cell_opt)


def _with_seed(value: Any, seed: int) -> Any:
    """Write the seed for ``{seed}`` in every text of options, so that each seed can have its own base network."""
    if isinstance(value, dict):
        return {key: _with_seed(one, seed) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_seed(one, seed) for one in value]
    return value.replace(SEED, str(seed)) if isinstance(value, str) else value


def name_of(values: Mapping[str, Any]) -> str:
    """Name of a cell by the values of its axes, safe in file names: ``last-conv_channel_p0.3``."""
    forms = {**DROPOUT, PRESET: '{}'}
    parts = [forms.get(axis, axis.split(':')[-1] + '-{}').format(text_of(value)) for axis, value in values.items()]
    return re.sub(r'[^\w.+-]+', '-', '_'.join(parts))


def text_of(value: Any) -> str:
    """Write a value of an axis for names and figures: ``0.3``, ``true``, ``B4+B8``."""
    if isinstance(value, list):
        return '+'.join(map(text_of, value))
    if isinstance(value, float):
        return f'{value:g}'
    return value if isinstance(value, str) else json.dumps(value)


def _settled(opt: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an option file by ``section:key``, as they are trained with."""
    opt = deepcopy(dict(opt))
    options.settle_schedule(opt)
    return dict(_flat(opt))


def _flat(section: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f'{prefix}{key}:')
        else:
            yield f'{prefix}{key}', value
