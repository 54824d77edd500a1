"""Combines ablation, saliency and clusters of the networks of one study: a table and figures over networks and seeds.

Networks with clusters differ in p and are called by it. Without clusters, they may differ in anything (before and after
fine-tuning, for instance), and are called by their labels.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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
from reflash_sr.figures.draw_ablation import figure_in_turn
from reflash_sr.figures.draw_clusters import Panel, draw_chi
from reflash_sr.figures.style import save
from reflash_sr.options.value_rules import POSITIVE_INT, TEXT, Rule, is_number
from reflash_sr.system.files import atomic_write

NUMBERS = Rule('a list of numbers', lambda v: isinstance(v, list) and all(one is None or is_number(one) for one in v))
NUMBER_OR_NONE = Rule('a number or null', lambda v: v is None or is_number(v))
NO_EFFECT = {'networks', 'layers', 'images', 'sheets', 'correlate', 'closed_form'}  # settings not compared as they are
PARTS = {  # folder in a seed's folder: its tool, and what its summary must say of each network
    'ablation': ('ablate_channels', {'folder': TEXT, 'layer': TEXT, 'channels': POSITIVE_INT}),
    'saliency': ('map_saliency', {'layer': TEXT}),
    'clusters': ('cluster_degradations', {'layer': TEXT, 'chi_by_seed': NUMBERS, 'chi_pca': NUMBER_OR_NONE}),
}
COLUMNS = {  # of the table: part, key in its summary, decimals (smaller values get two digits)
    'PSNR, dB': ('ablation', 'psnr_db', 2),
    'Gini of drops': ('ablation', 'gini', 2),
    'Gini of their sizes': ('ablation', 'gini_of_sizes', 2),
    'PSNR rises without': ('ablation', 'share_rising', 2),
    'largest drop, dB': ('ablation', 'largest_drop_db', 2),
    'may go, in index order': ('ablation', 'share_1db/index', 2),
    'may go, in random order': ('ablation', 'share_1db/random', 2),
    'saliency in 8 channels': ('saliency', 'share_of_8', 2),
    'CHI (t-SNE)': ('clusters', 'chi', 1),
    '± std': ('clusters', 'chi_std', 1),
    'CHI (PCA)': ('clusters', 'chi_pca', 2),
}


@dataclass(frozen=True)
class _Part:
    """Results of one tool for the networks of one seed: its folder and settings; files and results by network."""

    folder: Path
    settings: Mapping[str, Any]
    files: Mapping[str, str]  # SHA-256
    models: Mapping[str, Mapping[str, Any]]
    of_p: Mapping[str, Described]  # of networks that differ in p

    @property
    def layers(self) -> list[str]:
        return [model['layer'] for model in self.models.values()]


_Found = Mapping[Path, Mapping[str, _Part]]  # by the folder of a seed, then by the name of a part


def gather(folder: str | os.PathLike, out: str | os.PathLike | None = None,
           known: Collection[str] | None = None) -> Path:
    """Write ``inside.md``, ``in_turn.png`` (Fig. 8) and ``chi_over_p.png`` (Fig. 9d) from the results of every seed.

    Args:
        folder: Holds ``seed*/ablation``, ``seed*/saliency`` and, for networks that differ in p, ``seed*/clusters``.
        out: Where to write. Default: ``folder``.
        known: SHA-256 of the weights files that were evaluated: networks with clusters must be among them. Default: any
            file is accepted.

    Returns:
        The folder that was written to.

    Raises:
        UserError: Results are missing, or are of another seed, other networks or other settings.
    """
    folder = Path(folder)
    out = folder if out is None else Path(out)
    seeds = sorted((path for path in folder.glob('seed*') if path.is_dir()), key=lambda path: (len(path.name), path))
    odd = next((path for path in seeds if not path.name.removeprefix('seed').isdecimal()), None)
    if odd is not None or not seeds:
        raise UserError(f'{odd}: must be named seed0, seed1, …; rename it' if odd else
                        f'{folder}: holds no seed0, seed1, …; put results of ablation, saliency and clusters there')
    named = not any((seed / 'clusters').exists() for seed in seeds)
    found = {seed: {part: _read(seed, part, named) for part in PARTS if part != 'clusters' or not named}
             for seed in seeds}
    _check(found, known)
    curves, table = _all_curves(found), _table(found)
    none = np.zeros(0)
    panels = [Panel(name, none, none, np.array(model['chi_by_seed'], float),
                    float('nan' if model['chi_pca'] is None else model['chi_pca']),
                    parts['clusters'].of_p[name].dropout_p, f'seed {_number(seed)}')
              for seed, parts in found.items() if not named for name, model in parts['clusters'].models.items()]
    out.mkdir(exist_ok=True)
    if curves:
        over = ('seeds, ' if len(seeds) > 1 else '') + 'images and random orders'
        save(figure_in_turn(curves, 'Without more and more channels', over), out / 'in_turn.png')
    if panels:
        draw_chi(panels, out / 'chi_over_p.png', f"Features of {found[seeds[0]]['clusters'].layers[0]} by degradation")
    with atomic_write(out / 'inside.md', 'w') as file:
        file.write(table)
    return out


def _read(seed: Path, part: str, named: bool) -> _Part:
    folder, (tool, rules) = seed / part, PARTS[part]
    summary = read_finished(folder, tool)
    files: dict[str, str] = {}
    models: dict[str, dict[str, Any]] = {}
    of_p: dict[str, Described] = {}
    with as_written(f'{folder}: its summary.json', f'tools/{tool}.py', 'run the tool again'):
        entries = {one['label']: one for one in summary['settings']['networks']}
        described = {} if named else networks_of(summary, folder)
        settings = {key: value for key, value in summary['settings'].items() if key not in NO_EFFECT}
        settings['images'] = summary.get('images') or summary['crops']  # by name: the folder may be another one
        for model in summary['models']:
            label, entry = model['label'], entries[model['label']]
            name = label if named else f"p = {described[label].dropout_p:g}"
            number = (entry.get('trained') or {}).get('manual_seed', _number(seed))  # a released file says none
            if str(number) != _number(seed) or name in models:
                what = f'two networks of {name}' if name in models else f'{label}, of seed {number}'
                raise UserError(f'{folder}: holds {what}; use one folder for each seed, and one network for each p')
            files[name], models[name] = entry['sha256'], {**model, **model.get('layers', [model])[0]}
            if not named:
                of_p[name] = described[label]
            hold(models[name], rules)
            for of, key, _ in COLUMNS.values():
                if of == part and not NUMBER_OR_NONE.holds(value := _value(models[name], key)):
                    raise ValueError(f'{key} must be {NUMBER_OR_NONE.wanted}, not {value!r}')
        if not models:
            raise ValueError('no models')
    return _Part(folder, settings, files, models, of_p)


def _check(found: _Found, known: Collection[str] | None) -> None:
    """Refuse what does not belong in one table: other networks, settings or layers."""
    networks = [(part.folder, one) for parts in found.values() for part in parts.values() for one in part.of_p.values()]
    if networks:
        check_alike(networks)
        check_files(networks)
    for folder, one in networks:
        stage = networks[0][1].identity
        if (one.identity.iteration, one.identity.weights) != (stage.iteration, stage.weights):
            raise UserError(f'{folder}: holds {one.identity}, but others are of iteration {stage.iteration:,}, '
                            f'{stage.weights}; use networks of one iteration')
        if known is not None and one.sha256 not in known:
            raise UserError(f'{folder}: {one.label}: is none of the networks that were evaluated for this study; '
                            'evaluate it, or use those')
    for parts in found.values():
        for name, part in parts.items():
            beside, first = parts['ablation'], next(iter(found.values()))[name]
            if not networks and list(part.models) != list(first.models):
                raise UserError(f'{part.folder}: is about {", ".join(part.models)}, but {first.folder} about '
                                f'{", ".join(first.models)}; give the same labels in the same order')
            if part.files != beside.files:
                raise UserError(f'{part.folder}: is of other networks than {beside.folder}; run all tools on the same')
            for key in sorted({*part.settings, *first.settings}):
                ours, theirs = part.settings.get(key), first.settings.get(key)
                if ours != theirs:
                    raise UserError(f'{part.folder}: {key}: {str(ours)[:80]} instead of {str(theirs)[:80]} as in '
                                    f'{first.folder}; run the tool with the same settings')
            other = next((layer for layer in part.layers if layer != first.layers[0]), None)
            if other is not None:
                raise UserError(f'{part.folder}: is about layer {other}, but {first.folder} about {first.layers[0]}; '
                                'use one layer')


def _all_curves(found: _Found) -> dict[str, dict[str, np.ndarray]]:
    """By order, by network: (seeds × images × orders, C + 1), dB."""
    curves: dict[str, dict[str, list[np.ndarray]]] = {}
    first: tuple[Path, pd.DataFrame] | None = None
    for part in (parts['ablation'] for parts in found.values()):
        for name, model in part.models.items():
            path = part.folder / model['folder'] / 'in_turn.csv'
            psnr = _curves(path, model['layer'], model['channels'])
            first = first or (path, psnr)
            if not (psnr.index.equals(first[1].index) and psnr.columns.equals(first[1].columns)):
                raise UserError(f'{path}: has other images, orders or channels than {first[0]}; run the ablation again')
            for order, some in psnr.groupby(lambda key: key[0].partition(':')[0], sort=False):
                curves.setdefault(str(order), {}).setdefault(name, []).append(some.to_numpy())
    return {order: {name: np.concatenate(models[name]) for name in _names(found)} for order, models in curves.items()}


def _names(found: _Found) -> list[str]:
    """Networks in the order of their p, or else as they come."""
    known = {name: part.of_p[name].dropout_p if part.of_p else place for parts in found.values()
             for part in parts.values() for place, name in enumerate(part.models)}
    return sorted(known, key=lambda name: known[name])


def _curves(path: Path, layer: str, channels: int) -> pd.DataFrame:
    """The curves of a layer, dB: rows by order (``index``, ``random:0``, …) and image, C + 1 columns."""
    with as_written(path, 'tools/ablate_channels.py', 'run the ablation again'):
        try:
            rows = pd.read_csv(path, encoding='utf-8', keep_default_na=False, na_values={'psnr_db': ['nan']},
                               dtype={'layer': str, 'order': str, 'image': str, 'removed': int, 'psnr_db': float})
        except OSError as error:
            raise UserError(f'{path}: cannot be read ({error.strerror}); run the ablation again') from error
        except pd.errors.ParserError as error:  # its text ends with a newline
            raise ValueError(str(error).strip()) from error
        rows = rows[rows['layer'] == layer]
        twice = rows.duplicated(['order', 'image', 'removed'])
        for place, one in rows[twice | ~(rows['psnr_db'] > -np.inf)].iterrows():
            what = 'stands twice' if twice[place] else f"{one['psnr_db']} dB"
            raise ValueError(f"{one['order']}, {one['image']}, {one['removed']} removed: {what}")
        psnr = rows.pivot(index=['order', 'image'], columns='removed', values='psnr_db')
    orders = rows['order'].unique()
    if len(rows) and (list(psnr.columns) != list(range(channels + 1)) or psnr.isna().any(axis=None)
                      or len(psnr) != len(orders) * rows['image'].nunique()):
        raise UserError(f'{path}: lacks some of the {channels} channels of {layer}, or images; run the ablation again')
    return psnr.reindex(orders, level='order') if len(rows) else psnr


def _table(found: _Found) -> str:
    """The table in Markdown: a row for each network and seed and, with several seeds, their mean."""
    rows = []
    by_p = any(part.of_p for parts in found.values() for part in parts.values())
    columns = {title: column for title, column in COLUMNS.items() if column[0] in next(iter(found.values()))}
    for name in _names(found):
        values = {_number(seed): [_value(parts[part].models.get(name, {}), key) for part, key, _ in columns.values()]
                  for seed, parts in found.items()}
        if len(values) > 1:
            values['mean'] = [None if None in some else float(np.mean(some)) for some in zip(*values.values())]
        rows += [[name.removeprefix('p = ') if by_p else name, seed,
                  *(_text(value, column[-1]) for value, column in zip(some, columns.values()))]
                 for seed, some in values.items()]
    lines = [['p' if by_p else 'network', 'seed', *columns], ['---:'] * (2 + len(columns)), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'


def _value(found: Mapping[str, Any], key: str) -> Any:
    """The value at a path such as ``'share_1db/index'``; None if it does not exist."""
    value: Any = found
    for part in key.split('/'):
        value = (value or {}).get(part)
    return value


def _text(value: float | None, decimals: int) -> str:
    if value is None:
        return '–'
    return f'{value:.2g}' if 0 < abs(value) < 10**-decimals else f'{value:.{decimals}f}'


def _number(seed: Path) -> str:
    return seed.name.removeprefix('seed')
