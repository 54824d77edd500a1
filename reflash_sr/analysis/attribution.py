"""Local attribution maps (LAM) of one image: which pixels of the LQ image a window of the SR image depends on.

After "Interpreting Super-Resolution Networks with Local Attribution Maps" (Gu and Dong, CVPR 2021, arXiv 2011.11036):
the path integral of the gradient of detail along a path of less and less blurred images, the detector of detail, and
the diffusion index. The text of the paper was not at hand, so no sections are named. The numbers that are not in its
formulas (window, steps, blur) are those of the authors' demo, https://github.com/X-Lowlevel-Vision/LAM_Demo; so are the
rule of the integral (the gradient at the sharper end of each step), and the border of the blur (mirrored).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from reflash_sr.analysis.ablation import gini
from reflash_sr.analysis.saliency import detail, gradient_lengths
from reflash_sr.errors import UserError

WINDOW, STEPS, SIGMA = 16, 50, 1.2  # px of the SR image, number, px of the LQ image: the authors' demo
ROUNDING = 1e-9  # a map with no larger sum is rounding alone
REACH = 10 / 3  # radius of the blur in units of sigma: 9 px at 1.2, the authors' kernel


@dataclass(frozen=True)
class Attribution:
    """The attribution of one window.

    Attributes:
        map: Attribution of each pixel of the LQ image, the sum over its channels, (H, W) float64. Positive: the pixel
            added detail to the window, on the way from blurred to sharp.
        sr: The SR image, (H · scale, W · scale, C) float32, not clipped.
        top: First row of the window, px of the SR image.
        left: First column.
        side: Side of the window; its gradients also see the row below it and the column to its right.
        detail: Detail in the window of the SR image (:func:`reflash_sr.analysis.saliency.detail`).
        detail_blurred: The same, of the SR image of the blurred LQ image, where the path begins.
    """

    map: np.ndarray
    sr: np.ndarray
    top: int
    left: int
    side: int
    detail: float
    detail_blurred: float

    @property
    def scale(self) -> int:
        """Scale of the network."""
        return self.sr.shape[0] // self.map.shape[0]

    @property
    def diffusion_index(self) -> float | None:
        """How widely the pixels that matter are spread, 0 to 100; None if no pixel matters."""
        return diffusion_index(self.map) if np.abs(self.map).sum() > ROUNDING else None

    @property
    def gap(self) -> float | None:
        """Error of the integral: |sum of the map − gained detail| / |gained detail|. None if no detail was gained.

        Both are equal for infinitely many steps (completeness of path integrals).
        """
        gained = self.detail - self.detail_blurred
        return float(abs(self.map.sum() - gained) / abs(gained)) if gained else None


def attribute(net: nn.Module, lq: torch.Tensor, top: int, left: int, side: int = WINDOW, steps: int = STEPS,
              sigma: float = SIGMA) -> Attribution:
    """Attribute the detail of a window of the SR image to the pixels of the LQ image.

    With γ(α) the LQ image blurred by a Gaussian of (1 − α) σ, and D the detail of the window, the map is
    Σₖ ∂D/∂γ(k/m) · (γ(k/m) − γ((k − 1)/m)) for k = 1 … m: the paper's progressive blurring path and gradient detector.

    Args:
        net: The network, in eval mode.
        lq: An image in the network's channels, (1, C, H, W) in [0, 1].
        top: First row of the window, px of the SR image.
        left: First column.
        side: Side of the window.
        steps: Number of steps m, each a forward and a backward pass.
        sigma: Standard deviation of the blur where the path begins, px of the LQ image.

    Raises:
        UserError: The window is not inside the SR image, or a value is not finite.
    """
    images = blur_path(lq, steps, sigma)
    before = next(images)
    with torch.no_grad():
        sr = net(before.clone())
        check_window(sr.shape[-2], sr.shape[-1], top, left, side)
        blurred = float(_detail(sr, top, left, side))
    found = np.zeros(tuple(lq.shape[-2:]))
    for image in images:
        gradient, sr = _gradient(net, image, top, left, side)
        if not torch.isfinite(gradient).all():
            raise UserError('attribution: the gradient is not finite: the weights of the network are too large')
        found += (gradient * (image - before)).sum((0, 1)).cpu().double().numpy()
        before = image
    pixels = sr[0].float().permute(1, 2, 0).cpu().numpy()
    return Attribution(found, pixels, top, left, side, float(_detail(sr, top, left, side)), blurred)


def blur_path(lq: torch.Tensor, steps: int = STEPS, sigma: float = SIGMA) -> Iterator[torch.Tensor]:
    """The path γ(0), γ(1/m), …, γ(1): m + 1 images from blurred to sharp, the last one the image itself.

    The kernels are cut at 10/3 of the largest sigma, and the image is mirrored at its border.
    """
    most = max(*lq.shape[-2:], 2)
    if steps < 1 or not 0 < sigma <= most:
        raise UserError(f'attribution: {steps} steps from sigma {sigma}; give 1 step or more, and a sigma above 0, at '
                        f'most {most} px, the longer side of the image')
    size = 2 * max(round(REACH * sigma), 1) + 1
    sharp = np.ascontiguousarray(lq.detach()[0].permute(1, 2, 0).cpu().numpy())
    for step in range(steps):
        image = cv2.GaussianBlur(sharp, (size, size), sigma * (1 - step / steps), borderType=cv2.BORDER_REFLECT_101)
        yield torch.from_numpy(image.reshape(sharp.shape)).permute(2, 0, 1)[None].to(lq.device)
    yield lq.detach()


def diffusion_index(attribution: np.ndarray) -> float | None:
    """The diffusion index DI = 100 (1 − G), G the Gini coefficient of the absolute values (paper, and authors' demo).

    100 / n if a single one of n pixels matters, 100 if all matter alike, None if none does. It grows with the share of
    the image that matters, so it is comparable between networks on images of one size. (The demo adds 10⁻⁷ of the
    largest value to every pixel; this does not.)

    Args:
        attribution: (H, W), of either sign.
    """
    sizes = np.abs(attribution).ravel()
    return 100 * (1 - gini(sizes)) if sizes.any() else None


def contribution_area(attribution: np.ndarray) -> np.ndarray:
    """The area of contribution: the density of |attribution| in the plane, its maximum 1, (H, W) float64.

    As in the authors' demo a Gaussian kernel density of the pixels, weighted, with Scott's bandwidth; here with one
    bandwidth for each axis instead of a full covariance, so that it is a blur. All zeros if no pixel matters.

    Args:
        attribution: (H, W), of either sign.
    """
    weights = np.abs(attribution)
    if not weights.any():
        return weights
    weights = weights / weights.sum()
    scott = (weights**2).sum() ** (1 / 6)  # (number of points that count)^(−1/6)
    widths = []
    for axis in (0, 1):
        share, places = weights.sum(1 - axis), np.arange(weights.shape[axis])
        widths.append(scott * np.sqrt(share @ (places - share @ places)**2))
    density = gaussian_filter(weights, widths, mode='constant')
    return density / density.max()


def busiest_window(image: torch.Tensor, side: int = WINDOW) -> tuple[int, int]:
    """First row and column of the window with most detail, the first one of equals, in the middle half of an image.

    A quarter of the image (less if the window would not fit) is left around it, so that a network's reach is seen.

    Args:
        image: The image, at the size of the SR image, (1, C, H, W); the GT, so that all networks share the window.

    Raises:
        UserError: The window does not fit.
    """
    check_window(image.shape[-2], image.shape[-1], 0, 0, side)
    lengths = gradient_lengths(image.detach().cpu().double()).sum((0, 1))
    sums = torch.nn.functional.avg_pool2d(lengths[None], side, stride=1)[0]
    down, right = (min(length // 4, (free - 1) // 2) for length, free in zip(image.shape[-2:], sums.shape))
    inner = sums[down:sums.shape[0] - down, right:sums.shape[1] - right]
    row, column = divmod(int(inner.argmax()), inner.shape[1])
    return down + row, right + column


def check_window(height: int, width: int, top: int, left: int, side: int) -> None:
    """Raise ``UserError`` if a window, with the row below and the column to its right, is not inside an image."""
    if side < 1 or min(top, left) < 0 or top + side >= height or left + side >= width:
        raise UserError(f'window: {side}×{side} px at row {top}, column {left} is not inside the SR image of {width}×'
                        f'{height} px, with one row below and one column to the right; give a smaller window, or '
                        'another place')


def _detail(sr: torch.Tensor, top: int, left: int, side: int) -> torch.Tensor:
    window = sr[..., top:top + side + 1, left:left + side + 1]
    return detail(window if window.dtype == torch.float64 else window.float())


def _gradient(net: nn.Module, image: torch.Tensor, top: int, left: int,
              side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of detail with respect to an image, zeros if the network does not pass it on; and the SR image."""
    with torch.enable_grad():
        point = image.clone().requires_grad_()
        sr = net(point.clone())  # a copy, because the network may change it in place
        total = _detail(sr, top, left, side)
        gradient = torch.autograd.grad(total, point, allow_unused=True)[0] if total.requires_grad else None
    return torch.zeros_like(image) if gradient is None else gradient, sr.detach()
