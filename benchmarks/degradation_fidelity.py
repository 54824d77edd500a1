"""Is our degradation the same as Real-ESRGAN's? Degrade the same photographs with BasicSR's code and ours, and compare.

BasicSR degrades in the model, a whole batch at once. Ours degrades in the dataset, each sample on its own, and only the
pixels that the patch needs. Both are random, so distributions are compared: those of a few measures of the LQ patch, by
the Kolmogorov–Smirnov test. If one of them gives a p of 0.01 or less, the exit status is 1.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections.abc import Callable

import numpy as np
import stock
import torch
from basicsr.data.realesrgan_dataset import RealESRGANDataset
from scipy.ndimage import convolve
from scipy.stats import ks_2samp

from reflash_sr.data import RealDegradationDataset
from reflash_sr.data.seeded_sampler import Draw

QUANTILES = (5, 25, 50, 75, 95)
LIMIT = 0.01
SCALE = 4
_LAPLACIAN_SQUARED = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])


def psnr(lq: np.ndarray, gt: np.ndarray) -> float:
    """PSNR of the LQ against the GT, downscaled by averaging, dB."""
    height, width, channels = lq.shape
    small = gt.reshape(height, SCALE, width, SCALE, channels).mean(axis=(1, 3))
    return float(-10 * np.log10(max(np.mean((lq - small)**2), 1e-10)))


def noise_level(lq: np.ndarray, gt: np.ndarray) -> float:
    """Noise of the luma, 8-bit steps."""
    return _noise(lq @ np.array([0.299, 0.587, 0.114]))


def chroma_noise(lq: np.ndarray, gt: np.ndarray) -> float:
    """Noise of the blue-difference chroma, 8-bit steps."""
    return _noise(lq @ np.array([-0.168736, -0.331264, 0.5]))


def _noise(plane: np.ndarray) -> float:
    """Robust estimate of the noise (Immerkær 1996, with the median)."""
    response = convolve(255 * plane, _LAPLACIAN_SQUARED)[1:-1, 1:-1]
    return float(np.median(np.abs(response)) / 0.6745 / 6)


def gradient_energy(lq: np.ndarray, gt: np.ndarray) -> float:
    """Root mean square of the forward differences, 8-bit steps."""
    return float(255 * np.sqrt(np.mean(np.diff(lq, axis=0)**2) + np.mean(np.diff(lq, axis=1)**2)))


def mean(lq: np.ndarray, gt: np.ndarray) -> float:
    """Mean of all values, 8-bit steps."""
    return float(255 * lq.mean())


MEASURES = {'psnr': psnr, 'noise_level': noise_level, 'chroma_noise': chroma_noise,
            'gradient_energy': gradient_energy, 'mean': mean}
Pair = tuple[np.ndarray, np.ndarray]


def measure(samples: int, pair: Callable[[int], Pair]) -> tuple[np.ndarray, float]:
    """Measure many pairs.

    Args:
        samples: How many.
        pair: Makes pair number i: LQ (h, w, 3) and GT (4h, 4w, 3), float in [0, 1].

    Returns:
        (samples, measures) and the seconds it took to make one pair.
    """
    rows, seconds = [], 0.0
    for number in range(samples):
        start = time.perf_counter()
        lq, gt = pair(number)
        seconds += time.perf_counter() - start
        rows.append([of(lq, gt) for of in MEASURES.values()])
    return np.array(rows), seconds / samples


def stock_pairs(dataset: RealESRGANDataset, gt_usm: bool) -> Callable[[int], Pair]:
    """Pairs by BasicSR, in batches of one: it draws resize factors and kinds of noise once for a whole batch."""
    model = stock.without_pool(stock.stock_model(gt_usm=gt_usm))

    def pair(number: int) -> Pair:
        sample = dataset[number % len(dataset)]
        model.feed_data({key: value[None] for key, value in sample.items() if torch.is_tensor(value)})
        return _image(model.lq[0]), _image(model.gt[0])

    return pair


def our_pairs(dataset: RealDegradationDataset) -> Callable[[int], Pair]:
    """Pairs by our dataset, as in training."""

    def pair(number: int) -> Pair:
        sample = dataset[Draw(number % len(dataset), number)]
        return _image(sample['lq']), _image(sample['gt'])

    return pair


def _image(tensor: torch.Tensor) -> np.ndarray:
    return tensor.permute(1, 2, 0).double().numpy()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=int, default=512, help='pairs by each code (default: %(default)s)')
    parser.add_argument('--images', default='photos:train',
                        help='folder of photographs (default: those inside installed packages)')
    parser.add_argument('--seed', type=int, default=0, help='of both codes (default: %(default)s)')
    parser.add_argument('--usm', action=argparse.BooleanOptionalAction, default=True,
                        help='sharpen the GT first, as the paper trains (default: yes)')
    args = parser.parse_args(argv)
    logging.getLogger('basicsr').setLevel(logging.WARNING)

    ours = RealDegradationDataset({'dataroot_gt': args.images, 'scale': SCALE, 'gt_size': 128, 'gt_usm': args.usm,
                                   'manual_seed': args.seed})
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    with stock.patched(separable_usm=True):
        expected, stock_seconds = measure(args.samples, stock_pairs(stock.stock_dataset(ours.source.paths), args.usm))
    found, our_seconds = measure(args.samples, our_pairs(ours))

    print(f'{"quantile":16} {"":6}' + ''.join(f'{q:>9}%' for q in QUANTILES))
    p_values = {}
    for column, name in enumerate(MEASURES):
        for kind, values in (('stock', expected[:, column]), ('ours', found[:, column])):
            print(f'{name:16} {kind:6}' + ''.join(f'{v:10.2f}' for v in np.percentile(values, QUANTILES)))
        p_values[name] = ks_2samp(expected[:, column], found[:, column]).pvalue
    print(f'samples: {args.samples}')
    print(f'stock_ms_per_sample: {1000 * stock_seconds:.1f}')
    print(f'ours_ms_per_sample: {1000 * our_seconds:.1f}')
    for name, p in p_values.items():
        print(f'ks_p_{name}: {p:.4f}')
    print(f'same_distribution: {all(p > LIMIT for p in p_values.values())}')
    return 0 if all(p > LIMIT for p in p_values.values()) else 1


if __name__ == '__main__':
    sys.exit(main())
