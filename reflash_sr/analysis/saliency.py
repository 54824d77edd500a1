"""Channel saliency maps of one image (paper Sec. 6.1): where each channel of a layer influences detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from reflash_sr.analysis.features import as_maps, tap
from reflash_sr.errors import UserError


@dataclass(frozen=True)
class Saliency:
    """Saliency of one layer.

    Attributes:
        features: Features of the layer, (C, H, W) float32 (:func:`reflash_sr.analysis.features.as_maps`).
        maps: Saliency, (C, H, W) in [0, 1]: its maximum over the layer is 1, or every value is 0.
        peak: The maximum before normalisation.
        drops: PSNR lost without each channel, dB, (C,); None if it was not measured.
    """

    features: np.ndarray
    maps: np.ndarray
    peak: float
    drops: np.ndarray | None = None

    @property
    def scores(self) -> np.ndarray:
        """The score of each channel: the sum of its map, (C,) float64."""
        return self.maps.sum((1, 2), dtype=np.float64)


def gradient_lengths(sr: torch.Tensor) -> torch.Tensor:
    """√(Δh² + Δw²) of an image, forward differences, for each colour and (H − 1) × (W − 1) pixels.

    The derivative is 0 where both differences are 0.

    Args:
        sr: (B, C, H, W); a fourth channel, alpha, does not count.
    """
    sr = sr[:, :3] if sr.shape[1] > 3 else sr
    down = sr[..., 1:, :-1] - sr[..., :-1, :-1]
    right = sr[..., :-1, 1:] - sr[..., :-1, :-1]
    return torch.linalg.vector_norm(torch.stack((down, right)), dim=0)


def detail(sr: torch.Tensor) -> torch.Tensor:
    """Detail in an image: the sum of :func:`gradient_lengths` over colours and pixels."""
    return gradient_lengths(sr).sum()


def channel_saliency(net: nn.Module, lq: torch.Tensor, layers: Sequence[str]) -> dict[str, Saliency]:
    """Compute |∂ detail / ∂ features| of layers, in one backward pass for all of them.

    Args:
        net: The network, in eval mode.
        lq: An image in the network's channels, (1, C, H, W) in [0, 1].
        layers: As in :func:`reflash_sr.analysis.features.find_layer`.

    Returns:
        The saliency by layer.

    Raises:
        UserError: There is no such layer, or it holds no features.
    """
    with torch.enable_grad(), tap(net, layers) as seen:
        # Weights may be frozen, so the image requires the gradient. A copy, because the network may change it in place.
        total = detail(net(lq.detach().clone().requires_grad_().clone()).float())
        features = [seen[layer] for layer in layers]
        reached = [one for one in features if one.requires_grad]
        found: dict[int, torch.Tensor | None] = {}
        if reached and total.requires_grad:
            found = dict(zip(map(id, reached), torch.autograd.grad(total, reached, allow_unused=True)))
    gradients = [found.get(id(one)) for one in features]
    return {layer: _normalised(one, gradient, lq.shape[-2:])
            for layer, one, gradient in zip(layers, features, gradients)}


def _normalised(features: torch.Tensor, gradient: torch.Tensor | None, size: Sequence[int]) -> Saliency:
    length = torch.zeros_like(features) if gradient is None else gradient.abs()
    if not torch.isfinite(length).all():
        raise UserError('saliency: the gradient is not finite: the weights of the network are too large')
    maps = as_maps(length, size)
    peak = float(maps.max(initial=0))
    return Saliency(as_maps(features.detach(), size), maps / peak if peak else maps, peak)


def rank_correlation(scores: np.ndarray, drops: np.ndarray) -> float | None:
    """Spearman's rank correlation of saliency scores and drops of channels, −1 to 1.

    None if one of them is constant or not finite, or if there is one channel only.

    Args:
        scores: (C,).
        drops: (C,), dB.
    """
    scores, drops = np.asarray(scores, np.float64), np.asarray(drops, np.float64)
    if len(scores) < 2 or not (np.isfinite(scores).all() and np.isfinite(drops).all()):
        return None
    if not np.ptp(scores) or not np.ptp(drops):
        return None
    return float(spearmanr(scores, drops).statistic)
