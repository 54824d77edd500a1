"""The sections of a report: results of the evaluation and the analyses as tables and figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reflash_sr.commands.html_page import Details, Figure, Section, Table
from reflash_sr.evaluation.metrics import DECIMALS, UNITS, WITHOUT_GAIN, metric_title
from reflash_sr.evaluation.scores import MEAN
from reflash_sr.weights.network_from_file import CHANNELS, TrainedNetwork

FIGURES = {'shrinkage.png': 'PSNR over the share of what the networks add to interpolation',
           'gain_per_degradation.png': 'Gain per degradation', 'absolute.png': 'Values per degradation'}


def networks_section(networks: Sequence[TrainedNetwork]) -> Section:
    """A table of the networks and their files."""
    head = ('name', 'network', 'p', 'parameters', 'iterations', 'weights', 'SHA-256')
    return Section('Networks', [Table(head, [
        (one.label, _kind(one), _number(one.known_p, 'g'), f'{one.parameters:,}',
         f"{one.trained['iter']:,}" if one.trained.get('iter') else 'not stated', one.key, one.sha256[:12])
        for one in networks], 2)])


def evaluation_section(path: Path, about_pairs: Mapping[str, str]) -> Section:
    """One table per metric, with gains; marks networks with dropout that beat a larger network without dropout.

    Args:
        path: Folder of the evaluation.
        about_pairs: As of :func:`reflash_sr.evaluation.pairs.pair_notes`.
    """
    cells = _rows(path / 'table.csv')
    parts: list[str | Table | Figure | Details] = []
    for metric in dict.fromkeys(cell['metric'] for cell in cells):
        rows: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
        for cell in cells:
            if cell['metric'] == metric:
                rows.setdefault((cell['dataset'], cell['method']), {})[cell['degradation']] = cell
        chosen = [cell for row in rows.values() for cell in row.values()]
        columns = sorted(dict.fromkeys(cell['degradation'] for cell in chosen), key=lambda name: name != MEAN)
        pairs = dict.fromkeys(f"{cell['method']} over {cell['baseline']}" for cell in chosen if cell['gain'])
        marked = frozenset((line, place) for line, row in enumerate(rows.values())
                           for place, name in enumerate(columns, 2) if name in row and row[name]['beats'])
        unit = 'that of the GT is 1' if metric in WITHOUT_GAIN else UNITS.get(metric)
        text = f"{metric_title(metric)}{f' ({unit})' if unit else ''}, 8-bit RGB, 4 px border cropped."
        if pairs:
            text += (f" Below a value: gain of {'; '.join(pairs)}, for a whole row with its 95 % bootstrap interval "
                     'over images.')
        if marked:
            text += ' Marked: a smaller network with dropout that is better than a larger one without.'
        lines = [[*key, *(_cell(row[name], DECIMALS[metric], name == columns[0]) if name in row else ''
                          for name in columns)] for key, row in rows.items()]
        parts += [text, Table(('dataset', 'method', *columns), lines, 2, marked)]
    if (path / 'shrinkage.png').is_file():
        parts.append(
            "Shrunk: the network's result drawn towards interpolation by the α that is best on other images. It asks "
            'how much of a gain a single number gives, too: what is left between two shrunk networks is gained beyond '
            'shrinkage.')
    else:
        parts.append('Without the shrinkage control: a single image has no halves. --fit_on fits it on other images.')
    sealed = _rows(path / 'seal.csv') if (path / 'seal.csv').is_file() else []
    if sealed:
        parts += [
            f"SEAL: a network between two lines, {sealed[0]['acceptance']} and the {sealed[0]['excellence']} method of "
            'each degradation. AR: share of degradations under which it reaches the first. RPR: 0.5 on the first line, '
            '0.73 on the second; its interquartile range (I, how much it varies), and its mean where the network '
            'reaches the first line (A) and elsewhere (U). Degradations whose lines are nearly equal have no RPR.',
            Table(('dataset', 'method', 'metric', 'degradations', 'with RPR', 'AR', 'RPR_I', 'RPR_A', 'RPR_U'), [
                (row['dataset'], row['method'], row['metric'], row['cases'],
                 str(int(row['cases']) - int(row['left_out'])),
                 *(_number(float(row[key]) if row[key] else None, '.2f') for key in ('ar', 'rpr_i', 'rpr_a', 'rpr_u')))
                for row in sealed], 3)]
    # These figures do not exist for many networks, or if no gain is finite.
    parts += [Figure(path / name, title) for name, title in FIGURES.items() if (path / name).is_file()]
    strips = sorted((path / 'strips').rglob('*.png'))
    notes = [f'{label}: {note}.' for label, note in about_pairs.items()]
    return Section('Evaluation', [*parts, *notes, *(Figure(strip, f'Crops of {strip.stem}') for strip in strips)])


def ablation_section(path: Path) -> Section:
    """A table of PSNR losses, with figures."""
    rows = [(model['label'], layer['layer'], _psnr(layer), _number(layer['largest_drop_db'], '.3f'),
             _number(layer['gini'], '.2f'), _number(layer.get('gini_of_sizes'), '.2f'),
             _number(layer.get('share_rising'), '.0%'),
             *(_number(share, '.0%') for share in layer['share_1db'].values()))
            for model in _models(path) for layer in model['layers']]
    return Section('Channel ablation', [
        'A channel is set to zero and the others are rescaled to the sum of all (paper Sec. 6.1). A network whose '
        'channels are equally important can lose many before it loses 1 dB, and its drops have a small Gini '
        'coefficient. A channel whose removal raises PSNR counts as 0 in the first coefficient, and with its absolute '
        'value in the second. PSNR is of the middle part that --crop cuts out of each image, without cropping a '
        'border: it is not that of the evaluation.',
        Table(('network', 'layer', 'PSNR (dB)', 'largest drop (dB)', 'Gini of drops', 'of their sizes',
               'PSNR rises without', 'may go (index)', 'may go (random)'), rows, 2),
        *_figures(path)])


def _kind(network: TrainedNetwork) -> str:
    of = CHANNELS[network.channels]
    return network.kind + ('' if of == 'RGB' else f' of {of}')


def _psnr(layer: Mapping[str, Any]) -> str:
    of = layer.get('colours', 'RGB')
    return _number(layer['psnr_db'], '.2f') + ('' if of == 'RGB' else f' (of {of})')


def saliency_section(path: Path) -> Section:
    """Saliency maps."""
    return Section('Channel saliency', [
        'How much each value of a feature map moves the detail of the result (paper Sec. 6.1), all channels of a layer '
        'on one scale.', *_figures(path)])


def attribution_section(path: Path) -> Section:
    """The diffusion index of each network, with local attribution maps."""
    rows = [(model['label'], _number(model['diffusion_index'], '.2f'), _number(model['std'], '.2f'),
             str(len(model['diffusion_index_by_image'])), _number(model['gap'], '.1%')) for model in _models(path)]
    return Section('Local attribution', [
        'Which pixels of the LQ image the detail in a window of the SR image depends on (LAM), and how widely they are '
        'spread: the diffusion index is 100 if all pixels matter alike, and near 0 if a few do. The spread is over '
        'images. Compare networks on the same images and crop alone.',
        Table(('network', 'diffusion index', 'std', 'images', 'error of the integral'), rows, 1), *_figures(path)])


def clusters_section(path: Path) -> Section:
    """CHI of each network, with figures."""
    rows = [(model['label'], model['layer'], '' if model['p'] is None else f"{model['p']:g}", _number(model['chi']),
             _number(model['chi_std']), _number(model['chi_pca']), _number(model.get('srga'), '.2f'))
            for model in _models(path)]
    return Section('Degradation clusters', [
        'How strongly the features of a layer cluster by degradation (paper Sec. 6.2): the lower the Calinski-Harabasz '
        'index (CHI), the less they depend on it. The spread is over starts of t-SNE. SRGA is how far the features of '
        'each degradation are from those of the first, on a logarithmic scale; 0: they are distributed equally.',
        Table(('network', 'layer', 'p', 'CHI (t-SNE)', 'std', 'CHI (PCA space)', 'SRGA'), rows, 2), *_figures(path)])


def options_section(networks: Sequence[TrainedNetwork], settings: Mapping[str, Any]) -> Section:
    """All options of the networks and of the report."""
    parts = [Details(one.label, {'weights': one.path, 'sha256': one.sha256, 'network_g': one.network_g,
                                 'trained': one.trained}) for one in networks]
    own = {key: value for key, value in settings.items() if key not in ('networks', 'sets')}
    return Section('Options', [*parts, Details('this report', own)])


def _cell(cell: Mapping[str, str], decimals: int, with_interval: bool) -> str:
    """The value and, on lines below so that the table stays narrow, its gain and optionally the interval."""
    value, gain, low, high = (f'{float(cell[key]):{sign}.{decimals}f}' if cell[key] else '' for key, sign in (
        ('value', ''), ('gain', '+'), ('gain_low', '+'), ('gain_high', '+')))
    if not value:
        return '–'
    interval = f"\n[{low}, {high}], n = {cell['images']}" if with_interval and low else ''
    return f'{value}\n{gain}{interval}' if gain else value


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def _figures(path: Path) -> list[Figure]:
    return [Figure(figure, figure.stem.replace('_', ' ')) for figure in sorted(path.glob('*.png'))]


def _models(path: Path) -> list[dict[str, Any]]:
    return json.loads((path / 'summary.json').read_text(encoding='utf-8'))['models']


def _number(value: float | None, form: str = '.3g') -> str:
    return '–' if value is None else f'{value:{form}}'
