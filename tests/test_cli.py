"""The command line's last line of defence."""

import errno
from pathlib import Path

import pytest
import yaml

from reflash_sr import cli
from reflash_sr.system.run_command import run_command


@pytest.mark.parametrize('error', [PermissionError(errno.EACCES, 'Permission denied', 'experiments/x'),
                                   OSError(errno.ENOSPC, 'No space left on device'),
                                   OSError(errno.EMFILE, 'oo many open files')])
def test_folders_that_cannot_be_written_and_full_disks_are_one_line(capsys, error):

    def work():
        raise error

    assert run_command(work) == 1
    line = capsys.readouterr().err
    assert line.startswith('basicsr: error: ') and line.count('\n') == 1
    assert error.strerror in line


def test_an_error_that_is_no_files_fault_keeps_its_traceback():

    def work():
        raise ConnectionResetError(errno.ECONNRESET, 'Connection reset by peer')

    with pytest.raises(ConnectionResetError):
        run_command(work)


def test_a_file_where_the_experiments_should_be(training_options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('tiny.yml').write_text(yaml.safe_dump(training_options), encoding='utf-8')
    Path('experiments').write_text('mine', encoding='utf-8')
    assert cli.main(['train', '-opt', 'tiny.yml']) in (1, 2)
    assert 'experiments' in capsys.readouterr().err.splitlines()[-1]
    assert Path('experiments').read_text(encoding='utf-8') == 'mine'
