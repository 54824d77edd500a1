"""One training step of blind SR, the stock way and ours: python benchmarks/train_step.py

Stock: BasicSR's RealESRGANDataset and RealESRNetModel, as they are and with a separable USM.
Ours: RealDegradationDataset with ``raw_cache`` and ReflashSRModel, in float32 and bf16.
Paper setting: 16 samples, GT crop 400, GT patch 128, SRResNet 64×16, Adam.

Every way runs in a process of its own; they take turns, a few steps at a time, and the first steps of a turn are not
counted, since batches that were loaded while others worked come for free. Ends in ``name: value`` lines.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

BATCH = 16
NETWORK = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 16, 'upscale': 4}
TRAIN = {'optim_g': {'type': 'Adam', 'lr': 2e-4}, 'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0},
         'scheduler': {'type': 'MultiStepLR', 'milestones': [10**9]}, 'ema_decay': 0.999, 'total_iter': 10**9}
WAYS = {  # name: (ours?, separable USM or bf16?)
    'stock': (False, False),
    'stock_separable_usm': (False, True),
    'ours_float32': (True, False),
    'ours_bf16': (True, True),
}
PARTS = ('data', 'forward', 'backward', 'step')


class Clock:
    """Seconds spent in the parts of a step; waits for the device before it looks at the time."""

    def __init__(self, device: str):
        import torch
        self.wait = torch.cuda.synchronize if device == 'cuda' else lambda: None
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def timed(self, part: str, function: Callable) -> Callable:
        def call(*args, **kwargs):
            self.wait()
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.wait()
            self.seconds[part] += time.perf_counter() - start
            return result
        return call


def build(way: str, device: str, images: str | None, workers: int, stack: contextlib.ExitStack) -> tuple:
    """The model and an infinite loader of one way."""
    import torch
    from stock import patched, stock_dataset, stock_model

    from reflash_sr.data import RealDegradationDataset
    from reflash_sr.data.images.bundled_photos import photo_paths
    from reflash_sr.data.images.read_image import find_images
    from reflash_sr.data.seeded_sampler import DrawStream
    from reflash_sr.models import ReflashSRModel
    from reflash_sr.system.devices import keep_freed_memory
    from reflash_sr.training.progress import for_workers

    ours, variant = WAYS[way]
    paths = find_images(images)[0] if images else photo_paths()
    if ours:
        keep_freed_memory()  # as basicsr train does
        dataset = RealDegradationDataset({'dataroot_gt': images or 'photos:train', 'scale': 4, 'gt_size': 128,
                                          'raw_cache': stack.enter_context(tempfile.TemporaryDirectory())})
        dataset.raw.open()
        model = ReflashSRModel({
            'network_g': {'type': 'DropoutMSRResNet', **NETWORK, 'dropout_p': 0.7}, 'train': TRAIN,
            'path': {}, 'logger': {}, 'datasets': {},
            'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'scale': 4, 'device': device,
            'num_gpu': int(device == 'cuda'), 'channels_last': True, 'amp': 'bf16' if variant else None})
    else:
        stack.enter_context(patched(variant, device))
        dataset = stock_dataset(paths)
        model = stock_model({'type': 'MSRResNet', **NETWORK}, BATCH, True, TRAIN, int(device == 'cuda'))
    sampler = DrawStream(len(paths), BATCH, total_iter=10**9)
    loader = torch.utils.data.DataLoader(dataset, BATCH, sampler=sampler, num_workers=workers,
                                         worker_init_fn=for_workers(behind=device == 'cpu') if ours else None)
    return model, iter(loader)


def serve(way: str, device: str, images: str | None, workers: int) -> None:
    """Do steps as the parent asks, one line each: how many, and how many of them count."""
    import logging
    logging.disable(logging.INFO)
    import reflash_sr  # noqa: F401  isort: skip
    import torch

    with contextlib.ExitStack() as stack:
        model, batches = build(way, device, images, workers, stack)
        clock = Clock(device)
        model.net_g.forward = clock.timed('forward', model.net_g.forward)
        torch.Tensor.backward = clock.timed('backward', torch.Tensor.backward)
        model.optimizer_g.step = clock.timed('step', model.optimizer_g.step)
        feed = clock.timed('data', lambda: model.feed_data(next(batches)))
        print(json.dumps('ready'), flush=True)
        iteration = 0
        for line in sys.stdin:
            warm, counted = json.loads(line)
            seconds = []
            for number in range(warm + counted):
                iteration += 1
                clock.seconds = dict.fromkeys(PARTS, 0.0)
                start = time.perf_counter()
                feed()
                model.optimize_parameters(iteration)
                clock.wait()
                if number >= warm:
                    seconds.append({'whole': time.perf_counter() - start, **clock.seconds})
            print(json.dumps(seconds), flush=True)


class Contender:
    """A process that does the steps of one way."""

    def __init__(self, way: str, args: argparse.Namespace):
        command = [sys.executable, __file__, '--way', way, '--device', args.device, '--workers', str(args.workers)]
        command += ['--images', args.images] if args.images else []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.steps: list[dict[str, float]] = []
        self._answer()

    def work(self, warm: int, counted: int) -> list[dict[str, float]]:
        self.process.stdin.write(json.dumps([warm, counted]) + '\n')
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> list:
        for line in self.process.stdout:
            with contextlib.suppress(json.JSONDecodeError):  # BasicSR prints when it looks into its registries
                return json.loads(line)
        raise SystemExit('a contender ended early')

    def median(self, part: str) -> float:
        return statistics.median(step[part] for step in self.steps)


@contextlib.contextmanager
def peak_memory(pid: int) -> Iterator[list[float]]:
    """Largest sum of PSS over a process and its children, GiB, in a list of one."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], sum(map(_pss, _tree(pid))) / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _tree(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
        return [pid, *(inner for child in children for inner in _tree(int(child)))]
    return []


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
            if line.startswith('Pss:'):
                return int(line.split()[1])
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--images', metavar='DIR', help='photographs (default: those inside installed packages)')
    parser.add_argument('--workers', type=int, default=2, help='loader processes of each way (default: 2)')
    parser.add_argument('--rounds', type=int, default=3, help='turns of each way (default: 3)')
    parser.add_argument('--steps', type=int, default=8, help='counted steps of ours in a turn (default: 8)')
    parser.add_argument('--stock-steps', type=int, default=2, help='counted steps of stock in a turn (default: 2)')
    parser.add_argument('--way', choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        serve(args.way, args.device, args.images, args.workers)
        return
    import torch

    from reflash_sr.system.devices import has_bf16

    ways = [way for way in WAYS if way != 'ours_bf16' or has_bf16(torch.device(args.device))]
    contenders = {way: Contender(way, args) for way in ways}
    # Batches that wait in the loader (two per worker) must be used up before a step shows what it costs.
    turns = {way: (2 * args.workers + 2, args.steps) if WAYS[way][0] else (1, args.stock_steps) for way in ways}
    for number in range(args.rounds):
        for way, contender in contenders.items():
            contender.steps += contender.work(*turns[way])
            print(f'round {number + 1}/{args.rounds} {way}: {contender.median("whole"):.2f} s a step', flush=True)
    memory = {}
    for way, contender in contenders.items():
        with peak_memory(contender.process.pid) as peak:
            contender.work(1, turns[way][1])
        memory[way] = peak[0]
        contender.process.stdin.close()
        contender.process.wait()
    report(contenders, memory)


def report(contenders: dict[str, Contender], memory: dict[str, float]) -> None:
    import torch
    print(f'\nMedians over steps, seconds; {os.cpu_count()} cores, torch {torch.__version__}')
    print(f'{"":22}{"whole":>8}' + ''.join(f'{part:>10}' for part in PARTS) + f'{"PSS GiB":>10}')
    for way, contender in contenders.items():
        print(f'{way:22}{contender.median("whole"):8.3f}' + ''.join(f'{contender.median(p):10.3f}' for p in PARTS) +
              f'{memory[way]:10.2f}')
    print()
    whole = {way: contender.median('whole') for way, contender in contenders.items()}
    for way, seconds in whole.items():
        print(f'{way}_step_s: {seconds:.3f}')
    for ours in [way for way in whole if WAYS[way][0]]:
        for stock in ('stock', 'stock_separable_usm'):
            print(f'speedup_{ours}_over_{stock}: {whole[stock] / whole[ours]:.2f}')
    for way, gigabytes in memory.items():
        print(f'{way}_peak_pss_gib: {gigabytes:.2f}')
    for ours in [way for way in whole if WAYS[way][0]]:
        print(f'{ours}_share_waiting_for_data: {contenders[ours].median("data") / whole[ours]:.3f}')


if __name__ == '__main__':
    main()
