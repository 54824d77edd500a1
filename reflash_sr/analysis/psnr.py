"""PSNR of many images against one GT image: in torch, on the device, without copies."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch

from reflash_sr.errors import UserError


class Target:
    """A GT image for comparisons: 8 bits, no border cropped.

    Args:
        gt: RGB or Y, (H, W, C) uint8.
        device: Device of the images to compare.
    """

    def __init__(self, gt: np.ndarray, device: torch.device | str = 'cpu'):
        self.levels = torch.from_numpy(np.ascontiguousarray(gt.transpose(2, 0, 1))).to(device, torch.float32)

    def arranged(self, order: torch.Tensor, shape: Sequence[int]) -> Target:
        """The target for images whose values are arranged in another way.

        Args:
            order: For each of their values, its place in an image of this target's shape, flat.
            shape: Shape of those images, (C, H, W).
        """
        other = copy.copy(self)
        other.levels = self.levels.flatten()[order].view(*shape)
        return other

    def psnr(self, images: torch.Tensor) -> np.ndarray:
        """Compare images with the target, rounded to 8 bits as in BasicSR.

        Args:
            images: (K, C, H, W) float32, or more channels, which are not compared; clipped to [0, 1]. They are
                overwritten.

        Returns:
            (K,), dB; infinite where an image is equal to the target.

        Raises:
            UserError: A value is not finite.
        """
        # Image by image, to stay in the cache; row by row, because that is fastest and float32 is exact enough.
        errors = [torch.linalg.vector_norm(one.mul_(255).clamp_(0, 255).round_().sub_(self.levels), dim=-1)
                  for one in images[:, :len(self.levels)]]
        mse = torch.stack(errors).cpu().double().square_().sum((1, 2)).div_(self.levels.numel()).numpy()
        if np.isnan(mse).any():
            raise UserError('the network gave values that are not finite: its weights, or its rescaled channels, are '
                            'too large')
        with np.errstate(divide='ignore'):
            return 10 * np.log10(255**2 / mse)
