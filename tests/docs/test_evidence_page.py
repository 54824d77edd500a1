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
GRIDS = {'usm': ('study_dropout_cpu', 3), 'usm_sharpened': ('study_dropout_cpu', 3),
         'no_usm': ('study_dropout_cpu_no_usm', 1),
         'short': ('study_dropout_cpu_short', 1)}  # option file, seeds
UNFINISHED = '**In progress.**'
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


@pytest.mark.parametrize('name', STUDIES)
def test_no_cell_is_left_out(name):
    """Every cell of every seed, raw and EMA, is there at every iteration, or the page says that it is to come."""
    study, (file, seeds) = STUDIES[name], GRIDS[name]
    cells = load(ROOT / f'options/{file}.yml', seeds).cells
    wanted = {(cell.options['network_g']['dropout_p'], cell.seed, key) for cell in cells for key in KEYS}
    found, measured = {}, set()
    for folder in study.glob('at_*'):
        settings = json.loads((folder / 'summary.json').read_text(encoding='utf-8'))['settings']
        for one in settings['networks']:
            network = one['dropout_p'], one['trained']['manual_seed'], one['key']
            measured |= {(one['trained']['iter'], entry['name'], network) for entry in settings['sets']}
            name = f'{file}_p{network[0]:g}_seed{network[1]}'
            assert one['trained']['experiment'] == name, f'{folder}: of another study'
            found.setdefault(one['trained']['iter'], set()).add(network)
    assert len({frozenset(some) for some in found.values()}) == 1, 'iterations differ in their networks'
    assert all(some <= wanted for some in found.values())
    for iteration, dataset, _ in measured:
        of_set = {network for at, name, network in measured if (at, name) == (iteration, dataset)}
        assert of_set == found[iteration], f'{dataset} was not measured with every network of iteration {iteration}'
    assert all(some == wanted for some in found.values()) or UNFINISHED in PAGE


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
