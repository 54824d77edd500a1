"""The report: all parts on one page, and only what is missing is done again."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from reflash_sr.commands import ablate_channels as ablation_run
from reflash_sr.commands import report as report_run
from reflash_sr.errors import UserError
from reflash_sr.weights.network_from_file import open_network
from tests.commands.test_evaluate_degradations import save_network
from tests.conftest import fill


@pytest.fixture
def networks(tmp_path):
    return [open_network(save_network(tmp_path / f'{name}.pth', seed, dropout_p=p))
            for seed, (name, p) in enumerate((('plain', 0), ('dropped', 0.5)))]


def test_report(networks, tmp_path, monkeypatch):
    plan = report_run.Plan('photos:val', degradations=('clean', 'b+n'), limit=1, crop=16, samples=4)
    page = report_run.run(plan, networks, tmp_path / 'out')
    text = page.read_text(encoding='utf-8')
    for wanted in ('dropped', 'Channel ablation', 'Channel saliency', 'Degradation clusters', 'SRGA', 'diffusion index',
                   'Options', 'b+n', 'n = 2'):
        assert wanted in text
    assert re.search(r'<td>\d+\.\d\d\n[+-]\d\.\d\d\n\[', text), 'a gain stands below its value: the table stays narrow'
    assert 'dropped: differs from plain in dropout; whether in more is not recorded.' in text
    assert 'dropped, shrunk ' in text and 'PSNR over the share' in text, 'the control of each gain'
    assert 'no halves' not in text
    assert text.count('data:image/png;base64,') >= 8
    monkeypatch.setattr(ablation_run, 'run', lambda *args, **kwargs: pytest.fail('is there already'))
    assert report_run.run(plan, networks, tmp_path / 'out').read_text(encoding='utf-8') == text


def test_a_report_compares(networks, tmp_path):
    with pytest.raises(UserError, match='give two weights files or more'):
        report_run.run(report_run.Plan('photos:val'), networks[:1], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_the_command_line(networks, capsys):
    assert report_run.main(['--weights', networks[0].path, '--images', 'photos:val', '--out', 'out']) == 2
    assert 'give two weights files or more' in capsys.readouterr().err


def test_mistakes_are_found_before_anything_is_written(networks, tmp_path):
    for change, wanted in (({'fit_on': ('photos:val',)}, 'is measured, too'),
                           ({'samples': 1}, '--samples: 1; give 2'), ({'layers': ('B9',)}, "no layer 'B9'"),
                           ({'limit': 0}, '--limit: 0'),
                           ({'fit_on': ('sets', 'halves')}, "'sets' stands alone")):
        plan = report_run.Plan('photos:val', **{'samples': 4, **change})
        with pytest.raises(UserError, match=wanted):
            report_run.run(plan, networks, tmp_path / 'out')
    with pytest.raises(UserError, match="there is no network 'x'"):
        report_run.run(report_run.Plan('photos:val', samples=4), networks, tmp_path / 'out', baselines={'x': 'plain'})
    assert not (tmp_path / 'out').exists()


@pytest.mark.gpu
def test_report_on_a_gpu(networks, tmp_path):
    plan = report_run.Plan('photos:val', degradations=('clean',), limit=1, crop=16, samples=4)
    assert report_run.run(plan, networks, tmp_path / 'out', device=torch.device('cuda')).is_file()


def test_photographs_of_one_size_that_must_give_several_crops(networks, tmp_path):
    fill(tmp_path / 'few', 2, 192)
    plan = report_run.Plan(str(tmp_path / 'few'), degradations=('clean',), limit=1, crop=16, samples=4)
    assert report_run.run(plan, networks, tmp_path / 'out').is_file()
    networks[0] = replace(networks[0], multiple=7)
    assert report_run._sample('photos:val', 4, networks) % 7 == 0


def test_flat_images(networks, tmp_path):
    (tmp_path / 'flat').mkdir()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / 'flat' / 'a.png')
    plan = report_run.Plan(str(tmp_path / 'flat'), 'photos:val', ('clean',), limit=1, crop=16, samples=4)
    for one in networks:  # what they add to interpolation is nothing: the flat image is restored without error
        one.net.conv_last.weight.data.zero_()
        one.net.conv_last.bias.data.zero_()
    text = report_run.run(plan, networks, tmp_path / 'out').read_text(encoding='utf-8')
    assert 'nan' not in text.split('<img')[0].lower()
    assert '–' in text
    assert 'a single image has no halves' in text, 'no control, and the page says why'
