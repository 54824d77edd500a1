"""How a command ends when nobody reads its output, and what it prints where the output lacks a character."""

import io
import os
import subprocess
import sys

import pytest

from reflash_sr.system.run_command import print_any_character, run_command

CODE = """
import sys
from reflash_sr.system.run_command import run_command
sys.exit(run_command(lambda: [print('line', number) for number in range({lines})]))
"""


@pytest.mark.parametrize('lines', [1, 100_000])
def test_a_reader_that_has_read_enough_is_no_error(lines):
    command = subprocess.Popen([sys.executable, '-c', CODE.format(lines=lines)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    command.stdout.close()
    assert 'Error' not in command.stderr.read()
    assert command.wait() == 141


@pytest.mark.parametrize('buffering', [0, io.DEFAULT_BUFFER_SIZE], ids=['unbuffered', 'buffered'])
@pytest.mark.parametrize('error', [BrokenPipeError(32, 'Broken pipe'), OSError(22, 'Invalid argument')],
                         ids=['posix', 'windows'])
def test_either_error_of_a_reader_that_has_read_enough_is_none(error, buffering, monkeypatch):

    def work():
        raise error

    reader, writer = os.pipe()
    os.close(reader)
    file = os.fdopen(writer, 'wb', buffering)
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(file, write_through=not buffering))
    assert run_command(work) == 141
    sys.stdout.close()


@pytest.mark.parametrize('error', [BrokenPipeError(32, 'Broken pipe'), OSError(22, 'Invalid argument')])
def test_a_pipe_that_is_not_the_output_is_an_error(error, capfd):

    def work():
        raise error

    with pytest.raises(type(error), match=error.strerror):
        run_command(work)


def test_a_character_that_the_output_lacks_is_no_error(monkeypatch):
    file = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(file, encoding='cp1251'))  # as a pipe has it in Russia
    print_any_character()
    print('3 × 5 …', flush=True)
    assert file.getvalue().decode('cp1251').strip() == r'3 \xd7 5 …'
