"""Image pairs (GT and LQ) for an analysis, from a folder or from memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from reflash_sr.data.images.channels import to_channels
from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.data.test_degradation.degradations import check_name, degrade, noise_rng
from reflash_sr.errors import UserError
from reflash_sr.evaluation.tiled_inference import to_image, to_tensor
from reflash_sr.weights.network_from_file import TrainedNetwork


@dataclass(frozen=True)
class ImageSelection:
    """The images of an analysis.

    Attributes:
        images: Folder of GT images, or ``photos:train``, ``photos:val``.
        degradation: How the LQ images are made.
        limit: Take the first N images; None: all.
        crop: Side of the central crop, px of the LQ image; None or 0: the whole image.
        seed: Seed of the noise.
    """

    images: str
    degradation: str = 'clean'
    limit: int | None = None
    crop: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Pair:
    """An LQ image with its GT image.

    Attributes:
        lq: RGB, (1, 3, H, W) in [0, 1].
        gt: RGB, (H · scale, W · scale, 3) uint8.
    """

    name: str
    lq: torch.Tensor
    gt: np.ndarray

    def seen_by(self, network: TrainedNetwork) -> Pair:
        """The pair for a network: both images as Y if it restores Y; the LQ image with opaque alpha for RGBA."""
        gt = to_image(to_channels(to_tensor(self.gt), 1)) if network.channels == 1 else self.gt
        return replace(self, lq=to_channels(self.lq, network.channels), gt=gt)


def load_pairs(selection: ImageSelection, networks: Sequence[TrainedNetwork]) -> list[Pair]:
    """Read GT images, crop them to a size that every network accepts, and degrade them.

    Args:
        networks: One or more networks, all of the same scale.

    Raises:
        UserError: No image, an unknown degradation, a number out of range, an image that is too small, or networks of
            several scales.
    """
    check_name(selection.degradation)
    for option, value, least in (('limit', selection.limit, 1), ('crop', selection.crop, 0)):
        if value is not None and value < least:
            raise UserError(f'--{option}: {value}; give {least} or more')
    scale, *others = sorted({network.scale for network in networks})
    if others:
        raise UserError(f"--weights: networks of several scales ({', '.join(map(str, (scale, *others)))}) cannot be "
                        'compared on the same images; give one scale at a time')
    step = math.lcm(*(network.multiple for network in networks))
    source = ImageSource({'dataroot_gt': selection.images})
    pairs = []
    for index, name in enumerate(source.names[:selection.limit]):
        image = source.read(index)
        gt = _cropped(image, selection.crop, scale, step)
        if not gt.size:
            raise UserError(f'{source.paths[index]}: {image.shape[1]}×{image.shape[0]} px, or --crop, is too small: '
                            f'the networks need {step * scale}×{step * scale} px ({step}×{step} px of the LQ image) '
                            'or more')
        rng = noise_rng(selection.seed, name, selection.degradation)
        pairs.append(Pair(name, to_tensor(degrade(gt, selection.degradation, scale, rng)), gt))
    return pairs


def pairs_from_arrays(images: Iterable[tuple[str, np.ndarray, np.ndarray]], network: TrainedNetwork) -> list[Pair]:
    """Convert image pairs that are in memory.

    Args:
        images: Name, LQ image (H, W, 3) and GT image (H · scale, W · scale, 3) of each; uint8 RGB.
        network: The network that will see them.

    Raises:
        UserError: No image, an image that is not uint8 RGB, or sizes that do not fit each other or the network.
    """
    pairs = []
    for name, lq, gt in images:
        for kind, image in (('lq', lq), ('gt', gt)):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise UserError(f'{name}: {kind}: is {image.dtype} {image.shape}; give uint8 RGB, (H, W, 3)')
        if not lq.size or any(side % network.multiple for side in lq.shape[:2]):
            raise UserError(f'{name}: lq: {lq.shape[1]}×{lq.shape[0]} px; {network.label} takes multiples of '
                            f'{network.multiple}, 1 or more')
        if gt.shape[:2] != tuple(network.scale * side for side in lq.shape[:2]):
            raise UserError(f'{name}: gt: {gt.shape[1]}×{gt.shape[0]} px is not {network.scale} times the LQ image, '
                            f'{lq.shape[1]}×{lq.shape[0]} px')
        pairs.append(Pair(name, to_tensor(lq), gt))
    if not pairs:
        raise UserError('images: none; give at least one')
    return pairs


def _cropped(image: np.ndarray, crop: int | None, scale: int, step: int) -> np.ndarray:
    """The central crop, or the top left part of the whole image as in ``mod_crop``; empty if the image is too small."""
    height, width = (min(side, crop * scale) if crop else side for side in image.shape[:2])
    height, width = (side // (scale * step) * (scale * step) for side in (height, width))
    top, left = ((image.shape[0] - height) // 2, (image.shape[1] - width) // 2) if crop else (0, 0)
    return np.ascontiguousarray(image[top:top + height, left:left + width])
