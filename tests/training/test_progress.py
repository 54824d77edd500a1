"""What a run tells while it runs."""

import logging
import os
import pickle
import signal
from pathlib import Path

import pytest
from basicsr.utils import logger as basicsr_logger
from torch.utils.data import DataLoader

from reflash_sr.training.progress import for_workers, open_log, survive_full_disk


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


@pytest.fixture
def narrow_log(tmp_path, monkeypatch):
    """The log of a run on a system whose files are not UTF-8, as those of Windows; in Russia they lack ``×``."""

    class OfRussia(logging.FileHandler):

        def __init__(self, path, mode):
            super().__init__(path, mode, encoding='cp1251')

    with monkeypatch.context() as patch:
        patch.setattr(logging, 'FileHandler', OfRussia)
        return open_log(logger_name='basicsr', log_level=logging.INFO, log_file=str(tmp_path / 'run.log'))


def test_a_log_is_utf_8_on_every_system(narrow_log, tmp_path, capsys):
    narrow_log.info('3 × 5 → 15: %s', '写真.png')
    assert tmp_path.joinpath('run.log').read_text(encoding='utf-8').rstrip().endswith('INFO: 3 × 5 → 15: 写真.png')
    assert 'cannot be written' not in capsys.readouterr().err


@pytest.fixture
def signals_as_before():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize('forked', [True, False])
def test_a_worker_logs_into_the_log_of_the_run_once(forked, narrow_log, signals_as_before, tmp_path):
    narrow_log.info('before')
    sent = pickle.loads(pickle.dumps(for_workers(then=print)))
    if not forked:  # such a worker has imported everything anew
        for handler in list(narrow_log.handlers):
            narrow_log.removeHandler(handler)
        basicsr_logger.initialized_logger.clear()
    sent(0)
    logging.getLogger('basicsr').warning('skipped: 写真.png')
    lines = tmp_path.joinpath('run.log').read_text(encoding='utf-8').splitlines()
    assert [line.split(' ', 2)[2] for line in lines] == ['INFO: before', 'WARNING: skipped: 写真.png']


class Priority(list):
    """A dataset of one sample: the priority of the process that reads it."""

    def __getitem__(self, index):
        return os.nice(0)


@pytest.mark.skipif(not hasattr(os, 'nice'), reason='no priorities here')
def test_workers_go_behind_a_network_on_the_same_cores_and_this_process_stays():
    mine, lowest = os.nice(0), 19
    for behind, expected in ((False, mine), (True, lowest)):
        loader = DataLoader(Priority([0]), batch_size=None, num_workers=1, worker_init_fn=for_workers(behind=behind))
        assert list(loader) == [expected]
    assert os.nice(0) == mine
