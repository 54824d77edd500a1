"""Samples of a cluster analysis: crops of photographs, each under several degradations (paper Sec. 6.2)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.data.images.read_image import image_size
from reflash_sr.data.test_degradation.degradations import check_name, degrade, noise_rng
from reflash_sr.errors import UserError


@dataclass(frozen=True)
class Crop:
    """A square of a photograph."""

    name: str  # name of the photograph; 'name#2' for its second crop
    index: int  # index of the photograph in its source
    top: int  # first row, px
    left: int  # first column, px
    side: int  # px


def choose_crops(source: ImageSource, count: int, side: int, seed: int = 0) -> list[Crop]:
    """Choose crops, spread as evenly over the photographs as possible.

    If there are fewer crops than photographs, photographs at even distances in the list are used. If there are more, a
    photograph gives several crops, which may overlap but are never at the same place. The places depend only on the
    seed, the photograph's name and its number of crops.

    Raises:
        UserError: A photograph is too small for one crop, or for its number of different crops.
    """
    if count < 1:
        raise UserError(f'samples: {count}; give 2 or more')
    chosen = [round(i) for i in np.linspace(0, len(source) - 1, min(count, len(source)))]
    crops = []
    for place, index in enumerate(chosen):
        wanted = count // len(chosen) + (place < count % len(chosen))
        height, width = image_size(source.paths[index])
        if min(height, width) < side:
            raise UserError(f'{source.paths[index]}: {width}×{height} px is too small for a crop of {side} px; give '
                            'larger photographs or a smaller --sample')
        columns = width - side + 1
        places = columns * (height - side + 1)
        if places < wanted:
            raise UserError(f'{source.paths[index]}: {width}×{height} px has only {places} crops of {side} px, not '
                            f'{wanted}; give more photographs, fewer --samples or a smaller --sample')
        name = source.names[index]
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        for k, corner in enumerate(rng.choice(places, wanted, replace=False).tolist()):
            top, left = divmod(corner, columns)
            crops.append(Crop(name if k == 0 else f'{name}#{k + 1}', index, top, left, side))
    return crops


def check_degradations(names: Sequence[str]) -> list[str]:
    """Return the names of degradations; raises ``UserError`` for unknown and repeated ones."""
    for name in names:
        check_name(name)
        if list(names).count(name) > 1:
            raise UserError(f"degradations: '{name}' is given twice; remove one")
    return list(names)


def make_samples(source: ImageSource, crops: Sequence[Crop], degradations: Sequence[str], scale: int,
                 seed: int = 0) -> np.ndarray:
    """Crop, then degrade: make the LQ images of N crops under D degradations.

    The side of a crop is a multiple of the scale. The noise depends on the seed, the crop's name and the degradation.

    Returns:
        (N · D, side / scale, side / scale, 3) uint8 RGB: the first crop under all degradations, then the second, ….

    Raises:
        UserError: A photograph cannot be read.
    """

    def make(crop: Crop) -> list[np.ndarray]:
        photo = source.read(crop.index)
        gt = np.ascontiguousarray(photo[crop.top:crop.top + crop.side, crop.left:crop.left + crop.side])
        return [degrade(gt, name, scale, noise_rng(seed, crop.name, name)) for name in degradations]

    with ThreadPoolExecutor() as pool:
        return np.stack([lq for made in pool.map(make, crops) for lq in made])
