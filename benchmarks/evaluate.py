"""Evaluation, BasicSR's way and ours: python benchmarks/evaluate.py --gt datasets/benchmark/Set14/HR

Stock: BasicSR's test_pipeline (SRModel, PairedImageDataset, calculate_psnr) on the pairs, written to disk beforehand.
Ours: evaluate() on the same pairs, made on the fly, in float32 and, where the device has it, bf16. Also the share of
our time that is not the network, and SSIM against BasicSR's. Ways take turns, each in a process of its own, timed from
when everything is imported; medians. Ends in ``name: value`` lines.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
import yaml

from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.commands.evaluate_degradations import Settings, evaluate
from reflash_sr.data.images.bundled_photos import photo_paths
from reflash_sr.data.images.read_image import read_image
from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.evaluation.metrics import measure
from reflash_sr.system.devices import has_bf16, keep_freed_memory, select_device
from reflash_sr.weights.network_from_file import open_network

WAYS = ('stock', 'ours_float32', 'ours_bf16')
NETWORK = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 16, 'upscale': 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--gt', default='datasets/benchmark/Set14/HR', metavar='DIR')
    parser.add_argument('--weights', metavar='FILE', help='of an SRResNet 64×16 (default: untrained ones)')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--degradations', nargs='+', default=['all'])
    parser.add_argument('--device', choices=['auto', 'cpu', 'cuda'], default='auto')
    parser.add_argument('--way', choices=WAYS, help=argparse.SUPPRESS)  # one process of this script runs one way
    parser.add_argument('--folder', help=argparse.SUPPRESS)
    args = parser.parse_args()
    device = select_device({'device': args.device})
    if args.way:
        run_way(args, device, Path(args.folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(args, device, Path(folder))
    ssim()


def compare(args: argparse.Namespace, device: torch.device, folder: Path) -> None:
    """Prepare weights and pairs, then let the ways take turns, each in a process of its own."""
    args.weights = args.weights or str(untrained(folder))
    sets = open_sets([args.gt], args.degradations, [], [], [], 4, 0)
    write_pairs(sets[0], folder, Path(args.weights), device)
    ways = [way for way in WAYS if way != 'ours_bf16' or has_bf16(device)]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(args.rounds):
        for way in ways:
            command = [sys.executable, __file__, '--way', way, '--folder', str(folder), '--gt', args.gt, '--weights',
                       args.weights, '--device', args.device, '--degradations', *args.degradations]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{way}: {found[way][-1]['seconds']:.1f} s", file=sys.stderr)
    middle = {way: statistics.median(one['seconds'] for one in some) for way, some in found.items()}
    print(f'pairs: {len(sets[0]) * len(sets[0].degradations)}')
    for way, value in middle.items():
        print(f'{way}_s: {value:.2f}\n{way}_speedup: {middle["stock"] / value:.2f}')
        print(f'{way}_psnr_db: {found[way][0]["psnr"]:.4f}')
    outside = statistics.median(1 - one['inside'] / one['seconds'] for one in found['ours_float32'])
    print(f'ours_float32_outside_the_network: {outside:.4f}')
    if 'ours_bf16' not in ways:
        print('ours_bf16: not measured, this device has no bfloat16')


def run_way(args: argparse.Namespace, device: torch.device, folder: Path) -> None:
    """Run one way once; its seconds begin when everything is imported."""
    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        if args.way == 'stock':
            psnr, inside = stock(folder / 'stock.yml', Path(out)), 0.0
        else:
            keep_freed_memory()  # as the tool does
            psnr, inside = ours(Path(args.weights), args, device, Path(out) / 'results', args.way == 'ours_bf16')
        print(json.dumps({'seconds': time.perf_counter() - begin, 'psnr': psnr, 'inside': inside}))


def untrained(folder: Path) -> Path:
    torch.manual_seed(0)
    net = DropoutMSRResNet(dropout_p=0, **{key: value for key, value in NETWORK.items() if key != 'type'})
    torch.save({'params': net.state_dict(), 'network_g': NETWORK}, folder / 'untrained.pth')
    return folder / 'untrained.pth'


def write_pairs(one, folder: Path, weights: Path, device: torch.device) -> Path:
    """Write the pairs as BasicSR's users do, a folder for each degradation, and the option file that tests on them."""
    datasets = {}
    for number, degradation in enumerate(one.degradations):
        for place, name in enumerate(one.names):
            for kind, pixels in zip(('lq', 'gt'), one.pair(place, degradation)):
                path = folder / kind / str(number) / f'{name}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), pixels[..., ::-1])
        datasets[f'test_{number}'] = {
            'name': degradation, 'type': 'PairedImageDataset', 'dataroot_gt': str(folder / 'gt' / str(number)),
            'dataroot_lq': str(folder / 'lq' / str(number)), 'io_backend': {'type': 'disk'}}
    opt = {'name': 'stock', 'model_type': 'SRModel', 'scale': 4, 'num_gpu': 1 if device.type == 'cuda' else 0,
           'manual_seed': 0, 'datasets': datasets, 'network_g': NETWORK,
           'path': {'pretrain_network_g': str(weights), 'strict_load_g': True, 'param_key_g': 'params'},
           'val': {'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4,
                                                           'test_y_channel': False}}}}
    path = folder / 'stock.yml'
    path.write_text(yaml.safe_dump(opt), encoding='utf-8')
    return path


