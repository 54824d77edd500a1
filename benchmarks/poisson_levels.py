"""Does it matter where Poisson noise counts its levels? Real-ESRGAN: in the whole crop; ours: in the needed window.

Each sample is degraded three times with the same recipe: the whole crop, which tells how many levels Real-ESRGAN
counts; the patch with our count; and the same patch, with the same random numbers, with Real-ESRGAN's count. The two
patches are compared, by the Kolmogorov–Smirnov test too. Ends in ``name: value`` lines.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from degradation_fidelity import MEASURES
from scipy.stats import ks_2samp

from reflash_sr.data import RealDegradationDataset
from reflash_sr.data.training_degradation import noise, second_order

SIDE, PATCH, SCALE = 400, 128, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--samples', type=int, default=6000, help='with and without Poisson noise (default: 6000)')
    parser.add_argument('--images', default='photos:train', help='folder of photographs of 400 px or more')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    dataset = RealDegradationDataset({'dataroot_gt': args.images, 'scale': SCALE, 'gt_size': PATCH})
    rng = np.random.default_rng(args.seed)
    counts: list[tuple[int, int]] = []
    values: list[list[list[float]]] = []
    for _ in range(args.samples):
        recipe = second_order.draw_degradation(rng, dataset.settings, (SIDE, SIDE), SCALE)
        image = dataset.source.read(int(rng.integers(len(dataset))))
        top, left = (int(rng.integers(side - SIDE + 1)) for side in image.shape[:2])
        crop = np.ascontiguousarray(image[top:top + SIDE, left:left + SIDE])
        seed = int(rng.integers(2**60))
        top, left = rng.integers(0, (SIDE - PATCH) // SCALE + 1, 2) * SCALE
        window = top, top + PATCH, left, left + PATCH
        if not any(isinstance(operation, noise.PoissonNoise) for operation in recipe):
            continue
        with counting() as of_crop:
            second_order.degrade(crop, recipe, (0, SIDE, 0, SIDE), np.random.default_rng(seed), scale=SCALE)
        with counting() as of_window:
            gt, ours = second_order.degrade(crop, recipe, window, np.random.default_rng(seed), scale=SCALE)
        with counting(of_crop):
            _, theirs = second_order.degrade(crop, recipe, window, np.random.default_rng(seed), scale=SCALE)
        counts += zip(of_window, of_crop)
        values.append([[of(lq.astype(float), gt.astype(float)) for lq in (ours, theirs)] for of in MEASURES.values()])
    pairs, measured = np.array(counts), np.array(values)
    print(f'samples: {args.samples}')
    print(f'with_poisson_noise: {len(measured)}')
    print(f'poisson_noises: {len(pairs)}')
    print(f'counted_differently: {(pairs[:, 0] != pairs[:, 1]).mean():.4f}')
    factors = np.sqrt(pairs[:, 1] / pairs[:, 0])
    print(f'mean_factor_of_the_noise: {factors.mean():.4f}')
    print(f'mean_factor_where_counted_differently: {factors[factors != 1].mean():.4f}')
    for place, name in enumerate(MEASURES):
        ours, theirs = measured[:, place].T
        print(f'median_{name}: {np.median(ours):.3f} ours, {np.median(theirs):.3f} counted in the crop')
        print(f'ks_p_{name}: {ks_2samp(ours, theirs).pvalue:.4f}')


@contextmanager
def counting(given: Sequence[int] = ()) -> Iterator[list[int]]:
    """Record the levels that are counted, or take those that are given instead."""
    count, left, found = noise.count_levels, list(given), []

    def counted(levels: np.ndarray) -> int:
        found.append(left.pop(0) if given else count(levels))
        return found[-1]

    noise.count_levels = counted
    try:
        yield found
    finally:
        noise.count_levels = count


if __name__ == '__main__':
    main()
