"""The reflash-sr command, and copying what comes with the package."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reflash_sr.commands.console import COMMANDS, main
from reflash_sr.commands.copy_options import shipped_files

TOOLS = {path.stem for path in (Path(__file__).parents[2] / 'tools').glob('*.py')} - {'build_evidence'}

pytestmark = pytest.mark.usefixtures('in_tmp_path')


def test_every_tool_has_a_short_name():
    assert {module for module, _ in COMMANDS.values()} - {'copy_options'} == TOOLS
    for module, _ in COMMANDS.values():
        assert callable(importlib.import_module(f'reflash_sr.commands.{module}').main)


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_explains_itself_by_its_short_name(name, capsys, monkeypatch):
    monkeypatch.setattr('sys.argv', ['reflash-sr'])
    with pytest.raises(SystemExit) as ended:
        main([name, '--help'])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f'usage: reflash-sr {name}')


def test_without_a_name_all_commands_are_listed(capsys):
    assert main([]) == 0
    assert all(f'  {name} ' in capsys.readouterr().out for name in list(COMMANDS)[:1])


def test_an_unknown_name_is_one_line(capsys):
    assert main(['abblate']) == 2
    assert capsys.readouterr().err == "reflash-sr: error: there is no command 'abblate'; did you mean 'ablate'?\n"


def test_options_are_copied_once_and_never_over_a_file_that_differs(capsys, monkeypatch):
    monkeypatch.setattr('sys.argv', ['reflash-sr'])
    assert main(['options', 'mine']) == 0
    copied = {path.name: path.read_bytes() for path in Path('mine').rglob('*') if path.is_file()}
    assert copied == {path.name: path.read_bytes() for path in shipped_files()}
    assert Path('mine/weights/srresnet32x8_p0_seed0.pth').is_file()
    changed = Path('mine/quickstart.yml')
    changed.write_text('mine: 1\n', encoding='utf-8')
    Path('mine/study_tiny.yml').unlink()
    assert main(['options', 'mine']) == 2
    assert f'{changed}: exists and differs' in capsys.readouterr().err
    assert changed.read_text(encoding='utf-8') == 'mine: 1\n'
    assert not Path('mine/study_tiny.yml').exists()
    changed.unlink()
    assert main(['options', 'mine']) == 0
    assert capsys.readouterr().out.startswith(f'2 files written to mine, {len(copied) - 2} were there')


def test_a_reader_that_stops_early_is_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)  # as in reflash-sr | head -1, once head has ended
    with os.fdopen(writer, 'w') as stdout:
        done = subprocess.run([sys.executable, '-m', 'reflash_sr.commands.console'], stdout=stdout, text=True,
                              stderr=subprocess.PIPE, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, '')
