"""What an update of the weights costs, optimiser and EMA, against BasicSR's way: python benchmarks/update_weights.py

Adam as BasicSR builds it and its loop over the names of all weights, against the fused Adam and one operation for the
EMA of all weights. RRDB 64×23 has 702 tensors. The two take turns, with the same gradients. Ends in ``name: value``
lines.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch

from reflash_sr.models.optimisers import Average, build_optimiser
from reflash_sr.system.devices import keep_freed_memory
from reflash_sr.weights.network_from_file import build_network

SECTION = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 23}
DECAY = 0.999


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--rounds', type=int, default=9, help='counted rounds (default: 9)')
    args = parser.parse_args()
    keep_freed_memory()  # as a training does
    torch.manual_seed(0)
    net = build_network(SECTION).to(args.device, memory_format=torch.channels_last)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    ways = {'stock': Stock(copy.deepcopy(net)), 'ours': Ours(copy.deepcopy(net))}
    for way in ways.values():
        for parameter, given in zip(way.net.parameters(), net.parameters()):
            parameter.grad = given.grad
    seconds = {(name, part): [] for name in ways for part in ('adam', 'ema')}
    for number in range(args.rounds + 2):
        for name, way in ways.items():
            adam, ema = seconds_of(way.optimiser.step, args.device), seconds_of(way.average, args.device)
            if number > 1:
                seconds[name, 'adam'].append(adam)
                seconds[name, 'ema'].append(ema)
    for (name, part), values in seconds.items():
        print(f'{name}_{part}_ms: {1000 * statistics.median(values):.2f}')
    both = {name: [sum(pair) for pair in zip(seconds[name, 'adam'], seconds[name, 'ema'])] for name in ways}
    for name, values in both.items():
        print(f'{name}_ms: {1000 * statistics.median(values):.2f}')
    print(f'megabytes: {4e-6 * sum(value.numel() for value in net.parameters()):.1f}')
    print(f"stock_over_ours: {statistics.median(a / b for a, b in zip(both['stock'], both['ours'])):.2f}")
    gaps = [float((a - b).detach().abs().max()) for a, b in zip(*(way.averaged.parameters() for way in ways.values()))]
    print(f'largest_difference: {max(gaps):.2g}')


def seconds_of(work: Callable[[], object], device: str) -> float:
    wait = torch.cuda.synchronize if device == 'cuda' else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


class Stock:
    """As BasicSR 1.4.2 does it."""

    def __init__(self, net: torch.nn.Module):
        self.net, self.averaged = net, copy.deepcopy(net)
        self.optimiser = torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.9, 0.99))

    def average(self) -> None:
        trained, averaged = dict(self.net.named_parameters()), dict(self.averaged.named_parameters())
        for name, value in averaged.items():
            value.data.mul_(DECAY).add_(trained[name].data, alpha=1 - DECAY)


class Ours(Stock):
    """As this package does it."""

    def __init__(self, net: torch.nn.Module):
        super().__init__(net)
        self.optimiser = build_optimiser('Adam', net.parameters(), lr=2e-4, betas=(0.9, 0.99))

        self.ema = Average(self.averaged, net)

    def average(self) -> None:
        self.ema.update(DECAY)


if __name__ == '__main__':
    main()
