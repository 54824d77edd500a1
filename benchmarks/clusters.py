"""Features of many samples and their PCA, the plain way and ours: python benchmarks/clusters.py

Plain: one float32 forward pass through the whole network for each sample, a hook that keeps the layer's output,
``np.stack``, scikit-learn's PCA with its default solver.
Ours: batches that stop at the layer, channels last, in float32 and bf16; features in a temporary file; exact PCA of it.
SRResNet 64×16 with random weights, samples of 128×128 px, 50 components.

Every way runs in a process of its own, so that its peak memory is its own; they take turns. Memory is what is resident
beyond the process with its network warmed up. The agreement is between the float32 ways: the largest difference of the
first ten components, each relative to its size (scikit-learn's default is not exact). Ends in ``name: value`` lines.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import reflash_sr  # noqa: F401  isort: skip  (makes BasicSR importable)

import numpy as np
import torch
from basicsr.archs.srresnet_arch import MSRResNet
from sklearn.decomposition import PCA

from reflash_sr.analysis.feature_file import FeatureFile
from reflash_sr.analysis.features import find_layer
from reflash_sr.analysis.measure_clusters import fill
from reflash_sr.analysis.pca import pca
from reflash_sr.system.devices import NAMES, has_bf16, keep_freed_memory, select_device

WAYS = ('plain', 'ours_float32', 'ours_bf16')
COMPONENTS = 50
COMPARED = 10


def main() -> None:
    args = _parser().parse_args()
    if args.way:
        print(json.dumps(measure(args)))
        return
    device = select_device({'device': args.device})
    ways = [way for way in args.ways or WAYS if args.ways or way != 'ours_bf16' or has_bf16(device)]
    found: dict[str, list[dict]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.rounds):
            for way in ways:
                command = [sys.executable, __file__, *sys.argv[1:], '--way', way, '--save', f'{folder}/{way}.npy']
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found[way].append(json.loads(done.stdout.splitlines()[-1]))
                print(f'round {turn + 1}/{args.rounds}, {way}: {found[way][-1]}', flush=True)
        if {'plain', 'ours_float32'} <= set(ways):
            print(f"agreement: {_difference(f'{folder}/plain.npy', f'{folder}/ours_float32.npy'):.1e}")
    for way in ways:
        for name in found[way][0]:
            print(f'{way}_{name}: {statistics.median(one[name] for one in found[way]):.4g}')
        if way != 'plain' and 'plain' in ways:
            for name in found[way][0]:
                ratio = statistics.median(plain[name] / max(ours[name], 1e-9)
                                          for plain, ours in zip(found['plain'], found[way]))
                print(f'plain_over_{way}_{name}: {ratio:.3g}')


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Run one way once.

    Returns:
        Seconds of the features and of the PCA, and of both with what lies between; peak memory of both, MB.
    """
    device = select_device({'device': args.device})
    if args.way != 'plain' and device.type == 'cpu':
        keep_freed_memory()  # as the tool does
    torch.manual_seed(0)
    net = MSRResNet(num_feat=64, num_block=16, upscale=4).eval().requires_grad_(False).to(device)
    samples = _samples(args.samples, args.sample)
    run = _plain if args.way == 'plain' else _ours
    run(net, samples[:4], args, device)  # warm
    before = _peak()
    features, pca_seconds, total, coordinates, feature_peak = run(net, samples, args, device)
    np.save(args.save, coordinates)
    return {'features_s': features, 'pca_s': pca_seconds, 'total_s': total, 'features_memory_mb': feature_peak - before,
            'memory_mb': _peak() - before}


def _plain(net: torch.nn.Module, samples: np.ndarray, args: argparse.Namespace, device: torch.device) -> tuple:
    site, kept = find_layer(net, args.layer), []
    module = net.get_submodule(site.module)
    if site.side == 'output':
        handle = module.register_forward_hook(lambda module, args, output: kept.append(output.cpu().numpy().ravel()))
    else:
        handle = module.register_forward_pre_hook(lambda module, args: kept.append(args[0].cpu().numpy().ravel()))
    start = time.perf_counter()
    with torch.no_grad(), handle:
        for one in samples:
            net(torch.from_numpy(one).to(device).permute(2, 0, 1)[None].float().contiguous() / 255)
    made, peak = time.perf_counter(), _peak()
    stacked = np.stack(kept)
    kept.clear()
    ready = time.perf_counter()
    found = PCA(min(COMPONENTS, len(samples) - 1)).fit_transform(stacked)
    end = time.perf_counter()
    return made - start, end - ready, end - start, found, peak


def _ours(net: torch.nn.Module, samples: np.ndarray, args: argparse.Namespace, device: torch.device) -> tuple:
    with FeatureFile(len(samples), args.scratch) as file:
        start = time.perf_counter()
        fill(file, net, samples, args.layer, device, args.way == 'ours_bf16', args.batch)
        made, peak = time.perf_counter(), _peak()
        found = pca(file.blocks(), COMPONENTS).coordinates
        end = time.perf_counter()
    return made - start, end - made, end - start, found, peak


def _samples(count: int, side: int) -> np.ndarray:
    """Smooth random images, (count, side, side, 3) uint8."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, side // 8 + 1, side // 8 + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(small.repeat(8, 1).repeat(8, 2)[:, :side, :side])


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == 'darwin' else 2**10)


def _difference(one: str, two: str) -> float:
    a, b = np.load(one)[:, :COMPARED], np.load(two)[:, :COMPARED]
    return float((np.abs(a * np.sign((a * b).sum(0)) - b).max(0) / np.abs(b).max(0)).max())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--samples', type=int, default=500, help='how many (default: 500)')
    parser.add_argument('--sample', type=int, default=128, help='their side, px (default: 128)')
    parser.add_argument('--rounds', type=int, default=3, help='turns of every way (default: 3)')
    parser.add_argument('--layer', default='B16', help='name or path (default: B16)')
    parser.add_argument('--batch', type=int, help='of ours (default: by device)')
    parser.add_argument('--device', choices=NAMES, default='auto')
    parser.add_argument('--scratch', help="folder for the temporary file (default: the system's)")
    parser.add_argument('--ways', nargs='+', choices=WAYS, help='default: all that the device can do')
    parser.add_argument('--way', choices=WAYS, help=argparse.SUPPRESS)  # one process of this script runs one way
    parser.add_argument('--save', help=argparse.SUPPRESS)
    return parser


if __name__ == '__main__':
    main()
