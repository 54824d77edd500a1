"""What docs/evidence.md says is what the tools make of the results that are kept beside it."""

import json
import re
import shutil
from pathlib import Path

import pytest
from build_page import MARK, build

from reflash_sr.studies.grid import load
from reflash_sr.system.files import sha256
from reflash_sr.weights.file_formats import KEYS
from reflash_sr.weights.network_from_file import open_network

ROOT = Path(__file__).parents[2]
EVIDENCE = ROOT / 'docs/evidence'
PAGE = (ROOT / 'docs/evidence.md').read_text(encoding='utf-8')
STUDIES = {path.parent.name: path.parent for path in sorted(EVIDENCE.glob('*/gains'))}
EMA = ('params_ema',)
GRIDS = {  # option file, seeds, weights that were evaluated
    'usm': ('study_dropout_cpu', 3, KEYS), 'usm_sharpened': ('study_dropout_cpu', 3, KEYS),
    'usm_control': ('study_dropout_cpu', 3, EMA),
    'no_usm': ('study_dropout_cpu_no_usm', 1, KEYS), 'short': ('study_dropout_cpu_short', 1, KEYS),
    'finetune': ('study_finetune_cpu', 3, EMA), 'finetune_long': ('study_finetune_cpu', 3, EMA),
    'finetune_no_usm': ('study_finetune_cpu_no_usm', 3, EMA)}
PARTS = {  # what of a grid was run, by p, seed and number of iterations; the page says so
    'usm_control': lambda p, seed, total: p == 0 or (p, seed) == (0.7, 0),
    'finetune': lambda p, seed, total: total <= 600 and (seed == 0 or p in (0, 0.7)),
    'finetune_long': lambda p, seed, total: total == 2000 and seed == 0,
    'finetune_no_usm': lambda p, seed, total: total == 200}
RUNS = {  # studies of single trainings: experiments by their number of iterations
    'released': {f'finetune_anime_p{p}_total_iter-{n}_seed{seed}': n
                 for p in ('0', '0.5') for n in (200, 600) for seed in (0, 1)}}
NUMBER = re.compile(r'[+−-]?\d[\d,]*\.?\d*')


def numbers(text):
    """The numbers of a text, and the text without them: a last digit may be rounded otherwise on another machine."""
    return [one.replace(',', '').replace('−', '-') for one in NUMBER.findall(text)], NUMBER.sub('0', text)


def test_page_is_what_one_command_makes_of_the_results(tmp_path):
    shutil.copytree(EVIDENCE, tmp_path / 'evidence')
    shutil.copy(ROOT / 'docs/evidence.md', tmp_path)
    written, _ = build(tmp_path / 'evidence.md')
    texts = [path for one in written for path in ([one] if one.is_file() else one.iterdir())
             if path.suffix in ('.md', '.csv')]
    assert {path.name for path in texts} == {'cells.md', 'gains.csv', 'gains.md', 'inside.md', 'evidence.md'}
    for path in texts:
        found, kept = (numbers(one.read_text(encoding='utf-8'))
                       for one in (path, ROOT / 'docs' / path.relative_to(tmp_path)))
        assert found[1] == kept[1]
        for one, other in zip(found[0], kept[0]):
            decimals = len(other.partition('.')[2])
            assert float(one) == pytest.approx(float(other), abs=1.1 * 10.0**-decimals if decimals else 0, rel=0)
    assert len(MARK.findall(PAGE)) >= 3


def wanted_of(study):
    """The weights of every network of a study, with the iterations that it was trained."""
    if study in RUNS:
        return {(name, key): total for name, total in RUNS[study].items() for key in EMA}
    file, seeds, keys = GRIDS[study]
    found = {}
    for cell in load(ROOT / f'options/{file}.yml', seeds).cells:
        total = cell.options['train']['total_iter']
        if study not in PARTS or PARTS[study](cell.values['dropout_p'], cell.seed, total):
            found |= {(f'{file}_{cell.name}_seed{cell.seed}', key): total for key in keys}
    return found


@pytest.mark.parametrize('name', STUDIES)
def test_no_cell_is_left_out(name):
    """Every cell that was run is there, at every iteration and on every dataset."""
    wanted, found, measured = wanted_of(name), {}, set()
    for folder in STUDIES[name].glob('at_*'):
        settings = json.loads((folder / 'summary.json').read_text(encoding='utf-8'))['settings']
        for one in settings['networks']:
            trained, network = one['trained'], (one['trained']['experiment'], one['key'])
            assert network in wanted, f'{folder}: of another study'
            assert f"_p{one['dropout_p']:g}_" in network[0]
            assert network[0].endswith(f"_seed{trained['manual_seed']}")
            measured |= {(trained['iter'], entry['name'], network) for entry in settings['sets']}
            found.setdefault(trained['iter'], set()).add(network)
    lengths = set(wanted.values())
    full = {at: {network for network, total in wanted.items() if len(lengths) == 1 or total == at} for at in found}
    assert len(lengths) > 1 or len({frozenset(some) for some in found.values()}) == 1, 'iterations differ in networks'
    for at, dataset, _ in measured:
        of_set = {network for iteration, some, network in measured if (iteration, some) == (at, dataset)}
        assert of_set == found[at], f'{dataset} was not measured with every network of iteration {at}'
    assert lengths <= set(found) and found == full


def test_weights_are_whole_and_say_what_they_are():
    lines = (EVIDENCE / 'weights/SHA256SUMS').read_text(encoding='utf-8').splitlines()
    assert len(lines) == len(list(EVIDENCE.glob('weights/**/*.pth'))) >= 4
    for line in lines:
        checksum, name = line.split()
        path = EVIDENCE / 'weights' / name
        assert sha256(path) == checksum
        network = open_network(path)
        assert network.trained['iter'] == network.trained['total_iter'] == 6000
        assert f"p{network.dropout_p:g}_seed{network.trained['manual_seed']}.pth" in name
