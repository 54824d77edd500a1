"""Folders that cannot be written, and disks that are too small, are found before a run begins."""

import errno
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from reflash_sr import cli
from tests.image_sets import single

pytestmark = pytest.mark.usefixtures('in_tmp_path')


@pytest.mark.parametrize('blocked', ['experiments', 'tb_logger', 'results'])
def test_a_path_that_is_blocked_is_named_and_nothing_is_written(training_options, capsys, blocked):
    Path(blocked).write_text('a file', encoding='utf-8')
    training_options['logger']['use_tb_logger'] = True
    is_train = blocked != 'results'
    if not is_train:
        sets = training_options['datasets']
        training_options['datasets'] = {'test': sets['val']}
        for key in ('train', 'logger'):
            del training_options[key]
    Path('x.yml').write_text(yaml.safe_dump(training_options), encoding='utf-8')
    before = sorted(Path.cwd().rglob('*'))
    assert cli.main(['train' if is_train else 'test', '-opt', 'x.yml']) == 2
    assert f'{blocked}: cannot be written (Not a directory); remove' in capsys.readouterr().err
    assert sorted(Path.cwd().rglob('*')) == before


def test_a_read_only_file_system_is_one_line(training_options, capsys, monkeypatch):
    Path('x.yml').write_text(yaml.safe_dump(training_options), encoding='utf-8')
    before = sorted(Path.cwd().rglob('*'))

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, 'TemporaryFile', refuse)
    assert cli.main(['train', '-opt', 'x.yml']) == 2
    said = capsys.readouterr().err
    assert 'experiments: cannot be written (Read-only file system); remove' in said and said.count('\n') == 1
    assert sorted(Path.cwd().rglob('*')) == before


def test_a_disk_without_room_for_one_checkpoint_is_refused(training_options, capsys, monkeypatch):
    Path('x.yml').write_text(yaml.safe_dump(training_options), encoding='utf-8')
    before = sorted(Path.cwd().rglob('*'))
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=20_000))
    assert cli.main(['train', '-opt', 'x.yml']) == 2
    assert ': 0.0 MB are free, and the weights of one checkpoint take 0.1 MB; make room' in capsys.readouterr().err
    assert sorted(Path.cwd().rglob('*')) == before


@pytest.mark.parametrize(('is_train', 'save_img', 'is_said'), [(True, True, True), (False, True, False),
                                                               (True, False, False)])
def test_results_that_would_replace_each_other_are_said(open_sets, caplog, is_train, save_img, is_said):
    open_sets(single('a', [(64, 64)]), single('b', [(64, 64)]), metrics={}, is_train=is_train, save_img=save_img)
    assert ('val: save_img: the result of b/0.png replaces that of a/0.png' in caplog.text) == is_said