def stock(opt: Path, root: Path) -> float:
    """Mean PSNR of BasicSR's pipeline, as it logs it for each set."""
    from basicsr.test import test_pipeline
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger('basicsr').addHandler(handler)
    with mock.patch.object(sys, 'argv', ['test', '-opt', str(opt)]), contextlib.redirect_stdout(sys.stderr):
        test_pipeline(str(root))
    found = [float(one.split('psnr:')[1].split()[0]) for line in lines for one in line.splitlines() if '# psnr:' in one]
    return statistics.mean(found)


def ours(weights: Path, args: argparse.Namespace, device: torch.device, out: Path, amp: bool) -> tuple[float, float]:
    """Mean PSNR of the tool, and the seconds spent in the network."""
    network = open_network(weights, label='network')
    spent = 0.0
    forward = network.net.forward

    def timed(*inputs: torch.Tensor) -> torch.Tensor:
        nonlocal spent
        begin = time.perf_counter()
        output = forward(*inputs)
        if device.type == 'cuda':
            torch.cuda.synchronize()
        spent += time.perf_counter() - begin
        return output

    network.net.forward = timed
    sets = open_sets([args.gt], args.degradations, [], [], [], 4, 0)
    evaluate([network], sets, out, Settings(amp=amp), device=device)
    with open(out / 'scores.csv', encoding='utf-8', newline='') as file:
        return statistics.mean(float(row['value']) for row in csv.DictReader(file) if row['method'] == 'network'), spent


def ssim(rounds: int = 15) -> None:
    from basicsr.metrics import calculate_ssim
    gt = read_image(photo_paths('train')[0])[:512, :512]
    sr = np.clip(gt + np.random.default_rng(0).normal(0, 10, gt.shape), 0, 255).astype(np.uint8)
    ways = {'stock': lambda: calculate_ssim(sr, gt, crop_border=0), 'ours': lambda: measure('ssim', sr, gt)}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    values = {}
    for _ in range(rounds):
        for way, run in ways.items():
            begin = time.perf_counter()
            values[way] = run()
            seconds[way].append(time.perf_counter() - begin)
    middle = {way: statistics.median(found) for way, found in seconds.items()}
    print(f'ssim_stock_s: {middle["stock"]:.4f}\nssim_ours_s: {middle["ours"]:.4f}')
    print(f'ssim_speedup: {middle["stock"] / middle["ours"]:.2f}')
    print(f'ssim_difference: {abs(values["stock"] - values["ours"]):.1e}')


if __name__ == '__main__':
    main()
