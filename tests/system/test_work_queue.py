"""The queue that processes share: each item once, nobody idle, nobody waiting on a timer or for a dead process."""

import json
import os
import subprocess
import sys

import pytest

from reflash_sr.system.work_queue import Queue, progress
from tests import forked

# Two processes whose messages time out after 2 s. Rank 0 needs 5 s for its first item.
SCRIPT = """
import json, os, sys, time
from reflash_sr.errors import RunError
from reflash_sr.system import processes
from reflash_sr.system.work_queue import Queue

rank, _ = processes.start('pytorch', timeout=2)
mine = []
for item in Queue(range(12)):
    mine.append(item)
    time.sleep(5 if rank == 0 and len(mine) == 1 else 0.01)
shares = processes.gather(mine)
processes.on_rank_0(lambda: time.sleep(4))
queue, after = Queue('abcdef'), []
for item in queue:
    queue.close()
    after.append(item)
afters = processes.gather(after)
print(json.dumps([shares, afters]), flush=True)
if rank == int(sys.argv[1]):
    os._exit(9)
start = time.monotonic()
try:
    with processes.named_losses('go on'):
        for item in Queue(range(100)):
            time.sleep(0.01)
        processes.gather(None)
except RunError as error:
    print(json.dumps([str(error), time.monotonic() - start]), flush=True)
os._exit(0)
"""


EARLY = """
import os, sys, time
from reflash_sr.errors import RunError, UserError
from reflash_sr.system import processes
from reflash_sr.system.work_queue import Queue

rank, _ = processes.start('pytorch', timeout=20)
try:
    Queue(range(3 + rank))
except UserError as error:
    print(error, flush=True)
if rank == int(sys.argv[1]):
    os._exit(9)
time.sleep(1)
try:
    with processes.named_losses('go on'):
        processes.gather(None)
except RunError as error:
    print(error, flush=True)
os._exit(0)
"""


def talk(script, dead):
    """What two processes said, of which one ends."""
    address = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(forked.free_port()), 'WORLD_SIZE': '2'}
    both = [subprocess.Popen([sys.executable, '-c', script, str(dead)], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, **address, 'RANK': str(rank)}) for rank in range(2)]
    said = [one.communicate(timeout=120)[0].splitlines() for one in both]
    assert [one.returncode for one in both] == [9 if rank == dead else 0 for rank in range(2)], said
    return said


@pytest.mark.slow
@pytest.mark.parametrize('dead', [0, 1])
def test_other_lists_and_a_process_that_ends_before_any_message_are_noticed(dead):
    said = talk(EARLY, dead)
    assert {lines[0] for lines in said} == {'the processes of this run see different files; give them one file system'}
    assert 'another process of this run ended or does not answer' in said[1 - dead][1]


@pytest.mark.slow
@pytest.mark.parametrize('dead', [0, 1])
def test_processes_share_what_there_is_to_do(dead):
    said = talk(SCRIPT, dead)
    shares, afters = json.loads(said[0][0])
    assert json.loads(said[1][0]) == [shares, afters]
    assert sorted(shares[0] + shares[1]) == list(range(12))
    assert len(shares[0]) == 1, 'the other did not wait for the slow one'
    assert 1 <= len(afters[0] + afters[1]) <= 2, 'both may have had one when it was closed'
    error, seconds = json.loads(said[1 - dead][1])
    assert error.startswith(f'process {1 - dead} of 2: another process of this run ended or does not answer; see what '
                            'that one said, and go on (')
    assert seconds < 60


def test_alone_all_is_done_here_and_counted():
    queue = Queue('abc')
    assert len(queue) == 3 and list(progress(queue, 'Doing', show=False)) == ['a', 'b', 'c'] and queue.taken == 3
    queue = Queue('abc')
    for item in queue:
        assert item == 'a'
        queue.close()
    assert list(queue) == []
