"""What dropout costs in a training step: python benchmarks/dropout_overhead.py

SRResNet 64×16, 16 patches of 32×32, forward and backward: without dropout and with each kind of it, in turn. Blend and
schedule of Adaptive Dropout against plain dropout at the same places; Simple-Align, which trains on twice as many
patches. Ends in ``name: value`` lines.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.dropout import hooks_of
from reflash_sr.models.training_losses import alignment, run_network
from reflash_sr.system.devices import keep_freed_memory

ADAPTIVE = {'dropout_p': 0.5, 'dropout_position': ['all-part', 'last-conv'], 'dropout_stage': 'first'}
WAYS = {
    'none': {'dropout_p': 0},
    'last_conv_channel': {'dropout_p': 0.7},
    'last_conv_element': {'dropout_p': 0.7, 'dropout_dim': 'element'},
    'all_part_channel': {'dropout_p': 0.1, 'dropout_position': 'all-part'},
    'adaptive_plain': ADAPTIVE,
    'adaptive': {**ADAPTIVE, 'dropout_blend': 0.3, 'dropout_schedule': {'type': 'layers', 'every': 20000}},
    'simple_align': {'dropout_p': 0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--steps', type=int, default=15, help='counted steps of each kind (default: 15)')
    parser.add_argument('--amp', choices=['bf16'], help='mixed precision')
    args = parser.parse_args()
    keep_freed_memory()  # as basicsr train does
    torch.manual_seed(0)
    memory_format = torch.channels_last
    nets = {name: DropoutMSRResNet(**kwargs).to(args.device, memory_format=memory_format).train()
            for name, kwargs in WAYS.items()}
    lq = torch.rand(16, 3, 32, 32, device=args.device).to(memory_format=memory_format)
    hooks = {name: hooks_of(net) for name, net in nets.items()}
    aligned = alignment({'align_opt': {'type': 'AlignLoss'}}, nets['simple_align'])
    wait = torch.cuda.synchronize if args.device == 'cuda' else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in nets}
    for step in range(args.steps + 2):  # the first two warm up
        for name, net in nets.items():
            net.zero_grad()
            wait()
            start = time.perf_counter()
            for hook in hooks[name]:  # as ReflashSRModel does
                hook.go_to(step)
            align = aligned if name == 'simple_align' else None
            with torch.autocast(args.device, torch.bfloat16, enabled=args.amp == 'bf16'):
                output, losses = run_network(net, lq if align is None else torch.cat([lq, lq]), align)
            (output.float().mean() + sum(losses.values())).backward()
            wait()
            if step >= 2:
                seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values, seconds['none']))
        print(f'{name}_step_s: {statistics.median(values):.4f}')
        print(f'{name}_over_none: {ratio:.4f}')
    plain, blended = seconds['adaptive_plain'], seconds['adaptive']
    print(f'adaptive_over_plain: {statistics.median(a / b for a, b in zip(blended, plain)):.4f}')


if __name__ == '__main__':
    main()
