"""What several seeds have inside: ablations, saliency and clusters of networks of one study, by their p, made one."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reflash_sr.commands.read_summaries import Described, as_written, check_alike, check_files, hold, networks_of
from reflash_sr.errors import UserError
from reflash_sr.figures.draw_ablation import figure_in_turn
from reflash_sr.figures.draw_clusters import Panel, draw_chi
from reflash_sr.figures.style import save
from reflash_sr.options.rules import POSITIVE_INT, TEXT, Rule, is_number
from reflash_sr.system.files import atomic_write
from reflash_sr.system.result_folder import read_summary

NUMBERS = Rule('a list of numbers', lambda v: isinstance(v, list) and all(one is None or is_number(one) for one in v))
NUMBER_OR_NONE = Rule('a number or null', lambda v: v is None or is_number(v))
HOW_ONLY = {'sheets', 'correlate', 'closed_form'}  # settings that change no number here
PARTS = {  # folder of a seed: its tool, and what is needed of each network
    'ablation': ('ablate_channels', {'folder': TEXT, 'layer': TEXT, 'channels': POSITIVE_INT}),
    'saliency': ('map_saliency', {'layer': TEXT}),
    'clusters': ('cluster_degradations', {'layer': TEXT, 'chi_by_seed': NUMBERS, 'chi_pca': NUMBER_OR_NONE}),
}
COLUMNS = {  # of the table of what is inside: part, key of its summary, decimals (of smaller values, two digits)
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
    """What one tool found in the networks of one seed.

    Attributes:
        folder: Its results.
        settings: What was looked at and how, but for the networks.
        networks: By their p.
        models: What it found, by their p; of the first layer, where there are several.
    """

    folder: Path
    settings: Mapping[str, Any]
    networks: Mapping[float, Described]
    models: Mapping[float, Mapping[str, Any]]


def gather(folder: str | os.PathLike, out: str | os.PathLike | None = None,
           known: Collection[str] | None = None) -> Path:
    """Write ``inside.md``, ``in_turn.png`` (Fig. 8) and ``chi_over_p.png`` (Fig. 9d) from the results of every seed.

    Args:
        folder: Holds ``seed*/ablation``, ``seed*/saliency`` and ``seed*/clusters``, of networks that differ in p.
        out: Where to write; default: there.
        known: Checksums of the weights files that were evaluated; default: any.

    Returns:
        The folder that was written to.

    Raises:
        UserError: One of them holds no results of its tool, or of another seed, of other networks or of other settings.
    """
    folder = Path(folder)
    out = folder if out is None else Path(out)
    seeds = [path for path in folder.glob('seed*') if path.is_dir()]
    seeds.sort(key=lambda path: (len(path.name), path.name))
    odd = next((path for path in seeds if not path.name.removeprefix('seed').isdecimal()), None)
    if odd is not None or not seeds:
        raise UserError(f'{odd}: is no seed0, seed1, …; call it so' if odd else
                        f'{folder}: holds no seed0, seed1, …; put results of the tools that look inside there')
    found = {seed: {part: _read(seed, part) for part in PARTS} for seed in seeds}
    _check(found, known)
    curves = _all_curves(found)
    text = _table(found)
    none = np.zeros(0)
    panels = [Panel(f'p = {p:g}', none, none, np.array(model['chi_by_seed'], float),
                    float('nan' if model['chi_pca'] is None else model['chi_pca']), p, _title(seed))
              for seed, parts in found.items() for p, model in parts['clusters'].models.items()]
    out.mkdir(exist_ok=True)
    if curves:
        over = ('seeds, ' if len(seeds) > 1 else '') + 'images and random orders'
        save(figure_in_turn(curves, 'Without more and more channels', over), out / 'in_turn.png')
    layer = next(iter(found[seeds[0]]['clusters'].models.values()))['layer']
    draw_chi(panels, out / 'chi_over_p.png', f'Features of {layer} by degradation')
    with atomic_write(out / 'inside.md', 'w') as file:
        file.write(text)
    return out


def _read(seed: Path, part: str) -> _Part:
    """Read what a tool found in the networks of a seed."""
    folder, (tool, rules) = seed / part, PARTS[part]
    summary = read_summary(folder)
    if summary.get('tool') != tool or summary.get('finished') is not True:
        raise UserError(f'{folder}: holds no finished results of tools/{tool}.py; let it write into it, with --out')
    networks: dict[float, Described] = {}
    models: dict[float, dict[str, Any]] = {}
    with as_written(f'{folder}: its summary.json', f'tools/{tool}.py', 'let it look again'):
        described = networks_of(summary, folder)
        settings = {key: value for key, value in summary['settings'].items()
                    if key not in {'networks', 'layers', 'images', *HOW_ONLY}}
        settings['images'] = summary.get('images') or summary['crops']  # by their names; folders may be elsewhere
        for model in summary['models']:
            one = described[model['label']]
            p = one.dropout_p
            if f'seed{one.identity.seed}' != seed.name or p in models:
                what = f'two networks of p = {p:g}' if p in models else f'{one.label}, of seed {one.identity.seed}'
                raise UserError(f'{folder}: holds {what}; give each seed its folder, and each p one network')
            networks[p], models[p] = one, {**model, **model.get('layers', [model])[0]}
            hold(models[p], rules)
            for of, key, _ in COLUMNS.values():
                if of == part and not NUMBER_OR_NONE.holds(value := _value(models[p], key)):
                    raise ValueError(f'{key} must be {NUMBER_OR_NONE.wanted}, not {value!r}')
        if not models:
            raise ValueError('no models')
    return _Part(folder, settings, networks, models)


def _check(found: Mapping[Path, Mapping[str, _Part]], known: Collection[str] | None) -> None:
    """Refuse what cannot stand in one table: other networks, other settings or other layers."""
    parts = [part for of_seed in found.values() for part in of_seed.values()]
    networks = [(part.folder, one) for part in parts for one in part.networks.values()]
    check_alike(networks)
    check_files(networks)
    for folder, one in networks:
        first = networks[0][1].identity
        if (one.identity.iteration, one.identity.weights) != (first.iteration, first.weights):
            raise UserError(f'{folder}: holds {one.identity}, but others are of iteration {first.iteration:,}, '
                            f'{first.weights}; look into networks of one iteration')
        if known is not None and one.sha256 not in known:
            raise UserError(f'{folder}: {one.label}: is none of the networks that were evaluated for this study; '
                            'evaluate it, or look into those')
    for of_seed in found.values():
        first = of_seed['ablation']
        for part in of_seed.values():
            if {p: one.sha256 for p, one in part.networks.items()} != {
                    p: one.sha256 for p, one in first.networks.items()}:
                raise UserError(f'{part.folder}: is of other networks than {first.folder}; let all tools look into the '
                                'same')
        for name, part in of_seed.items():
            first = next(iter(found.values()))[name]
            changed = sorted(key for key in {*part.settings, *first.settings}
                             if part.settings.get(key) != first.settings.get(key))
            if changed:
                of_both = (str(one.settings.get(changed[0]))[:80] for one in (part, first))
                raise UserError(f"{part.folder}: {changed[0]}: {' instead of '.join(of_both)} as in {first.folder}; "
                                'let it look in the same way')
            layer = next(iter(first.models.values()))['layer']
            other = next((model['layer'] for model in part.models.values() if model['layer'] != layer), None)
            if other is not None:
                raise UserError(f'{part.folder}: is about layer {other}, but {first.folder} about {layer}; look at one')


def _all_curves(found: Mapping[Path, Mapping[str, _Part]]) -> dict[str, dict[str, np.ndarray]]:
    """By order, by network: (seeds × images × orders, C + 1), dB."""
    curves: dict[str, dict[float, list[np.ndarray]]] = {}
    first: tuple[Path, Mapping[tuple[str, str], np.ndarray]] | None = None
    for part in (parts['ablation'] for parts in found.values()):
        for p, model in part.models.items():
            path = part.folder / model['folder'] / 'in_turn.csv'
            those = _curves(path, model['layer'], model['channels'])
            first = first or (path, those)
            if {key: len(psnr) for key, psnr in those.items()} != {key: len(psnr) for key, psnr in first[1].items()}:
                raise UserError(f'{path}: has other images, orders or channels than {first[0]}; ablate again')
            for (order, _), psnr in those.items():
                curves.setdefault(order.partition(':')[0], {}).setdefault(p, []).append(psnr)
    return {order: {f'p = {p:g}': np.stack(some) for p, some in sorted(models.items())}
            for order, models in curves.items()}


def _table(found: Mapping[Path, Mapping[str, _Part]]) -> str:
    rows = []
    for p in sorted({p for parts in found.values() for part in parts.values() for p in part.models}):
        values = {seed: [_value(parts[name].models.get(p, {}), key) for name, key, _ in COLUMNS.values()]
                  for seed, parts in found.items()}
        shown = {seed.name.removeprefix('seed'): some for seed, some in values.items()}
        if len(shown) > 1:
            shown['mean'] = [None if None in some else float(np.mean(some)) for some in zip(*values.values())]
        for seed, some in shown.items():
            rows.append([f'{p:g}', seed, *(_text(value, column[-1]) for value, column in zip(some, COLUMNS.values()))])
    lines = [['p', 'seed', *COLUMNS], ['---:'] * (2 + len(COLUMNS)), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'


def _curves(path: Path, layer: str, channels: int) -> dict[tuple[str, str], np.ndarray]:
    """Each curve of a layer, (C + 1,) dB, by its order (``index``, ``random:0``, …) and image."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    with as_written(path, 'tools/ablate_channels.py', 'ablate again'):
        try:
            with open(path, encoding='utf-8', newline='') as file:
                for row in csv.DictReader(file):
                    if row['layer'] == layer:
                        curve = found.setdefault((row['order'], row['image']), {})
                        removed, psnr = int(row['removed']), float(row['psnr_db'])
                        if removed in curve or not psnr > -np.inf:
                            raise ValueError(f"{row['order']}, {row['image']}, {removed} removed: "
                                             f"{'stands twice' if removed in curve else f'{psnr} dB'}")
                        curve[removed] = psnr
        except OSError as error:
            raise UserError(f'{path}: cannot be read ({error.strerror}); ablate again') from error
    images = {order: {image for other, image in found if other == order} for order, _ in found}
    if any(sorted(psnr) != list(range(channels + 1)) for psnr in found.values()) or len(
            {frozenset(some) for some in images.values()}) > 1:
        raise UserError(f'{path}: lacks some of the {channels} channels of {layer}, or images; ablate again')
    return {key: np.array([psnr[removed] for removed in sorted(psnr)]) for key, psnr in found.items()}


def _value(found: Mapping[str, Any], key: str) -> float | None:
    value: Any = found
    for part in key.split('/'):
        value = (value or {}).get(part)
    return value


def _text(value: float | None, decimals: int) -> str:
    if value is None:
        return '–'
    small = 0 < abs(value) < 10**-decimals  # would be zeros alone
    return f'{value:.2g}' if small else f'{value:.{decimals}f}'


def _title(seed: Path) -> str:
    return f"seed {seed.name.removeprefix('seed')}"
