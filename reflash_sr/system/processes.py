"""The processes of a distributed run: start, exchange values, stop."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from basicsr.utils.dist_util import get_dist_info, init_dist
from torch import distributed

from reflash_sr.errors import RunError, UserError

# Parts of the messages of gloo, NCCL and torch when another process has ended.
LOST = ('Connection closed', 'Connection reset', 'Connection refused', 'Broken pipe', 'Timed out waiting',
        'ncclRemoteError', 'Connection was likely closed', 'communicator was aborted', 'Socket closed', 'Read timeout',
        'Write timeout', 'Application timeout')
LAUNCHERS = ('none', 'pytorch', 'slurm')
PATIENCE = datetime.timedelta(days=3650)  # for what may take any time; that a process ended is noticed at once
Found = TypeVar('Found')
_patient: dict[object, distributed.ProcessGroup] = {}  # by the default group, of which there is one at a time


def start(launcher: str, backend: str = 'nccl', command: str = '-m reflash_sr', timeout: float | None = None,
          cuda: bool = True, **dist_params: object) -> tuple[int, int]:
    """Join the process group of a launcher; returns rank and number of processes.

    Without CUDA devices, or without NCCL as on Windows, gloo is used.

    Args:
        launcher: One of :data:`LAUNCHERS`.
        backend: For CUDA devices.
        command: Arguments of torchrun in the error message.
        timeout: Seconds after which a process that does not answer counts as lost (default: 600). A process that ended
            is noticed at once.
        cuda: Whether the run may use CUDA devices.
        **dist_params: For BasicSR's ``init_dist`` with SLURM.

    Raises:
        UserError: The launcher's environment variables or GPUs are missing, or ``timeout`` is given with SLURM.
    """
    if launcher == 'pytorch':
        if 'RANK' not in os.environ:
            raise UserError(f'--launcher pytorch: RANK is not set; start with torchrun --nproc_per_node N {command}')
        cuda = cuda and torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count())
        if not cuda or (backend == 'nccl' and not distributed.is_nccl_available()):
            backend = 'gloo'
        distributed.init_process_group(backend, timeout=datetime.timedelta(seconds=timeout or 600))
    elif launcher == 'slurm':
        if timeout is not None:
            raise UserError('dist_params: timeout: is for --launcher pytorch alone; remove it')
        if 'SLURM_PROCID' not in os.environ or not torch.cuda.is_available():
            raise UserError('--launcher slurm: needs srun and GPUs; without them use --launcher pytorch or none')
        init_dist(launcher, backend=backend, **dist_params)
    if distributed.is_initialized():
        _patient_group()  # while all processes are there: one that ended before would be waited for
    return get_dist_info()


def stop() -> None:
    """Wait for all processes, then leave the group: a process that ends earlier would break the others' messages."""
    if distributed.is_initialized():
        gather(None)
        distributed.destroy_process_group()
        _patient.clear()


def rank() -> int:
    """Rank of this process in the run, from 0."""
    return get_dist_info()[0]


def world_size() -> int:
    """Number of processes of the run."""
    return get_dist_info()[1]


def gather(found: Found) -> list[Found]:
    """Collect one object per process, in the order of ranks, on every rank; waits as long as the slowest works."""
    if not distributed.is_initialized():
        return [found]
    parts: list = [None] * world_size()
    distributed.all_gather_object(parts, found, group=_patient_group())
    return parts


def on_rank_0(work: Callable[[], Found]) -> Found:
    """Call ``work`` on rank 0 alone; its result is returned, or its error raised, on every rank, which waits for it.

    Raises:
        UserError: As ``work`` does.
        RunError: On the other ranks, for an error of any other class.
    """
    outcome: list = [None, None]  # result, error
    unforeseen: Exception | None = None
    if rank() == 0:
        try:
            outcome[0] = work()
        except UserError as error:
            outcome[1] = error
        except Exception as error:
            unforeseen = error
            what = f'{type(error).__name__}: {error}'
            outcome[1] = RunError(f'process 0 of {world_size()} ended with {what}; see what it said')
    if distributed.is_initialized():
        distributed.broadcast_object_list(outcome, group=_patient_group())
    if unforeseen is not None:
        raise unforeseen
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def _patient_group() -> distributed.ProcessGroup:
    """A group over which processes wait for each other as long as they live; all of them make it together."""
    default = distributed.group.WORLD
    if default not in _patient:
        _patient.clear()
        _patient[default] = distributed.new_group(backend='gloo', timeout=PATIENCE)  # type: ignore[assignment]
    return _patient[default]


def control_group() -> distributed.ProcessGroup | None:
    """Create a group that exchanges numbers on the CPU, without waiting for a GPU; None is the default group."""
    if not distributed.is_initialized() or distributed.get_backend() == 'gloo':
        return None
    return distributed.new_group(backend='gloo')  # type: ignore[return-value]  # all ranks are members


def largest(number: int, group: distributed.ProcessGroup | None = None) -> int:
    """The maximum of ``number`` over all processes, on every rank."""
    if not distributed.is_initialized():
        return number
    shared = torch.tensor([number])
    distributed.all_reduce(shared, distributed.ReduceOp.MAX, group=group)
    return int(shared)


@contextlib.contextmanager
def named_losses(advice: str = 'continue with --auto_resume') -> Iterator[None]:
    """Replace torch's error when another process has ended by one line, which ends with ``advice``.

    Raises:
        RunError: Another process of the run ended or does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        if not distributed.is_initialized() or not any(sign in str(error) for sign in LOST):
            raise
        raise RunError(f'process {rank()} of {world_size()}: another process of this run ended or does not answer; see '
                       f'what that one said, and {advice} ({str(error).splitlines()[0]})') from error
