"""Runs the cells of a study as submitit jobs, on this machine or on SLURM."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import yaml

from reflash_sr.errors import UserError
from reflash_sr.options.registry import load_plugins
from reflash_sr.studies import grid as study
from reflash_sr.system.files import atomic_write
from reflash_sr.system.locks import lock
from reflash_sr.system.signals import Stopped
from reflash_sr.training import pipeline

# Parameters of submitit. SLURM stops jobs after timeout_min and requeues them; local jobs have no practical limit.
DEFAULTS = {'timeout_min': 60 * 24, 'name': 'study'}
FIXED = {'local': {'timeout_min': 60 * 24 * 365}}
REQUEUES = 1000
# Signals on which submitit requeues a job; it chooses one of them.
REQUEUING = [getattr(signal, name) for name in ('SIGUSR1', 'SIGUSR2') if hasattr(signal, name)]


@dataclass
class CellJob:
    """Trains one cell like ``basicsr train``, in its own process; continues an interrupted training.

    Attributes:
        folder: Folder of the study's results; holds locks and option files.
        environment: Environment variables to set first.
        wait: If another process trains the cell, whether to wait for it or to fail.
    """

    cell: study.Cell
    folder: Path
    environment: Mapping[str, str]
    wait: bool

    def __call__(self) -> str | None:
        """Train; returns an error message of one line, or None."""
        os.environ.update(self.environment)
        torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', torch.get_num_threads())))
        try:
            with _locked(self.folder / 'jobs' / f'{self.cell.experiment}.lock', self.wait):
                state = study.status(self.cell)
                if state != 'finished':
                    load_plugins()
                    with _saved_first():
                        pipeline.train(write_options(self.cell, self.folder), auto_resume=state == 'begun')
        except Stopped as stopped:
            return f'was stopped by {stopped} and is saved; start the study again to continue'
        except UserError as error:
            return str(error)
        except Exception as error:
            traceback.print_exc()
            return f'{type(error).__name__}: {error}'
        return None

    def checkpoint(self) -> Any:
        """The job that continues the training, for submitit to requeue after :func:`_saved_first`."""
        from submitit.helpers import DelayedSubmission
        return DelayedSubmission(self)


@contextlib.contextmanager
def _saved_first() -> Iterator[None]:
    """Inside the ``with``, the signals of a cluster let a training save itself before it ends.

    Left alone, submitit ignores SIGTERM (``scancel``), and on SIGUSR1 or SIGUSR2 (preemption, the end of the time) it
    requeues the job at once: either way, all since the last checkpoint is lost. Here, SIGTERM stops the training as in
    ``basicsr train``, and so does the other signal; then submitit requeues the job.
    """
    requeue = {number: handler for number in REQUEUING if callable(handler := signal.getsignal(number))}
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # there is nothing to save yet
            requeue[number](number, frame)
        else:
            received.append(number)
            signal.raise_signal(signal.SIGTERM)

    before = {number: signal.signal(number, stop) for number in requeue}
    before[signal.SIGTERM] = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # for StopSignals
    try:
        yield
    except Stopped:
        if received:
            requeue[received[0]](received[0], None)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(cells: Sequence[study.Cell], folder: Path, engine: str, at_once: int,
        cluster: Mapping[str, Any]) -> Iterator[tuple[study.Cell, str | None]]:
    """Run cells as submitit jobs.

    Args:
        cells: Cells to run, in this order.
        folder: Folder of the study's results; submitit's files and logs go to ``jobs`` inside.
        engine: submitit's executor: ``'local'`` or ``'slurm'``.
        at_once: Number of jobs at the same time.
        cluster: Further parameters of ``submitit.AutoExecutor``.

    Yields:
        Every cell when it has ended, and its error message, or None.

    Raises:
        UserError: submitit is not installed or rejects a parameter, or SLURM is missing or rejects the jobs.
    """
    executor = make_executor(folder, engine, at_once, cluster)
    from submitit.core.utils import FailedJobError
    from submitit.helpers import as_completed
    waiting, slots = list(cells), list(_slots(at_once))
    running: dict[Any, tuple[study.Cell, dict[str, str]]] = {}
    if engine == 'slurm':  # one job array; SLURM limits the number of simultaneous jobs
        try:
            with executor.batch():
                jobs = [executor.submit(CellJob(cell, folder, {}, wait=False)) for cell in cells]
        except FailedJobError as error:
            raise UserError(f'--engine slurm: SLURM refused the jobs: {error}') from error
        running, waiting = {job: (cell, {}) for job, cell in zip(jobs, cells)}, []
    while waiting or running:
        while waiting and slots:
            cell, slot = waiting.pop(0), slots.pop(0)
            running[executor.submit(CellJob(cell, folder, slot, wait=True))] = cell, slot
        job = next(as_completed(list(running), poll_frequency=1))
        cell, slot = running.pop(job)
        slots.append(slot)
        yield cell, _outcome(job)


def check_engine(engine: str, cluster: Mapping[str, Any]) -> None:
    """Make an executor as :func:`run` does, but in a temporary folder; raises as :func:`make_executor`."""
    with tempfile.TemporaryDirectory() as folder:
        make_executor(Path(folder), engine, 1, cluster)


def make_executor(folder: Path, engine: str, at_once: int, cluster: Mapping[str, Any]) -> Any:
    """Make submitit's executor, with a new folder for logs.

    Raises:
        UserError: submitit is not installed, rejects a parameter, finds no SLURM, or the system is Windows.
    """
    if not hasattr(signal, 'SIGCONT'):
        raise UserError('submitit, which runs the cells, does not run on Windows; start the study under WSL, or train '
                        'network by network with basicsr train')
    try:
        import submitit
    except ImportError as error:
        raise UserError("submitit, which runs the cells, is not installed; pip install 'reflash-sr[cluster]', or pip "
                        'install submitit') from error
    logs = folder / 'jobs' / datetime.datetime.now().strftime('%Y%m%d_%H%M%S')
    try:
        executor = submitit.AutoExecutor(logs, cluster=engine, slurm_max_num_timeout=REQUEUES)
        executor.update_parameters(
            **{**DEFAULTS, 'slurm_array_parallelism': at_once, **cluster, **FIXED.get(engine, {})})
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f'--engine {engine}: submitit: {error}') from error
    return executor


def write_options(cell: study.Cell, folder: Path) -> str:
    """Write the option file of a cell, which BasicSR copies into the experiment; returns its path."""
    path = folder / 'options' / f'{cell.experiment}.yml'
    with atomic_write(path, 'w') as file:
        yaml.safe_dump(cell.options, file, sort_keys=False, allow_unicode=True)
    return str(path)


def threads(at_once: int) -> int:
    """Number of threads for a cell on this machine, if ``at_once`` cells run at the same time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return max(1, cores // at_once)


def _slots(at_once: int) -> Iterator[dict[str, str]]:
    """Yield the environment of every simultaneous job on this machine: its share of the cores, and a GPU."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    gpus = visible.split(',') if visible else [str(i) for i in range(torch.cuda.device_count())]
    for i in range(at_once):
        yield {'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', str(threads(at_once))),
               'CUDA_VISIBLE_DEVICES': gpus[i % len(gpus)] if gpus else ''}


def _outcome(job: Any) -> str | None:
    from submitit.core.utils import UncompletedJobError
    try:
        return job.result()
    except UncompletedJobError:
        return f'its process ended without an error message, so it was probably killed; log: {job.paths.stderr}'
    except Exception as error:  # errors outside CellJob include submitit's traceback
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f'{lines[-1] if lines else type(error).__name__}; log: {job.paths.stderr}'


@contextlib.contextmanager
def _locked(path: Path, wait: bool) -> Iterator[None]:
    """Lock a cell until the process ends, because an earlier call of the tool may still train it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', encoding='utf-8') as file:
        try:
            lock(file.fileno(), wait)
        except BlockingIOError as error:
            raise UserError('another process is training it') from error
        yield
