"""What docs/evidence.md says is what the tools make of the results that are kept beside it."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from build_page import MARK, build

from reflash_sr.studies.grid import load
from reflash_sr.system.files import sha256
from reflash_sr.weights.file_formats import KEYS
from reflash_sr.weights.trained_network import open_network

ROOT = Path(__file__).parents[2]
EVIDENCE = ROOT / 'docs/evidence'
PAGE = (ROOT / 'docs/evidence.md').read_text(encoding='utf-8')
STUDIES = {path.parent.name: path.parent for path in sorted(EVIDENCE.glob('*/gains'))}
GRIDS = {'usm': ('study_dropout_cpu', 3), 'usm_sharpened': ('study_dropout_cpu', 3),
         'no_usm': ('study_dropout_cpu_no_usm', 1),
         'short': ('study_dropout_cpu_short', 1)}  # option file, seeds
UNFINISHED = '**In progress.**'
SIGNED = re.compile(r'[+−-]\d\.\d\d')
GAINS = re.compile(rf'({SIGNED.pattern}(?:(?:,|,? and)\s{SIGNED.pattern})*)(?=\sdB)')
ALL, TWO, SHARP = ('mean of Set5, Set14, BSD100', 'mean of Set5, Set14', 'mean of Set5 sharpened, Set14 sharpened')
PS = (0.3, 0.5, 0.7)
CLAIMS = {  # file: for each place of its text that names gains: study, set, p; and a seed, where it is about one
    'docs/evidence.md': [
        [('usm', ALL, p) for p in PS], [('usm', 'RealSR', p) for p in PS],
        [('no_usm', ALL, 0.5)], [('usm', ALL, 0.5, 0)], [('no_usm', 'RealSR', 0.5), ('usm', 'RealSR', 0.5, 0)],
        [('usm_sharpened', SHARP, p) for p in PS], [('usm', TWO, p) for p in PS]],
    'README.md': [[('usm', ALL, 0.7)], [('no_usm', ALL, 0.5)], [('usm', ALL, 0.5, 0)], [('no_usm', 'RealSR', 0.5)],
                  [('usm', 'RealSR', 0.5, 0)]],
}
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
    assert len(lines) == len(list(EVIDENCE.glob('weights/*.pth'))) >= 2
    for line in lines:
        checksum, name = line.split()
        path = EVIDENCE / 'weights' / name
        assert sha256(path) == checksum
        network = open_network(path)
        assert network.trained['iter'] == network.trained['total_iter'] == 6000
        assert f'p{network.dropout_p:g}_' in name


def test_images_and_links_of_the_page_are_there():
    for target in re.findall(r'\]\((?!http)([^)#]+)', PAGE):
        assert (ROOT / 'docs' / target).exists(), target


@pytest.mark.parametrize(('file', 'claims'), CLAIMS.items(), ids=CLAIMS)
def test_gains_in_running_text_are_those_of_the_tables(file, claims):
    """Every gain that the text names, as in '+0.10, +0.14 dB', is that of the cell it speaks of; EMA, the end."""
    text = re.sub(r'^\|.*$', '', (ROOT / file).read_text(encoding='utf-8'), flags=re.MULTILINE)
    said = [[float(one) for one in SIGNED.findall(group.replace('−', '-'))] for group in GAINS.findall(text)]
    wanted = []
    for claim in claims:
        wanted.append([])
        for study, dataset, p, *seed in claim:
            with open(EVIDENCE / study / 'gains/gains.csv', encoding='utf-8', newline='') as kept:
                found = [row for row in csv.DictReader(kept) if (
                    row['weights'], row['iteration'], row['dataset'], row['method']) == (
                    'params_ema', '6000', dataset, f'p = {p}') and row['degradation'] in ('mean', 'as given')]
            assert len(found) == 1
            by_seed = dict(one.split(':') for one in found[0]['by_seed'].split())
            wanted[-1].append(float(by_seed[str(*seed)] if seed else found[0]['gain']))
    assert [len(some) for some in said] == [len(some) for some in wanted]
    for some, others in zip(said, wanted):
        assert some == pytest.approx(others, abs=0.0051)
