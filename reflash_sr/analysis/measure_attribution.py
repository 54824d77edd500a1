"""Local attribution maps of a network over images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm

from reflash_sr.analysis.attribution import (
    SIGMA,
    STEPS,
    WINDOW,
    Attribution,
    attribute,
    blur_path,
    busiest_window,
    check_window,
)
from reflash_sr.analysis.image_pairs import Pair
from reflash_sr.analysis.on_device import CPU, on_device
from reflash_sr.errors import UserError
from reflash_sr.evaluation.tiled_inference import to_tensor
from reflash_sr.weights.network_from_file import TrainedNetwork

HINT = 'give a smaller --crop'


@dataclass(frozen=True)
class AttributionPlan:
    """What is attributed, and along which path.

    Attributes:
        window: Side of the window, px of the SR image.
        at: Its first row and column, px of the SR image; None: where the GT has most detail
            (:func:`reflash_sr.analysis.attribution.busiest_window`).
        steps: Number of steps of the path.
        sigma: Blur where the path begins, px of the LQ image.
    """

    window: int = WINDOW
    at: tuple[int, int] | None = None
    steps: int = STEPS
    sigma: float = SIGMA

    def places(self, pairs: Sequence[Pair]) -> list[tuple[int, int]]:
        """First row and column of the window of each image.

        Raises:
            UserError: A window is not inside its image, or the path is impossible.
        """
        next(blur_path(pairs[0].lq, self.steps, self.sigma))
        found = []
        for pair in pairs:
            try:
                found.append(self.at or busiest_window(to_tensor(pair.gt), self.window))
                check_window(pair.gt.shape[0], pair.gt.shape[1], *found[-1], self.window)
            except UserError as error:
                raise UserError(f'{pair.name}: {error}') from None
        return found


def attribution_by_image(network: TrainedNetwork, pairs: Sequence[Pair], plan: AttributionPlan,
                         device: torch.device = CPU, amp: bool = False) -> Iterator[Attribution]:
    """Attribute a window of each image.

    Args:
        pairs: Images of sizes that the network accepts.
        amp: Whether to run in bfloat16 mixed precision.

    Yields:
        The attribution, for each image in turn.

    Raises:
        UserError: As for :func:`reflash_sr.analysis.attribution.attribute`.
        RunError: Memory ran out.
    """
    places = plan.places(pairs)
    with on_device(network.net, device, amp, HINT):
        for pair, (top, left) in zip(tqdm(pairs, desc=network.label, disable=None, unit='image'), places):
            lq = pair.seen_by(network).lq.to(device)
            yield attribute(network.net, lq, top, left, plan.window, plan.steps, plan.sigma)
