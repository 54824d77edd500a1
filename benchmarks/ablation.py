"""What channel ablation and saliency cost, and what the plain way costs: python benchmarks/ablation.py

SRResNet 64×16, one image; and networks whose last convolution a pixel shuffle follows. The plain way runs the network
once for each channel, with a hook that changes the features, or once for each layer (saliency). Ours and the plain way
take turns; PSNRs are counted in both. Ends in ``name: value`` lines.
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
from reflash_sr.analysis.saliency import channel_saliency
from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.positions import Site
from reflash_sr.system.devices import keep_freed_memory
from reflash_sr.weights.network_from_file import build_network

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
    parser.add_argument('--every', type=int, default=16,
                        help='in all layers, the plain way removes one channel in so many, and is counted for all '
                        '(default: 16)')
    parser.add_argument('--skip', nargs='*', default=[], choices=['closed', 'tails', 'replay', 'all', 'saliency'])
    args = parser.parse_args()
    keep_freed_memory()  # as the tools do
    torch.manual_seed(0)
    net = DropoutMSRResNet(num_feat=args.features, num_block=args.blocks, dropout_p=0).eval().requires_grad_(False)
    net.to(args.device, memory_format=torch.channels_last)
    clock = Clock(args.device)
    with torch.no_grad():
        if 'closed' not in args.skip:
            closed_form(net, *image(args.size, args.device), args.rounds, clock)
        for name, build in TAILS.items() if 'tails' not in args.skip else ():
            other = build().eval().requires_grad_(False).to(args.device, memory_format=torch.channels_last)
            closed_form(other, *image(args.size, args.device), args.rounds, clock, f'{name}_')
        if 'replay' not in args.skip:
            replays(net, image(args.size, args.device)[0], args.rounds, args.batch, clock)
        if 'all' not in args.skip:
            all_layers(net, *image(args.all_size, args.device), args.batch, args.every, clock)
    if 'saliency' not in args.skip:
        saliency(net, image(args.all_size, args.device)[0], args.rounds, clock)


class RFDNLike(nn.Module):
    """Distillation blocks, and a pixel shuffle after the last convolution, as RFDN has them."""

    class Block(nn.Module):

        def __init__(self, features: int = 50):
            super().__init__()
            self.distil = nn.ModuleList(nn.Conv2d(features, features // 2, 1) for _ in range(3))
            self.refine = nn.ModuleList(nn.Conv2d(features, features, 3, 1, 1) for _ in range(3))
            self.end = nn.Conv2d(features, features // 2, 3, 1, 1)
            self.fuse = nn.Conv2d(2 * features, features, 1)
            self.act = nn.LeakyReLU(0.05)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kept, left = [], x
            for distil, refine in zip(self.distil, self.refine):
                kept.append(self.act(distil(left)))
                left = self.act(refine(left) + left)
            return self.fuse(torch.cat([*kept, self.act(self.end(left))], 1)) + x

    def __init__(self, features: int = 50, blocks: int = 4):
        super().__init__()
        self.first = nn.Conv2d(3, features, 3, 1, 1)
        self.blocks = nn.ModuleList(self.Block(features) for _ in range(blocks))
        self.fuse = nn.Conv2d(blocks * features, features, 1)
        self.refine = nn.Conv2d(features, features, 3, 1, 1)
        self.upsample = nn.Sequential(nn.Conv2d(features, 48, 3, 1, 1), nn.PixelShuffle(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = out = self.first(x)
        kept = []
        for block in self.blocks:
            out = block(out)
            kept.append(out)
        return self.upsample(self.refine(self.fuse(torch.cat(kept, 1))) + first)


TAILS = {  # networks whose last convolution other linear operations follow
    'rfdn_like': RFDNLike,
    'edsr': lambda: build_network({'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'upscale': 4}),
    'compact': lambda: build_network({'type': 'SRVGGNetCompact', 'upscale': 4}),
}


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


def closed_form(net: nn.Module, lq: torch.Tensor, gt: np.ndarray, rounds: int, clock: Clock, prefix: str = '') -> None:
    """The input of the last convolution: each channel alone, and all of them in turn."""
    last = find_layer(net, 'last')  # once for all images, in either way
    count = Ablation(net, lq, gt, last).channels
    alone = np.eye(count, dtype=bool)
    in_turn = np.tri(count, dtype=bool)
    ways = {
        'forward': lambda: net(lq),
        'closed_single': lambda: Ablation(net, lq, gt, last).single(),
        'plain_single': lambda: plain(net, lq, gt, last, alone),
        'closed_in_turn': lambda: Ablation(net, lq, gt, last).in_turn(range(count)),
        'plain_in_turn': lambda: plain(net, lq, gt, last, in_turn),
    }
    for name in ('forward', 'closed_single', 'closed_in_turn'):
        ways[name]()  # warm up
    seconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(clock(way))
    for name, values in seconds.items():
        print(f'{prefix}{name}_s: {statistics.median(values):.4f}')
    for kind in ('single', 'in_turn'):
        ratio = statistics.median(b / a for a, b in zip(seconds[f'closed_{kind}'], seconds[f'plain_{kind}']))
        print(f'{prefix}plain_over_closed_{kind}: {ratio:.1f}')
    ours, theirs = ways['closed_single'](), ways['plain_single']()
    print(f'{prefix}largest_difference_db: {np.abs(ours - theirs).max():.2g}')


def all_layers(net: nn.Module, lq: torch.Tensor, gt: np.ndarray, batch: int | None, every: int, clock: Clock) -> None:
    """Each channel of each of the paper's layers alone."""
    layers = list(study_layers(net))
    ours = theirs = 0.0
    for layer in layers:
        count = Ablation(net, lq, gt, layer, batch).channels
        rows = np.eye(count, dtype=bool)[::every]
        ours += clock(lambda layer=layer: Ablation(net, lq, gt, layer, batch).single())
        theirs += clock(lambda layer=layer, rows=rows: plain(net, lq, gt, layer, rows)) * count / len(rows)
    print(f'all_layers: {len(layers)}')
    print(f'all_layers_s: {ours:.2f}')
    print(f'plain_all_layers_s: {theirs:.2f}')
    print(f'plain_over_ours_all_layers: {theirs / ours:.2f}')


def saliency(net: nn.Module, lq: torch.Tensor, rounds: int, clock: Clock) -> None:
    """Saliency maps of the paper's layers."""
    layers = list(study_layers(net))
    ways = {'saliency': lambda: channel_saliency(net, lq, layers),
            'plain_saliency': lambda: [channel_saliency(net, lq, [layer]) for layer in layers]}
    ways['saliency']()  # warm up
    seconds = {name: [clock(way) for _ in range(rounds)] for name, way in ways.items()}
    for name, values in seconds.items():
        print(f'{name}_s: {statistics.median(values):.3f}')
    ratio = statistics.median(b / a for a, b in zip(*seconds.values()))
    print(f'plain_over_ours_saliency: {ratio:.1f}')


def plain(net: nn.Module, lq: torch.Tensor, gt: np.ndarray, layer: str | Site, removed: np.ndarray) -> np.ndarray:
    """Run the network once for each row of ``removed``, (K, C)."""
    path = layer if isinstance(layer, str) else f'{layer.side} of {layer.module}'
    with tap(net, path) as seen:
        net(lq)
    strength = seen[path].abs().sum((0, 2, 3))
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
