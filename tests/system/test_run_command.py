"""How a command ends when nobody reads its output."""

import subprocess
import sys

import pytest

from reflash_sr.system.run_command import run_command

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


def test_a_pipe_that_is_not_the_output_is_an_error(capfd):

    def work():
        raise BrokenPipeError(32, 'Broken pipe')

    with pytest.raises(BrokenPipeError):
        run_command(work)
