"""What several seeds have inside: ablations, saliency and clusters of networks of one study, by their p, made one."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reflash_sr.analysis.figures.ablation import figure_in_turn
from reflash_sr.analysis.figures.clusters import Panel, draw_chi
from reflash_sr.analysis.figures.style import save
from reflash_sr.errors import UserError
from reflash_sr.files import atomic_write
from reflash_sr.results import read_summary

PARTS = {  # folder of a seed: its tool, and what is needed of each network
    'ablation': ('ablate_channels', ('folder', 'layer', 'channels')),
    'saliency': ('map_saliency', ('layer',)),
    'clusters': ('cluster_degradations', ('layer', 'chi_by_seed', 'chi_pca')),
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


def gather(folder: str | os.PathLike) -> Path:
    """Write ``inside.md``, ``in_turn.png`` (Fig. 8) and ``chi_over_p.png`` (Fig. 9d) from the results of every seed.

    Args:
        folder: Holds ``seed*/ablation``, ``seed*/saliency`` and ``seed*/clusters``, of networks that differ in p.

    Returns:
        The folder.

    Raises:
        UserError: One of them holds no results of its tool, or of another seed or other networks.
    """
    folder = Path(folder)
    seeds = sorted(path for path in folder.glob('seed*') if path.name.removeprefix('seed').isdigit())
    if not seeds:
        raise UserError(f'{folder}: holds no seed0, seed1, …; put results of the tools that look inside there')
    found = {seed: {part: _by_p(seed, part) for part in PARTS} for seed in seeds}
    curves: dict[str, dict[str, list[np.ndarray]]] = {}
    for seed, parts in found.items():
        for part in PARTS:
            if {p: model['sha256'] for p, model in parts[part].items()} != {
                    p: model['sha256'] for p, model in parts['ablation'].items()}:
                raise UserError(f'{seed / part}: is of other networks than {seed / "ablation"}; let all tools look '
                                'into the same')
        for p, model in parts['ablation'].items():
            path = seed / 'ablation' / model['folder'] / 'in_turn.csv'
            for order, psnr in _curves(path, model['layer'], model['channels']):
                others = curves.setdefault(order, {}).setdefault(f'p = {p:g}', [])
                if others and len(others[0]) != len(psnr):
                    raise UserError(f'{path}: has {len(psnr) - 1} channels, but {len(others[0]) - 1} with another seed')
                others.append(psnr)
    none = np.zeros(0)
    panels = [Panel(f'p = {p:g}', none, none, np.array(model['chi_by_seed'], float), float(model['chi_pca']), p,
                    _title(seed)) for seed, parts in found.items() for p, model in parts['clusters'].items()]
    layer = next(iter(found[seeds[0]]['clusters'].values()))['layer']
    if curves:
        stacked = {order: {label: np.stack(some) for label, some in sorted(models.items())}
                   for order, models in curves.items()}
        over = ('seeds, ' if len(seeds) > 1 else '') + 'pictures and random orders'
        save(figure_in_turn(stacked, 'Without more and more channels', over), folder / 'in_turn.png')
    draw_chi(panels, folder / 'chi_over_p.png', f'Features of {layer} by degradation')
    with atomic_write(folder / 'inside.md', 'w') as file:
        file.write(_table(found))
    return folder


def _table(found: Mapping[Path, Mapping[str, Mapping[float, Mapping[str, Any]]]]) -> str:
    rows = []
    for p in sorted({p for tools in found.values() for models in tools.values() for p in models}):
        values = {seed: [_value(tools[tool].get(p, {}), key) for tool, key, _ in COLUMNS.values()]
                  for seed, tools in found.items()}
        shown = {seed.name.removeprefix('seed'): some for seed, some in values.items()}
        if len(shown) > 1:
            shown['mean'] = [None if None in some else float(np.mean(some)) for some in zip(*values.values())]
        for seed, some in shown.items():
            rows.append([f'{p:g}', seed, *(_text(value, column[-1]) for value, column in zip(some, COLUMNS.values()))])
    lines = [['p', 'seed', *COLUMNS], ['---:'] * (2 + len(COLUMNS)), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'


def _by_p(seed: Path, part: str) -> dict[float, dict[str, Any]]:
    """What a summary says of each network of a seed; of its first layer, where there are several."""
    folder, (tool, keys) = seed / part, PARTS[part]
    summary = read_summary(folder)
    if summary.get('tool') != tool or summary.get('finished') is not True:
        raise UserError(f'{folder}: holds no finished results of tools/{tool}.py; let it write into it, with --out')
    found: dict[float, dict[str, Any]] = {}
    try:
        networks = {one['label']: one for one in summary['settings']['networks']}
        for model in summary['models']:
            one = networks[model['label']]
            number, p = one['trained'].get('manual_seed'), float(one['dropout_p'])
            if f'seed{number}' != seed.name or p in found:
                what = f'two networks of p = {p:g}' if p in found else f"{one['label']}, of seed {number}"
                raise UserError(f'{folder}: holds {what}; give each seed its folder, and each p one network')
            found[p] = {**model, **model.get('layers', [model])[0], 'sha256': one['sha256']}
            _ = [found[p][key] for key in keys]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f'{folder}: its summary.json is not as tools/{tool}.py writes it ({type(error).__name__}: '
                        f'{error}); let it look again') from error
    return found


def _curves(path: Path, layer: str, channels: int) -> Iterator[tuple[str, np.ndarray]]:
    """Each curve of a layer, (C + 1,) dB, with its order: ``index``, ``random``."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    try:
        with open(path, encoding='utf-8', newline='') as file:
            for row in csv.DictReader(file):
                if row['layer'] == layer:
                    found.setdefault((row['order'], row['image']), {})[int(row['removed'])] = float(row['psnr_db'])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f'{path}: is not as tools/ablate_channels.py writes it; ablate again') from error
    images = {order: {image for other, image in found if other == order} for order, _ in found}
    if any(sorted(psnr) != list(range(channels + 1)) for psnr in found.values()) or len(
            {frozenset(some) for some in images.values()}) != 1:
        raise UserError(f'{path}: lacks some of the {channels} channels of {layer}, or pictures; ablate again')
    for (order, _), psnr in found.items():
        yield order.partition(':')[0], np.array([psnr[removed] for removed in sorted(psnr)])


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
