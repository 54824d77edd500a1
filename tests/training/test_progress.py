"""What a run tells while it runs."""

import logging
from pathlib import Path

import pytest

from reflash_sr.training.progress import survive_full_disk


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no device here is always full')
def test_a_log_file_on_a_full_disk_is_one_warning(capsys):
    logger = logging.Logger('of this test')
    logger.addHandler(logging.FileHandler('/dev/full'))
    others = logging.StreamHandler()
    logger.addHandler(others)
    survive_full_disk(logger)
    for i in range(3):
        logger.error('line %d', i)
    said = capsys.readouterr().err
    assert said.count('/dev/full: cannot be written any more') == 1
    assert [line for line in said.splitlines() if line.startswith('line')] == ['line 0', 'line 1', 'line 2']
    assert 'Traceback' not in said
