"""SEAL as an option of the evaluation: what it writes, that nothing is measured again, what it refuses."""

import csv
import json

import pytest

from reflash_sr.commands.evaluate_degradations import Settings, evaluate, main
from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.errors import UserError
from reflash_sr.evaluation import measure_networks
from reflash_sr.evaluation.seal import Lines
from reflash_sr.weights.network_from_file import open_network
from tests.commands.test_evaluate_degradations import save_network


@pytest.fixture
def run(tmp_path, image_folder):
    networks = [open_network(save_network(tmp_path / f'{name}.pth', seed, dropout_p=p))
                for seed, (name, p) in enumerate((('plain', 0), ('dropped', 0.5)))]
    sets = open_sets([f'mine={image_folder}'], ['clean', 'noise'], [], [], [], 4, 0)
    return lambda lines: evaluate(networks, sets, tmp_path / 'out', Settings(('psnr', 'ssim'), strips=0), lines=lines)


def test_lines_are_changed_without_measuring_again(run, tmp_path, monkeypatch):
    assert 'SEAL' not in run(None) and not (tmp_path / 'out/seal.csv').exists()
    before = (tmp_path / 'out/scores.csv').read_bytes()
    monkeypatch.setattr(measure_networks, 'measure', lambda *args: pytest.fail('measured again'))
    text = run(Lines('plain', 'bicubic'))
    assert 'SEAL: acceptance line plain, excellence line bicubic' in text
    with open(tmp_path / 'out/seal.csv', encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['metric'], row['method']) for row in rows] == [('psnr', 'dropped'), ('ssim', 'dropped')]
    summary = json.loads((tmp_path / 'out/summary.json').read_text(encoding='utf-8'))['seal']
    assert (summary['acceptance'], summary['excellence']) == ('plain', 'bicubic')
    assert [row['seal']['cases'] for row in summary['rows']] == [int(row['cases']) for row in rows]
    assert (tmp_path / 'out/scores.csv').read_bytes() == before
    assert 'excellence line best' in run(Lines('bicubic'))


def test_unknown_lines_are_refused_before_anything_is_measured(run, tmp_path):
    with pytest.raises(UserError, match="--acceptance: there is no 'plan'"):
        run(Lines('plan'))
    assert not (tmp_path / 'out').exists()


def test_an_excellence_line_alone_is_refused(tmp_path, capsys):
    assert main(['--weights', 'a.pth', '--gt', 'photos:val', '--excellence', 'a', '--out', str(tmp_path / 'out')]) == 2
    assert 'error: --excellence: needs the other line' in capsys.readouterr().err
