"""Few degradations that stand for the whole training degradation, after SEAL (Zhang et al. 2024, arXiv 2309.03020).

SEAL clusters images of one content under many degradations, and tests on the centres of the clusters: 100, numbered
from about 10,000 draws (Fig. 2 and the file ``degradation_center_100.txt`` beside the authors' code, which mixes the
degradations of BSRGAN and Real-ESRGAN). How images are compared and clustered could not be found in the code; after the
paper, this file clusters histograms with k-means, of Real-ESRGAN's degradation alone.
"""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from reflash_sr.data.test_degradation.degradations import drawn, mod_crop
from reflash_sr.errors import UserError

BINS = 64  # of each histogram
STARTS = 4  # of k-means; the best counts


def representatives(gt: np.ndarray, count: int = 20, draws: int = 1000, scale: int = 4,
                    seed: int = 0) -> dict[str, int]:
    """Choose draws of the training degradation, each nearest to the centre of a cluster.

    Args:
        gt: The content, (H, W, 3) uint8 RGB; 256 × 256 px are enough.
        count: Number of clusters.
        draws: Number of draws to choose from.
        scale: Scale factor.
        seed: Seed of the draws and of k-means; its draws have other numbers than those of another seed.

    Returns:
        Names of degradations, such as ``'drawn:7'``, and the number of draws that each stands for, largest first.

    Raises:
        UserError: There are not more draws than clusters, or no cluster.
    """
    if not 1 <= count < draws:
        raise UserError(f'representatives: {count} of {draws} draws; give 1 or more, and more draws')
    gt = np.ascontiguousarray(mod_crop(gt, scale))
    numbers = range(seed * draws, (seed + 1) * draws)
    features = np.stack([describe(drawn(gt, number, scale, np.random.default_rng(0))) for number in numbers])
    with threadpool_limits(1):  # the result depends on the number of threads
        found = KMeans(count, n_init=STARTS, random_state=seed).fit(features)
        distances = found.transform(features)
    sizes = np.bincount(found.labels_, minlength=count)
    order = [one for one in np.argsort(-sizes, kind='stable') if sizes[one]]
    return {f'drawn:{numbers[int(distances[:, one].argmin())]}': int(sizes[one]) for one in order}


def describe(image: np.ndarray) -> np.ndarray:
    """What an image is compared by: roots of histograms of its values and of the differences between neighbours.

    Differences see blur, noise and the blocks of JPEG, values see contrast; roots make the distance Hellinger's.

    Returns:
        (5 · 64,): of the values of each channel, and of the sizes of differences down and right.
    """
    values = [image[..., channel] for channel in range(3)]
    slopes = [np.log2(1 + np.abs(np.diff(image.astype(np.float32), axis=axis))) * 32 for axis in (0, 1)]
    histograms = [np.histogram(one, BINS, (0, 256))[0] / one.size for one in (*values, *slopes)]
    return np.sqrt(np.concatenate(histograms))
