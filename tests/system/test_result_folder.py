"""A folder holds the results of one run."""

import json
import os

import pytest

from reflash_sr.errors import UserError
from reflash_sr.system.result_folder import ResultFolder


def test_a_run_is_continued_and_another_is_refused(tmp_path):
    folder = ResultFolder(tmp_path / 'out', 'tool', {'seed': 1, 'sets': ('a',)})
    assert not folder.continued
    assert not ResultFolder(tmp_path / 'out', 'tool', {'seed': 5}).continued, 'nothing was measured yet'
    folder = ResultFolder(tmp_path / 'out', 'tool', {'seed': 1, 'sets': ('a',)})
    folder.write('x.csv', '')
    assert json.loads((folder.path / 'summary.json').read_text())['finished'] is False
    assert ResultFolder(folder.path, 'tool', {'seed': 1, 'sets': ['a']}).continued
    with pytest.raises(UserError, match=r'other settings \(seed\); give another folder with --out, or --overwrite'):
        ResultFolder(folder.path, 'tool', {'seed': 2, 'sets': ['a']})
    with pytest.raises(UserError, match='holds results of tool'):
        ResultFolder(folder.path, 'another', {})


def test_networks_under_other_names_are_told_with_what_continues_them(tmp_path):
    def settings(*labels, files='ab'):
        return {'networks': [{'label': label, 'weights': file, 'key': key}
                             for label, file, key in zip(labels, files, ('params', 'params_ema'))]}

    for place, (before, now, files, told) in enumerate([
        (('st_p0', 'st p0.5'), ('p = 0', 'p = 0.5'), 'ab', "with --labels st_p0 'st p0.5'; or give another"),
        (('x [params]', 'x [params_ema]'), ('y [params]', 'y [params_ema]'), 'aa', 'with --labels x; or give another'),
    ]):
        path = tmp_path / str(place)
        ResultFolder(path, 'tool', settings(*before, files=files)).write('x.csv', '')
        with pytest.raises(UserError, match=told):
            ResultFolder(path, 'tool', settings(*now, files=files))
        with pytest.raises(UserError, match=r'other settings \(networks\); give another'):
            ResultFolder(path, 'tool', settings(*now, files='cd'))
    ResultFolder(tmp_path / 'odd', 'tool', {'networks': [3]}).write('x.csv', '')
    with pytest.raises(UserError, match=r'other settings \(networks\); give another'):
        ResultFolder(tmp_path / 'odd', 'tool', settings('a', 'b'))


def test_what_is_there_is_put_aside_not_deleted(tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'thesis.txt').write_text('mine')
    for overwrite in (False, True):
        with pytest.raises(UserError, match='holds files that are no results; give another folder with --out'):
            ResultFolder(tmp_path / 'out', 'tool', {}, overwrite)
    (tmp_path / 'out' / 'thesis.txt').unlink()
    ResultFolder(tmp_path / 'out', 'tool', {'seed': 1}).write('table.csv', 'mine')
    ResultFolder(tmp_path / 'out', 'another', {}, overwrite=True)
    kept = next(tmp_path.glob('out_archived_*'))
    assert (kept / 'table.csv').read_text() == 'mine'
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['summary.json']


def test_a_summary_is_json_without_nan(tmp_path):
    folder = ResultFolder(tmp_path / 'out', 'tool', {'x': 1})
    folder.finish(values=[1.5, float('nan')], best=float('inf'))
    found = json.loads((folder.path / 'summary.json').read_text())
    assert (found['values'], found['best'], found['finished']) == ([1.5, None], None, True)
    assert found['versions']['torch']


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot be written'):
        ResultFolder(tmp_path / 'file' / 'out', 'tool', {})
    if os.geteuid():
        (tmp_path / 'locked').mkdir(mode=0o500)
        with pytest.raises(UserError, match='cannot be written'):
            ResultFolder(tmp_path / 'locked' / 'out', 'tool', {})


def test_what_is_read_is_never_written(tmp_path):
    images = tmp_path / 'images'
    images.mkdir()
    (images / 'a.png').write_text('')
    for out in (images, tmp_path, images / 'results'):
        for overwrite in (False, True):
            with pytest.raises(UserError, match='is an input, so results cannot be written there'):
                ResultFolder(out, 'tool', {}, overwrite, inputs=[images, 'photos:val'])
    assert [path.name for path in images.iterdir()] == ['a.png']
    ResultFolder(tmp_path / 'results', 'tool', {}, inputs=[images])
