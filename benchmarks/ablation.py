"""What channel ablation costs, and what the plain way costs: python benchmarks/ablation.py

SRResNet 64×16, one image. The plain way runs the network once for each channel, with a hook that changes the
features. Ours and the plain way take turns; PSNRs are counted in both. Ends in ``name: value`` lines.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from reflash_sr.analysis.ablation import Ablation
from reflash_sr.analysis.features import find_layer, study_layers, tap
from reflash_sr.analysis.psnr import Target
from reflash_sr.analysis.replay_from_layer import Replay
from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.system.devices import keep_freed_memory

SHARES = {'B8': 'body.7', 'B15': 'body.14', 'hr': 'conv_hr'}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--rounds', type=int, default=3, help='counted rounds (default: 3)')
    parser.add_argument('--features', type=int, default=64, help='channels (default: 64)')
    parser.add_argument('--blocks', type=int, default=16, help='residual blocks (default: 16)')
    parser.add_argument('--size', type=int, default=64, help='px of the LQ image (default: 64)')
    parser.add_argument('--all_size', type=int, default=72, help='the same, where all layers are ablated (default: 72)')
    parser.add_argument('--batch', type=int, help='variants at a time in a replay (default: what memory allows)')
    parser.add_argument('--skip', nargs='*', default=[], choices=['closed', 'replay', 'all'])
    args = parser.parse_args()
    keep_freed_memory()  # as the tools do
    torch.manual_seed(0)
    net = DropoutMSRResNet(num_feat=args.features, num_block=args.blocks, dropout_p=0).eval().requires_grad_(False)
    net.to(args.device, memory_format=torch.channels_last)
    clock = Clock(args.device)
    with torch.no_grad():
        if 'closed' not in args.skip:
            closed_form(net, *image(args.size, args.device), args.rounds, clock)
        if 'replay' not in args.skip:
            replays(net, image(args.size, args.device)[0], args.rounds, args.batch, clock)
        if 'all' not in args.skip:
            lq, gt = image(args.all_size, args.device)
            layers = list(study_layers(net))
            seconds = clock(lambda: [Ablation(net, lq, gt, layer, args.batch).single() for layer in layers])
            print(f'all_layers: {len(layers)}')
            print(f'all_layers_s: {seconds:.2f}')


class Clock:
    """Seconds that something takes, on a CPU or a GPU."""

    def __init__(self, device: str):
        self.wait = torch.cuda.synchronize if device == 'cuda' else lambda: None

    def __call__(self, work: Callable[[], object]) -> float:
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start


def image(size: int, device: str) -> tuple[torch.Tensor, np.ndarray]:
    lq = torch.rand(1, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    return lq, np.random.default_rng(0).integers(0, 256, (4 * size, 4 * size, 3), dtype=np.uint8)


def closed_form(net: nn.Module, lq: torch.Tensor, gt: np.ndarray, rounds: int, clock: Clock) -> None:
    """The input of the last convolution: each channel alone, and all of them in turn."""
    count = net.conv_last.in_channels
    alone = np.eye(count, dtype=bool)
    in_turn = np.tri(count, dtype=bool)
    ways = {
        'forward': lambda: net(lq),
        'closed_single': lambda: Ablation(net, lq, gt, 'last').single(),
        'plain_single': lambda: plain(net, lq, gt, 'last', alone),
        'closed_in_turn': lambda: Ablation(net, lq, gt, 'last').in_turn(range(count)),
        'plain_in_turn': lambda: plain(net, lq, gt, 'last', in_turn),
    }
    for name in ('forward', 'closed_single', 'closed_in_turn'):
        ways[name]()  # warm up
    seconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(clock(way))
    for name, values in seconds.items():
        print(f'{name}_s: {statistics.median(values):.4f}')
    for kind in ('single', 'in_turn'):
        ratio = statistics.median(b / a for a, b in zip(seconds[f'closed_{kind}'], seconds[f'plain_{kind}']))
        print(f'plain_over_closed_{kind}: {ratio:.1f}')
    ours, theirs = ways['closed_single'](), ways['plain_single']()
    print(f'largest_difference_db: {np.abs(ours - theirs).max():.2g}')


def plain(net: nn.Module, lq: torch.Tensor, gt: np.ndarray, layer: str, removed: np.ndarray) -> np.ndarray:
    """Run the network once for each row of ``removed``, (K, C)."""
    with tap(net, layer) as seen:
        net(lq)
    strength = seen[layer].abs().sum((0, 2, 3))
    target, site = Target(gt, lq.device), find_layer(net, layer)
    psnr = []
    for row in torch.from_numpy(removed).to(lq.device):
        left = strength[~row].sum()
        factor = strength.sum() / left if left else 1
        scales = ((~row) * factor).view(1, -1, 1, 1)
        with changed(net.get_submodule(site.module), site.side, scales):
            psnr.append(target.psnr(net(lq))[0])
    return np.array(psnr)


@contextmanager
def changed(module: nn.Module, side: str, scales: torch.Tensor) -> Iterator[None]:
    if side == 'input':
        handle = module.register_forward_pre_hook(lambda module, args: (args[0] * scales, *args[1:]))
    else:
        handle = module.register_forward_hook(lambda module, args, output: output * scales)
    try:
        yield
    finally:
        handle.remove()


def replays(net: nn.Module, lq: torch.Tensor, rounds: int, batch: int | None, clock: Clock) -> None:
    """What one variant costs by replay, as a share of the network, against the share of the multiply-adds."""
    count = batch or 2
    layers = {name: module for name, module in SHARES.items() if name in study_layers(net)}
    replay = {layer: Replay(net, lq, layer) for layer in layers}
    ways: dict[str, Callable[[], object]] = {'network': lambda: net(lq.expand(count, -1, -1, -1))}
    for layer, one in replay.items():
        ones = one.features.new_ones(count, one.features.shape[1], 1, 1)
        ways[layer] = lambda one=one, ones=ones: one(one.features * ones, overwrite=True)
    seconds = {name: [] for name in ways}
    for number in range(2 * rounds + 1):
        for name, way in ways.items():
            value = clock(way)
            if number:
                seconds[name].append(value)
    for layer, module in layers.items():
        cost = statistics.median(a / b for a, b in zip(seconds[layer], seconds['network']))
        share = macs_after(net, lq, module)
        print(f'replay_{layer}_cost: {cost:.3f}')
        print(f'replay_{layer}_macs: {share:.3f}')
        print(f'replay_{layer}_over_macs: {cost / share:.3f}')


def macs_after(net: nn.Module, lq: torch.Tensor, module: str) -> float:
    """The share of the network's multiply-adds that a module does, if it is conv_hr, and what comes after it."""
    order: list[tuple[str, int]] = []
    handles = [one.register_forward_hook(lambda conv, args, output, name=name: order.append(
        (name, output[0].numel() * conv.weight[0].numel()))) for name, one in net.named_modules()
        if isinstance(one, nn.Conv2d)]
    net(lq)
    for handle in handles:
        handle.remove()
    last = max(place for place, (name, _) in enumerate(order) if name == module or name.startswith(f'{module}.'))
    after = order[last if module == 'conv_hr' else last + 1:]
    return sum(macs for _, macs in after) / sum(macs for _, macs in order)


if __name__ == '__main__':
    main()
