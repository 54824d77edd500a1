"""Channel ablation of one layer on one image (paper Sec. 6.1): PSNR lost when channels are removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from reflash_sr.analysis.closed_form_ablation import ClosedForm
from reflash_sr.analysis.features import channel_dim
from reflash_sr.analysis.psnr import Target
from reflash_sr.analysis.replay_from_layer import Replay
from reflash_sr.errors import UserError, suggest
from reflash_sr.positions import Site
from reflash_sr.system.devices import free_memory

ORDERS = ('index', 'random', 'most-important-first', 'least-important-first')
CPU_BUDGET = 192 * 2**20  # bytes of features per batch: on a CPU, larger batches are not faster

Progress = Callable[[int], object]


class Ablation:
    """The channels of one layer of one network on one image.

    Removing channel k sets it to zero and multiplies the others by S / (S − S_k): S_k is the sum of the absolute values
    of channel k, S the sum over all channels. The factor is 1 if S − S_k is 0.

    Args:
        net: The network, in eval mode.
        lq: An image in the network's channels, (1, C, H, W) in [0, 1], on the network's device.
        gt: Its GT image, RGB or Y, (H · scale, W · scale, 3 or 1) uint8. Alpha is not compared.
        layer: As in :func:`reflash_sr.analysis.features.find_layer`.
        batch: Variants per batch. Default: as many as fit into memory.
        closed_form: Whether to use :class:`reflash_sr.analysis.closed_form_ablation.ClosedForm` where possible.

    Attributes:
        output: Output of the network, (1, C, H · scale, W · scale).
        psnr: Its PSNR, dB (8 bits, no border cropped).
        strength: S_k, (C,) float64.
        channels: C.
        closed: Whether the closed form is used.

    Raises:
        UserError: There is no such layer, or it does not hold features of one image; the image's size is wrong.
    """

    @torch.no_grad()
    def __init__(self, net: nn.Module, lq: torch.Tensor, gt: np.ndarray, layer: str | Site, batch: int | None = None,
                 closed_form: bool = True):
        target = Target(gt, lq.device)
        form = ClosedForm.find(net, lq, layer) if closed_form else None
        arranged = None if form is None else form.arranged(target)
        self._engine: ClosedForm | Replay = Replay(net, lq, layer) if form is None or arranged is None else form
        features, self.output = self._engine.features, self._engine.output.float()
        if self.output.shape[2:] != gt.shape[:2]:
            raise UserError(f'gt: is {gt.shape[1]}×{gt.shape[0]} px, and the output of {type(net).__name__} '
                            f'{self.output.shape[3]}×{self.output.shape[2]} px; they must be equal')
        self.closed = isinstance(self._engine, ClosedForm)
        self._batch = batch
        self.psnr = float(target.psnr(self.output.clone())[0])
        self._target = target if arranged is None else arranged
        others = [dim for dim in range(features.dim()) if dim != channel_dim(features)]
        self.strength = features.float().abs().sum(others, dtype=torch.float32).cpu().double().numpy()
        self.channels = len(self.strength)

    @torch.no_grad()
    def single(self, progress: Progress | None = None) -> np.ndarray:
        """Remove each channel alone.

        Args:
            progress: Called with the number of variants finished since the last call.

        Returns:
            (C,): PSNR, dB.
        """
        removed = np.eye(self.channels, dtype=bool)
        if isinstance(self._engine, ClosedForm):
            return self._measure(self._engine.single(self._factors(removed)), progress)
        return self._measure(self._replayed(self._engine, removed), progress)

    @torch.no_grad()
    def in_turn(self, order: Sequence[int] | np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """Remove channels one after the other, cumulatively (Fig. 8).

        Args:
            order: The channels in the order of their removal.
            progress: As for :meth:`single`.

        Returns:
            (C + 1,): PSNR, dB, with 0, 1, …, C channels removed.
        """
        removed = np.zeros((self.channels + 1, self.channels), bool)
        for count, channel in enumerate(order, 1):
            removed[count:, channel] = True
        if isinstance(self._engine, ClosedForm):
            psnr = self._measure(self._engine.in_turn(order, self._factors(removed)), progress)[::-1]
        else:
            psnr = self._measure(self._replayed(self._engine, removed[1:]), progress)
        return np.concatenate(([self.psnr], psnr))

    def _factors(self, removed: np.ndarray) -> np.ndarray:
        """Factor for the remaining channels, (K,); ``removed`` is (K, C)."""
        left = np.where(removed, 0, self.strength).sum(1)
        return np.divide(self.strength.sum(), left, out=np.ones(len(left)), where=left > 0)

    def _replayed(self, replay: Replay, removed: np.ndarray) -> Iterator[torch.Tensor]:
        scales = torch.from_numpy(~removed * self._factors(removed)[:, None])
        scales = scales.to(torch.float32).to(replay.features.device)
        scales = scales[:, :, None, None] if channel_dim(replay.features) == 1 else scales[:, None]
        for part in scales.split(self._batch or _fitting(replay.features, self.output)):
            yield replay(replay.features * part, overwrite=True).float()

    def _measure(self, images: Iterable[torch.Tensor], progress: Progress | None) -> np.ndarray:
        psnr = []
        for some in images:
            psnr.append(self._target.psnr(some))
            if progress is not None:
                progress(len(some))
        return np.concatenate(psnr)


def channel_order(name: str, drops: np.ndarray, seed: int = 0) -> np.ndarray:
    """Choose the order in which channels are removed.

    Args:
        name: One of :data:`ORDERS`.
        drops: (C,): PSNR lost without each channel, dB.
        seed: Seed of the random order.

    Raises:
        UserError: Unknown order.
    """
    if name not in ORDERS:
        raise UserError(f"order: '{name}' is not known{suggest(name, ORDERS)}")
    if name == 'index':
        return np.arange(len(drops))
    if name == 'random':
        return np.random.default_rng(seed).permutation(len(drops))
    sign = -1 if name == 'most-important-first' else 1
    return np.argsort(sign * np.asarray(drops), kind='stable')


def drop(psnr: float | np.ndarray, ablated: np.ndarray) -> np.ndarray:
    """PSNR lost, dB; 0 where both values are infinite. Arrays broadcast."""
    with np.errstate(invalid='ignore'):
        lost = psnr - np.asarray(ablated, np.float64)
    return np.where(np.isnan(lost), 0, lost)


def share_dispensable(psnr: np.ndarray, loss: float = 1.0) -> float:
    """Share of the channels, 0 to 1, that can be removed in the given order before more than ``loss`` dB are lost.

    Args:
        psnr: (C + 1,) of :meth:`Ablation.in_turn`.
        loss: dB.
    """
    lost = drop(psnr[0], psnr) > loss
    return (int(lost.argmax()) - 1 if lost.any() else len(psnr) - 1) / (len(psnr) - 1)


def gini(drops: np.ndarray) -> float:
    """Gini coefficient of the drops of channels: 0 if all are equal, near 1 if one channel causes the whole drop.

    Negative drops (PSNR rises without the channel) count as 0. If there are many (:func:`share_rising`), as in small
    networks on images that interpolation restores better, they alone make the coefficient large; ``gini(abs(drops))``
    measures the inequality of effects of either sign.

    Args:
        drops: (C,), dB; infinite drops count as 0. If all are 0, the result is 0.
    """
    worth = np.sort(np.clip(np.nan_to_num(np.asarray(drops, np.float64), posinf=0), 0, None))
    if not worth.sum():
        return 0.0
    ranks = np.arange(1, len(worth) + 1)
    return float((2 * ranks - len(worth) - 1) @ worth / (len(worth) * worth.sum()))


def share_rising(drops: np.ndarray) -> float:
    """Share of the channels without which PSNR rises, 0 to 1."""
    return float((np.asarray(drops) < 0).mean())


def _fitting(features: torch.Tensor, output: torch.Tensor) -> int:
    """Number of variants that fit into memory; each is estimated as 64 channels of the output's size, or the layer."""
    height, width = output.shape[2:]
    each = 4 * 4 * max(features.numel(), 64 * height * width)
    free = free_memory(features.device)
    budget = CPU_BUDGET if features.device.type == 'cpu' or free is None else free // 4
    return int(min(max(budget // each, 1), 64))
