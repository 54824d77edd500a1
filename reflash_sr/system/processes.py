"""Several processes of one run: starting, gathering, leaving together."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from basicsr.utils.dist_util import get_dist_info, init_dist

from reflash_sr.errors import RunError, UserError

# What gloo, NCCL and torch say when another process is gone.
LOST = ('Connection closed', 'Connection reset', 'Connection refused', 'Broken pipe', 'Timed out waiting',
        'ncclRemoteError', 'communicator was aborted', 'Socket closed', 'Read timeout', 'Write timeout',
        'Application timeout')
LAUNCHERS = ('none', 'pytorch', 'slurm')
Found = TypeVar('Found')


def start(launcher: str, backend: str = 'nccl', command: str = '-m reflash_sr', timeout: float | None = None,
          cuda: bool = True, **dist_params: object) -> tuple[int, int]:
    """Join the process group that a launcher prepared; gloo where there is no CUDA device.

    Args:
        launcher: One of :data:`LAUNCHERS`.
        backend: For CUDA devices.
        command: What torchrun is to start, for the message.
        timeout: Seconds after which a process that does not answer counts as lost (default: 600). One that ended is
            noticed at once.
        cuda: Whether the run may use CUDA devices.
        **dist_params: Handed to BasicSR's ``init_dist`` for SLURM.

    Returns:
        This process's rank, and the number of processes.

    Raises:
        UserError: The launcher did not prepare what is needed.
    """
    if launcher == 'pytorch':
        if 'RANK' not in os.environ:
            raise UserError(f'--launcher pytorch: RANK is not set; start with torchrun --nproc_per_node N {command}')
        cuda = cuda and torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count())
        torch.distributed.init_process_group(backend if cuda else 'gloo',
                                             timeout=datetime.timedelta(seconds=timeout or 600))
    elif launcher == 'slurm':
        if timeout is not None:
            raise UserError('dist_params: timeout: is for --launcher pytorch alone; leave it away')
        if 'SLURM_PROCID' not in os.environ or not torch.cuda.is_available():
            raise UserError('--launcher slurm: needs srun and GPUs; without them use --launcher pytorch or none')
        init_dist(launcher, backend=backend, **dist_params)
    return get_dist_info()


def gather(found: Found) -> list[Found]:
    """Collect one object of each process, by rank, in all of them."""
    if not torch.distributed.is_initialized():
        return [found]
    parts: list = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, found)
    return parts


def stop() -> None:
    """Leave the process group together: one that just ends may abort while another still talks to it."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def rank() -> int:
    """Place of this process among those of the run, from 0."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes the run has."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def on_rank_0(work: Callable[[], Found]) -> Found:
    """Do something in the first process alone; all get what came of it, a mistake of the user's included."""
    outcome: list = [None]
    if rank() == 0:
        try:
            outcome = [work()]
        except UserError as error:
            outcome = [error]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(outcome)
    if isinstance(outcome[0], UserError):
        raise outcome[0]
    return outcome[0]


def control_group() -> object | None:
    """Make a group for small numbers on the CPU, so that agreeing waits for no GPU; None is the default group."""
    if not torch.distributed.is_initialized() or torch.distributed.get_backend() == 'gloo':
        return None
    return torch.distributed.new_group(backend='gloo')


def largest(number: int, group: object | None = None) -> int:
    """The largest of one number of each process, in all of them."""
    if not torch.distributed.is_initialized():
        return number
    shared = torch.tensor([number])
    torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX, group=group)
    return int(shared)


@contextlib.contextmanager
def named_losses() -> Iterator[None]:
    """Say in one line that another process is gone, where torch raises an error of its own.

    Raises:
        RunError: Another process of the run ended or does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        if not torch.distributed.is_initialized() or not any(sign in str(error) for sign in LOST):
            raise
        raise RunError(f'process {rank()} of {world_size()}: another process of this run ended or does not answer; see '
                       f'what that one said, and continue with --auto_resume ({str(error).splitlines()[0]})') from error
