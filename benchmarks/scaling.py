"""What stops scaling first, more processes or larger batches: python benchmarks/scaling.py

A step of SRResNet 64×16 in one process that uses all cores (or one GPU), and in ``--processes`` that share batch and
cores; and what one process can take over from its loader, with samples that are there already, in batches of 16 to
1,024. Ends in ``name: value`` lines.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch
from torch.utils.data import DataLoader, Dataset

from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.system.devices import has_bf16, keep_freed_memory

BATCH, LQ, SCALE = 16, 32, 4
BATCHES = (16, 64, 256, 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--processes', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=3, help='turns of each way (default: 3)')
    parser.add_argument('--steps', type=int, default=5, help='counted steps in a turn (default: 5)')
    parser.add_argument('--samples', type=int, default=4096, help='through the loader, for each batch size')
    parser.add_argument('--serve', action='store_true', help=argparse.SUPPRESS)  # one process of one way
    args = parser.parse_args()
    if args.serve:
        serve(args.device, args.steps)
        return
    seconds: dict[int, list[float]] = {1: [], args.processes: []}
    for _ in range(args.rounds):
        for processes in seconds:
            seconds[processes] += steps_of(processes, args)
    for processes, values in seconds.items():
        print(f'processes_{processes}_step_s: {statistics.median(values):.4f}')
    one, many = (statistics.median(values) for values in seconds.values())
    print(f'one_over_many: {one / many:.3f}')
    for batch in BATCHES:
        found = [through_loader(batch, args.samples) for _ in range(args.rounds)]
        print(f'loader_batch_{batch}_per_second: {statistics.median(found):.0f}')
        print(f'batch_{batch}_mb: {batch * (1 + SCALE**2) * 3 * LQ**2 * 4 / 1e6:.1f}')


def steps_of(processes: int, args: argparse.Namespace) -> list[float]:
    """Seconds of the steps of ``processes`` that share a batch and the cores."""
    threads = max((os.cpu_count() or 1) // processes, 1)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(processes),
               __file__, '--serve', '--device', args.device, '--steps', str(args.steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          env=os.environ | {'OMP_NUM_THREADS': str(threads)})
    return json.loads(done.stdout.splitlines()[-1])


def serve(device: str, steps: int) -> None:
    """Do steps on this process's share of a batch; the first one prints what they took."""
    torch.distributed.init_process_group('gloo' if device == 'cpu' else 'nccl')
    rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    where = torch.device(device, rank) if device == 'cuda' else torch.device(device)
    keep_freed_memory()
    torch.manual_seed(0)
    net = DropoutMSRResNet(dropout_p=0.7).to(where, memory_format=torch.channels_last).train()
    net = torch.nn.parallel.DistributedDataParallel(net)
    optimiser = torch.optim.Adam(net.parameters(), fused=True)
    lq = torch.rand(BATCH // processes, 3, LQ, LQ, device=where).to(memory_format=torch.channels_last)
    seconds = []
    for step in range(steps + 3):  # the first three warm up
        torch.distributed.barrier()
        begin = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=has_bf16(where)):
            loss = net(lq).float().abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if device == 'cuda':
            torch.cuda.synchronize()
        torch.distributed.barrier()
        if step >= 3:
            seconds.append(time.perf_counter() - begin)
    if rank == 0:
        print(json.dumps(seconds))
    torch.distributed.destroy_process_group()


class Ready(Dataset):
    """Samples that cost nothing: what is left is collating them, and handing them over."""

    def __init__(self, count: int):
        self.count = count
        self.sample = {'lq': torch.rand(3, LQ, LQ), 'gt': torch.rand(3, SCALE * LQ, SCALE * LQ)}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.sample


def through_loader(batch: int, samples: int) -> float:
    """Samples a second from one worker to this process, which touches each batch."""
    batches = iter(DataLoader(Ready(samples + 3 * batch), batch, num_workers=1))
    for _ in range(3):  # the worker starts, and works ahead
        next(batches)
    begin = time.perf_counter()
    count = sum(len(one['gt']) for one in batches if one['gt'].sum() > 0)
    return count / (time.perf_counter() - begin)


if __name__ == '__main__':
    main()
