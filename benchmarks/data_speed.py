"""How many training samples one core makes in a second: python benchmarks/data_speed.py

RealDegradationDataset as it is (decoding files), with decoded images (``raw_cache``), and both with LQ patches that are
there already (``pairs_cache``); the last also without sharpening of the GT, as is degrading. One process, one thread;
the ways take turns. Ends in ``name: value`` lines.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import torch

from reflash_sr.data import RealDegradationDataset
from reflash_sr.data.seeded_sampler import Draw
from reflash_sr.training.fill_lq_cache import make_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', default='photos:train', help='folder of photographs (default: those inside '
                        'installed packages)')
    parser.add_argument('--samples', type=int, default=256, help='in a round (default: 256)')
    parser.add_argument('--rounds', type=int, default=5, help='counted rounds (default: 5)')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        caches = {'pairs_cache': f'{folder}/pairs', 'raw_cache': f'{folder}/raw'}
        both = 'pairs_cache', 'raw_cache'
        ways = {'degraded': (), 'degraded_raw': ('raw_cache',), 'cached': ('pairs_cache',), 'cached_raw': both,
                'degraded_no_usm': (), 'cached_raw_no_usm': both}
        sets = {name: RealDegradationDataset({
            'dataroot_gt': args.images, 'scale': 4, 'gt_size': 128, 'manual_seed': 0, 'use_rot': True,
            'gt_usm': not name.endswith('no_usm'), **{key: caches[key] for key in keys}})
            for name, keys in ways.items()}
        for dataset in sets.values():
            dataset._room = 0  # what a worker keeps in memory is not measured
            if dataset.raw is not None:
                dataset.raw.open()
        for name in ('cached', 'cached_raw_no_usm'):
            make_pairs(sets[name], args.samples, 0)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(args.rounds + 1):
            for name, dataset in sets.items():
                start = time.perf_counter()
                for sample in range(args.samples):
                    dataset[Draw(sample % len(dataset), sample)]
                if number:  # the first round fills raw_cache
                    seconds[name].append(time.perf_counter() - start)
        print(f'images: {len(dataset)}')
        print(f'raw_cache_mb: {Path(sets["degraded_raw"].raw.path).stat().st_size / 1e6:.0f}')
    for name, values in seconds.items():
        print(f'{name}_per_second: {args.samples / statistics.median(values):.1f}')
    for name in [name for name in ways if not name.startswith('degraded_no') and name != 'degraded']:
        plain = 'degraded_no_usm' if name.endswith('no_usm') else 'degraded'
        ratio = statistics.median(a / b for a, b in zip(seconds[plain], seconds[name]))
        print(f'{name}_over_{plain}: {ratio:.2f}')


if __name__ == '__main__':
    main()
