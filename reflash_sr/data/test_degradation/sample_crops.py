"""Samples for an analysis: crops of photographs, each under several degradations (paper Sec. 6.2)."""

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

    name: str  # of the photograph; 'name#2' for its second crop
    index: int  # of the photograph in its source
    top: int  # first row, px
    left: int  # first column, px
    side: int  # px


def choose_crops(source: ImageSource, count: int, side: int, seed: int = 0) -> list[Crop]:
    """Choose crops, spread as evenly over the photographs as possible.

    With fewer crops than photographs, the photographs are at even distances in the list. With more, a photograph gives
    several crops, which may overlap but are never at the same place. Places depend on the seed, the photograph's name
    and how many crops it gives, so the only crop of a photograph does not move when other photographs come or go.

    Args:
        source: The photographs.
        count: How many crops.
        side: px of the photograph.
        seed: Of the places.

    Returns:
        The crops, those of a photograph together.

    Raises:
        UserError: A photograph is too small for one crop, or for as many different ones as it must give.
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
            raise UserError(f'{source.paths[index]}: {width}×{height} px has {places} crops of {side} px, {wanted} are '
                            'wanted; give more photographs, fewer --samples or a smaller --sample')
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
    """Make the LQ images of crops under degradations.

    Args:
        source: The photographs.
        crops: N squares whose side is a multiple of the scale; each is degraded on its own, not cut out of a degraded
            photograph.
        degradations: D names.
        scale: Factor.
        seed: Of the noise, which also depends on the crop's name and the degradation.

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
