"""What is said when the machine ends a worker process, or lets none start."""

import errno
import multiprocessing
import os
import signal

import pytest
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader, Dataset

from reflash_sr.errors import RunError, UserError
from reflash_sr.system import workers

IN_WORKER = 'Caught {} in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  …\n{}'
SHARED = r'a worker ran out of shared memory( \(/dev/shm has [\d,.]+ MB\))?; few, or give more \(docker run --shm-size'
MEMORY = 'a worker was killed or got no memory, as when main memory runs out; few, or free memory'
FILES = 'too many files are open; few, or raise the limit with ulimit -n'
SAYS = [  # of PyTorch, old and new, and of Python; what we make of it
    (RuntimeError, IN_WORKER.format('RuntimeError', 'RuntimeError: unable to allocate shared memory(shm) for file '
                                    '</torch_1_2_3>: No space left on device (28)'), SHARED),
    (RuntimeError, IN_WORKER.format('RuntimeError', 'RuntimeError: unable to write to file </torch_1_2>'), SHARED),
    (RuntimeError, 'unable to open shared memory object </torch_1_2_3> in read-write mode: No such file or directory '
                   '(2)', SHARED),
    (RuntimeError, 'unable to open shared memory object </torch_1_2_3> in read-write mode: Too many open files (24)',
     FILES),
    (RuntimeError, 'unable to mmap 4 bytes from file </torch_1_2_3>: Cannot allocate memory (12)', MEMORY),
    (RuntimeError, 'DataLoader worker (pid 1) is killed by signal: Bus error. It is possible that dataloader\'s '
                   'workers are out of shared memory. Please try to raise your shared memory limit.',
     'a worker ended with a bus error, as when shared memory runs out'),
    (RuntimeError, 'DataLoader worker (pid 1) is killed by signal: Killed. ', MEMORY),
    (RuntimeError, IN_WORKER.format('_ArrayMemoryError', 'numpy._ArrayMemoryError: Unable to allocate 1 GiB'), MEMORY),
    (OSError, (errno.ENOMEM, 'Cannot allocate memory'), MEMORY),
    (BlockingIOError, (errno.EAGAIN, 'Resource temporarily unavailable'), 'no further process can be started; few, '),
    (RuntimeError, 'received 0 items of ancdata', FILES),
    (RuntimeError, 'Too many open files. Communication with the workers is no longer possible.', FILES),
    (OSError, IN_WORKER.format('OSError', "OSError: [Errno 24] Too many open files: 'a.png'"), FILES),
    (OSError, IN_WORKER.format('OSError', "OSError: [Errno 5] Input/output error: 'a.png'"),
     r"a worker cannot go on: \[Errno 5\] Input/output error: 'a.png'; mend what it names"),
    (RuntimeError, 'DataLoader worker (pid 1) is killed by signal: Segmentation fault. ',
     'a worker was ended by a signal: Segmentation fault; few, or look at the lines above'),
    (RuntimeError, 'DataLoader worker (pid(s) 1, 2) exited unexpectedly', 'a worker was ended, most often because'),
    (RuntimeError, 'A process in the process pool was terminated abruptly while the future was running or pending.',
     'a worker was ended, most often because main memory ran out'),
    (RuntimeError, 'A child process terminated abruptly, the process pool is not usable anymore',
     'a worker was ended, most often because main memory ran out'),
]
OTHERS = [ValueError('signal: too weak'), RuntimeError('CUDA out of memory'), KeyError('lq'), UserError('a: b'),
          OSError(errno.ENOSPC, 'No space left on device', 'a.png'), RuntimeError('out of resource: shared memory'),
          BlockingIOError(errno.EAGAIN, 'write could not complete without blocking'), MemoryError(),
          RuntimeError(IN_WORKER.format('ValueError', 'ValueError: of a dataset'))]  # yapf: disable


@pytest.mark.parametrize(('kind', 'says', 'means'), SAYS)
def test_every_way_a_worker_ends_is_one_line(kind, says, means):
    with pytest.raises(RunError, match=f'^--n: {means}.*\\. Again$') as caught, \
            workers.named_ends('--n', 'few', 'Again'):
        raise kind(*says) if isinstance(says, tuple) else kind(says)
    assert '\n' not in str(caught.value)


class Raises(Dataset):
    """A dataset that meets a missing file, and raises an error of its own."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, place):
        try:
            os.stat('/no/such/Cannot allocate memory')
        except OSError:
            raise self.error  # noqa: B904  (so that both tracebacks are printed)


OWN = [EOFError('Ran out of input'), ConnectionResetError('by the server of the images'), ValueError('no label'),
       RuntimeError('the list is older: Too many open files'), RuntimeError('ffmpeg was killed by signal: Killed'),
       ValueError('[Errno 7] is no mode'), ValueError('two lines,\nin DataLoader worker: MemoryError')]


@pytest.mark.parametrize('error', OWN, ids=repr)
def test_the_traceback_of_a_dataset_is_not_hidden(error):
    with pytest.raises(type(error)) as caught, workers.named_ends('--n', 'few', 'Again'):
        Raises(error)[0]
    assert caught.value is error
    with pytest.raises(type(error), match=r'^Caught'), workers.named_ends('--n', 'few', 'Again'):
        try:
            Raises(error)[0]
        except type(error):
            in_worker = ExceptionWrapper(where='in DataLoader worker process 0')
        in_worker.reraise()


def test_the_traceback_of_a_broken_file_in_a_worker_is_not_hidden():
    with pytest.raises(EOFError, match=r'^Caught'), workers.named_ends('--n', 'few', 'Again'):
        next(iter(DataLoader(Raises(EOFError('Ran out of input')), num_workers=1)))


@pytest.mark.parametrize('error', OTHERS, ids=repr)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, workers.named_ends('--n', 'few', 'Again'):
        raise error
    assert caught.value is error


class Dies(Dataset):
    """A dataset that ends its worker by a signal."""

    def __init__(self, number):
        self.number = number

    def __len__(self):
        return 4

    def __getitem__(self, place):
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(('method', 'number', 'means'), [
    ('fork', 'SIGBUS', 'bus error, as when shared memory runs out'),
    ('fork', 'SIGKILL', 'main memory runs out'),
    ('fork', 'SIGSEGV', 'ended by a signal: Segmentation'),
    ('spawn', 'SIGKILL', 'main memory runs out'),
    pytest.param('forkserver', 'SIGBUS', 'bus error, as when shared memory runs out', marks=pytest.mark.slow),
])
def test_a_worker_that_really_dies(method, number, means):
    if method not in multiprocessing.get_all_start_methods():
        method = 'spawn'  # Windows has no other, and none of the signals but this
        number, means = 'SIGTERM', 'a worker was ended'
    loader = DataLoader(Dies(getattr(signal, number)), num_workers=1, multiprocessing_context=method)
    with pytest.raises(RunError, match=means), workers.named_ends('--n', 'few', 'Again'):
        next(iter(loader))


def test_no_shared_memory_for_locks_is_said_before_the_start(monkeypatch):
    workers.check_start('--workers')

    def none():
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(multiprocessing, 'Lock', none)
    with pytest.raises(UserError, match=r'^--workers: no worker can start here: .* its locks \(No space left on device'
                                        r': /dev/shm\); few, or give more \(docker run --shm-size') as caught:
        workers.check_start('--workers', 'few')
    assert caught.value.exit_status == 2
