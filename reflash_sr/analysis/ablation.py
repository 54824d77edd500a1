"""Channel ablation (paper Sec. 6.1, Fig. 6 and 8): how much quality is lost when channels of a layer are removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from reflash_sr.analysis.closed_form import ClosedForm
from reflash_sr.analysis.features import channel_dim
from reflash_sr.analysis.psnr import Target
from reflash_sr.analysis.replay import Replay
from reflash_sr.errors import UserError, suggest
from reflash_sr.system.devices import free_memory

ORDERS = ('index', 'random', 'most-important-first', 'least-important-first')
CPU_BUDGET = 192 * 2**20  # bytes of features at a time: more images at once are not faster there

Progress = Callable[[int], object]


class Ablation:
    """The channels of one layer of one network on one image.

    Removing a channel sets it to zero and multiplies the others by S / (S − S_k), with S_k the sum of the absolute
    values of channel k and S of all. Where nothing but dead channels is left, or there is nothing to begin with, the
    factor is 1: with every channel removed, the features are all zero.

    Args:
        net: The network, in eval mode.
        lq: An image, (1, 3, H, W) in [0, 1], on the network's device.
        gt: What it should become, (H · scale, W · scale, 3) uint8 RGB.
        layer: As in :func:`reflash_sr.analysis.features.find_layer`.
        batch: How many variants run at the same time. Default: what memory allows.
        closed_form: Whether to compute the input of the last convolution without running anything, where it can be.

    Attributes:
        output: What the network makes of the image, (1, 3, H · scale, W · scale).
        psnr: Its PSNR, dB (8-bit RGB, no border cropped).
        strength: S_k, (C,) float64.
        closed: Whether the closed form is used.

    Raises:
        UserError: There is no such layer, or it does not hold features of one image; the image's size is wrong.
    """

    @torch.no_grad()
    def __init__(self, net: nn.Module, lq: torch.Tensor, gt: np.ndarray, layer: str, batch: int | None = None,
                 closed_form: bool = True):
        self._engine: ClosedForm | Replay = (closed_form and ClosedForm.find(net, lq, layer)) or Replay(net, lq, layer)
        features, self.output = self._engine.features, self._engine.output.float()
        if self.output.shape[2:] != gt.shape[:2]:
            raise UserError(f'gt: is {gt.shape[1]}×{gt.shape[0]} px, and the output of {type(net).__name__} '
                            f'{self.output.shape[3]}×{self.output.shape[2]} px; they must be equal')
        self._target = Target(gt, lq.device)
        self._dim = channel_dim(features)
        self.batch = batch or _fitting(features, self.output)
        self.psnr = float(self._target.psnr(self.output.clone())[0])
        others = [dim for dim in range(features.dim()) if dim != self._dim]
        self.strength = features.float().abs().sum(others, dtype=torch.float32).cpu().double().numpy()

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.strength)

    @property
    def closed(self) -> bool:
        return isinstance(self._engine, ClosedForm)

    @torch.no_grad()
    def single(self, progress: Progress | None = None) -> np.ndarray:
        """Remove each channel alone.

        Args:
            progress: Is told how many were done, now and then.

        Returns:
            (C,): PSNR, dB.
        """
        removed = np.eye(self.channels, dtype=bool)
        if self.closed:
            return self._measure(self._engine.single(self._factors(removed)), progress)
        return self._measure(self._replayed(removed), progress)

    @torch.no_grad()
    def in_turn(self, order: Sequence[int], progress: Progress | None = None) -> np.ndarray:
        """Remove channels one after the other, cumulatively (Fig. 8).

        Args:
            order: The channels in the order of their removal.
            progress: Is told how many were done, now and then.

        Returns:
            (C + 1,): PSNR, dB, with 0, 1, …, C channels removed.
        """
        removed = np.zeros((self.channels + 1, self.channels), bool)
        for count, channel in enumerate(order, 1):
            removed[count:, channel] = True
        if self.closed:
            psnr = self._measure(self._engine.in_turn(order, self._factors(removed)), progress)[::-1]
        else:
            psnr = self._measure(self._replayed(removed[1:]), progress)
        return np.concatenate(([self.psnr], psnr))

    def _factors(self, removed: np.ndarray) -> np.ndarray:
        """By what the channels that are left are multiplied, (K,), for (K, C) that tells which are removed."""
        left = np.where(removed, 0, self.strength).sum(1)
        return np.divide(self.strength.sum(), left, out=np.ones(len(left)), where=left > 0)

    def _replayed(self, removed: np.ndarray) -> Iterator[torch.Tensor]:
        scales = torch.from_numpy(~removed * self._factors(removed)[:, None])
        scales = scales.to(torch.float32).to(self._engine.features.device)
        scales = scales[:, :, None, None] if self._dim == 1 else scales[:, None]
        for part in scales.split(self.batch):
            yield self._engine(self._engine.features * part, overwrite=True).float()

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
        drops: (C,): what the network loses without each channel, dB (:meth:`Ablation.single`).
        seed: Of the random order.

    Raises:
        UserError: The order is not known.
    """
    if name not in ORDERS:
        raise UserError(f"order: '{name}' is not known{suggest(name, ORDERS)}")
    if name == 'index':
        return np.arange(len(drops))
    if name == 'random':
        return np.random.default_rng(seed).permutation(len(drops))
    sign = -1 if name == 'most-important-first' else 1
    return np.argsort(sign * np.asarray(drops), kind='stable')


def drop(psnr: float, ablated: np.ndarray) -> np.ndarray:
    """What was lost, dB; 0 where both are infinite."""
    with np.errstate(invalid='ignore'):
        lost = psnr - np.asarray(ablated, np.float64)
    return np.where(np.isnan(lost), 0, lost)


def share_dispensable(psnr: np.ndarray, loss: float = 1.0) -> float:
    """How large a share of the channels may go, in their order, before more than ``loss`` dB are lost.

    Args:
        psnr: (C + 1,): of :meth:`Ablation.in_turn`.
        loss: dB.

    Returns:
        Between 0 and 1.
    """
    lost = drop(psnr[0], psnr) > loss
    return (int(lost.argmax()) - 1 if lost.any() else len(psnr) - 1) / (len(psnr) - 1)


def gini(drops: np.ndarray) -> float:
    """Gini coefficient of what channels are worth: 0 where all are worth the same, near 1 where one has it all.

    Channels without which PSNR rises count as worth nothing. Where there are many (:func:`share_rising`), as in small
    networks on images that interpolation restores better, they alone make it large; ``gini(abs(drops))`` says how
    unevenly channels act, for better or worse.

    Args:
        drops: (C,), dB; negative and infinite ones count as 0. All zero: 0.
    """
    worth = np.sort(np.clip(np.nan_to_num(np.asarray(drops, np.float64), posinf=0), 0, None))
    if not worth.sum():
        return 0.0
    ranks = np.arange(1, len(worth) + 1)
    return float((2 * ranks - len(worth) - 1) @ worth / (len(worth) * worth.sum()))


def share_rising(drops: np.ndarray) -> float:
    """Share of the channels without which PSNR rises, [0, 1]."""
    return float((np.asarray(drops) < 0).mean())


def _fitting(features: torch.Tensor, output: torch.Tensor) -> int:
    """How many variants fit into memory: each holds some features of the output's size, or the layer's."""
    height, width = output.shape[2:]
    each = 4 * 4 * max(features.numel(), 64 * height * width)
    free = free_memory(features.device)
    budget = CPU_BUDGET if features.device.type == 'cpu' or free is None else free // 4
    return int(min(max(budget // each, 1), 64))
