"""What a checkpoint costs: python benchmarks/checkpoint_cost.py

Saves weights, EMA weights and training state of SRResNet 64×16 (checksummed, flushed to the disk, renamed) and takes
training steps (16 patches of 32×32), in turn; the share is that of a run with the paper's save_checkpoint_freq, 5000.
Ends in ``name: value`` lines.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

import reflash_sr  # noqa: F401  (makes BasicSR importable)
from reflash_sr.models import ReflashSRModel
from reflash_sr.system.devices import keep_freed_memory

SAVE_FREQ = 5000


def options(folder: str, device: str, amp: str | None) -> dict:
    return {
        'name': 'benchmark', 'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'num_gpu': 0, 'scale': 4,
        'device': device, 'amp': amp, 'channels_last': True, 'manual_seed': 0, 'datasets': {},
        'network_g': {'type': 'DropoutMSRResNet', 'dropout_p': 0.7},
        'path': {'models': folder, 'training_states': folder, 'experiments_root': folder},
        'logger': {'print_freq': 100, 'keep_last': 1},
        'train': {'total_iter': 500000, 'ema_decay': 0.999, 'optim_g': {'type': 'Adam', 'lr': 2e-4},
                  'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [500000]},
                  'pixel_opt': {'type': 'L1Loss'}},
    }  # yapf: disable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--amp', choices=['bf16'], help='mixed precision')
    parser.add_argument('--rounds', type=int, default=10, help='counted rounds of a step and a save (default: 10)')
    parser.add_argument('--folder', help='where to write (default: a temporary folder; a training writes to its own)')
    args = parser.parse_args()
    keep_freed_memory()  # as basicsr train does
    wait = torch.cuda.synchronize if args.device == 'cuda' else lambda: None
    steps, saves = [], []
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        model = ReflashSRModel(options(folder, args.device, args.amp))
        model.feed_data({'lq': torch.rand(16, 3, 32, 32), 'gt': torch.rand(16, 3, 128, 128)})
        for i in range(1, args.rounds + 3):  # the first two warm up
            begin = _now(wait)
            model.optimize_parameters(i)
            between = _now(wait)
            model.save(0, i)
            if i > 2:
                steps.append(between - begin)
                saves.append(_now(wait) - between)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    step, save = statistics.median(steps), statistics.median(saves)
    print(f'checkpoint_mb: {size / 1e6:.1f}')
    print(f'step_s: {step:.4f}')
    print(f'save_s: {save:.4f}')
    print(f'share_of_training_percent: {100 * save / (save + SAVE_FREQ * step):.4f}')


def _now(wait) -> float:
    wait()
    return time.perf_counter()


if __name__ == '__main__':
    main()
