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

COLUMNS = {  # of the table of what is inside: tool, key of its summary, decimals (of smaller values, two digits)
    'PSNR, dB': ('ablation', 'psnr_db', 2),
    'Gini of drops': ('ablation', 'gini', 2),
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
        UserError: One of them holds no results of its tool.
    """
    folder = Path(folder)
    seeds = sorted(folder.glob('seed*'))
    if not seeds:
        raise UserError(f'{folder}: holds no seed*; put results of the tools that look inside there')
    found = {seed: {tool: _by_p(seed / tool) for tool in dict.fromkeys(tool for tool, _, _ in COLUMNS.values())}
             for seed in seeds}
    with atomic_write(folder / 'inside.md', 'w') as file:
        file.write(_table(found))
    curves: dict[str, dict[str, list[np.ndarray]]] = {}
    for seed in seeds:
        for p, model in found[seed]['ablation'].items():
            path = seed / 'ablation' / model['folder'] / 'in_turn.csv'
            for order, psnr in _curves(path, model['layer'], model['channels']):
                curves.setdefault(order, {}).setdefault(f'p = {p:g}', []).append(psnr)
    if curves:
        stacked = {order: {label: np.stack(some) for label, some in sorted(models.items())}
                   for order, models in curves.items()}
        save(figure_in_turn(stacked, 'Without more and more channels'), folder / 'in_turn.png')
    none = np.zeros(0)
    panels = [Panel(f'p = {p:g}', none, none, np.array(model['chi_by_seed']), model['chi_pca'], p)
              for seed in seeds for p, model in found[seed]['clusters'].items()]
    draw_chi(panels, folder / 'chi_over_p.png', f"Features of {found[seeds[0]]['clusters'][panels[0].p]['layer']} by "
             'degradation')
    return folder


def _table(found: Mapping[Path, Mapping[str, Mapping[float, Mapping[str, Any]]]]) -> str:
    rows = []
    for p in sorted({p for tools in found.values() for models in tools.values() for p in models}):
        for seed, tools in found.items():
            values = [_value(tools[tool].get(p, {}), key, decimals) for tool, key, decimals in COLUMNS.values()]
            rows.append([f'{p:g}', seed.name.removeprefix('seed'), *values])
    lines = [['p', 'seed', *COLUMNS], ['---:'] * (2 + len(COLUMNS)), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'


def _by_p(folder: Path) -> dict[float, dict[str, Any]]:
    """What a summary says of each network; of its first layer, where there are several."""
    summary = read_summary(folder)
    try:
        by_label = {one['label']: float(one['dropout_p']) for one in summary['settings']['networks']}
        return {by_label[one['label']]: {**one, **one.get('layers', [one])[0]} for one in summary['models']}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f'{folder}: holds no such results; let the tool write into it, with --out') from error


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


def _value(found: Mapping[str, Any], key: str, decimals: int) -> str:
    value: Any = found
    for part in key.split('/'):
        value = (value or {}).get(part)
    if value is None:
        return '–'
    small = 0 < abs(value) < 10**-decimals  # would be zeros alone
    return f'{value:.2g}' if small else f'{value:.{decimals}f}'
