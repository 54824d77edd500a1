"""Alignment of features of two degradations of the same image: Simple-Align (CVPR 2024, arXiv 2402.18929)."""

from __future__ import annotations

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from reflash_sr.errors import UserError
from reflash_sr.options.value_rules import NOT_NEGATIVE


@LOSS_REGISTRY.register()
class AlignLoss(nn.Module):
    """Squared difference of first- and second-order statistics between two views of the same images.

    The statistics are those of the channels' means over the image, less their mean over the batch; and of the same
    after random Fourier features, which see what is not linear. From the authors' code, whose sum over the samples is
    kept; it normalises the phases of the Fourier features to [0, π/2] in each sample.

    Args:
        loss_weight: Weight of the whole.
        linear: Weight of the statistics themselves.
        fourier: Weight of those of the random Fourier features, drawn anew for every sample.
        layer: Layer whose features are aligned, as in :func:`reflash_sr.analysis.features.find_layer`; the default is
            the input of the last convolution.

    Raises:
        UserError: A weight is below 0 or not a number.
    """

    def __init__(self, loss_weight: float = 1.0, linear: float = 1.0, fourier: float = 1.0, layer: str = 'last'):
        super().__init__()
        for name, value in (('loss_weight', loss_weight), ('linear', linear), ('fourier', fourier)):
            if not NOT_NEGATIVE.holds(value):
                raise UserError(f'{name}: must be {NOT_NEGATIVE.wanted}, not {value!r}')
        self.loss_weight, self.linear, self.fourier, self.layer = loss_weight, linear, fourier, layer

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The loss of features (2B, C, H, W), or tokens (2B, N, C): B samples of the first view, then of the second."""
        means = features.float().mean((2, 3) if features.dim() == 4 else 1)
        first, second = (view - view.mean(0) for view in means.chunk(2))
        loss = self.linear * _statistics(first, second)
        if self.fourier:
            loss = loss + self.fourier * _statistics(*_fourier(first, second))
        return self.loss_weight * loss


def _statistics(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The sum over samples of the mean squares of u - v and of u·uᵀ - v·vᵀ; u and v are (B, C)."""
    outer = u[:, :, None] * u[:, None] - v[:, :, None] * v[:, None]
    return ((u - v)**2).mean(1).sum() + (outer**2).mean((1, 2)).sum()


def _fourier(*views: torch.Tensor) -> list[torch.Tensor]:
    """√2 · (cos + sin) of random phases, the same for all views of a sample; views are (B, C)."""
    slope = torch.randn_like(views[0][:, :1])
    offset = 2 * torch.pi * torch.rand_like(views[0])
    found = []
    for view in views:
        phase = view * slope + offset
        phase = phase - phase.amin(1, keepdim=True)
        phase = phase / phase.amax(1, keepdim=True).clamp(min=torch.finfo(phase.dtype).tiny) * (torch.pi / 2)
        found.append(2**0.5 * (phase.cos() + phase.sin()))
    return found
