"""Running a network on one image: padding, tiles, mixed precision, memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from reflash_sr.data.images.channels import from_channels, to_channels
from reflash_sr.errors import UserError
from reflash_sr.system.devices import arrange, free_memory, is_out_of_memory, release_memory

OVERLAP = 32  # px of the LQ image; 16 blocks of SRResNet see 36 px on each side, but the outermost hardly matter
CPU = torch.device('cpu')
SMALLEST_TILE = 16  # px
MEMORY_SHARE = 0.7  # of free memory
STRIP_SHARE, LARGEST_STRIP = 0.1, 2**29  # of free memory, and bytes: a strip of results
PROBE = 32  # px: side of the image with which memory is estimated
HELD = 2.0  # factor for tensors held by long skips and for the allocator's overhead


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, C) uint8 to (1, C, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].float() / 255


def to_image(tensor: torch.Tensor) -> np.ndarray:
    """(1, C, H, W) in [0, 1] to (H, W, C) uint8: clipped, rounded half to even, as BasicSR's ``tensor2img`` does.

    Raises:
        UserError: A value is not finite.
    """
    if not torch.isfinite(tensor).all():
        raise UserError('the network gave values that are not finite')
    levels = tensor.detach()[0].float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().cpu().numpy()


@dataclass
class Restorer:
    """A network on a device; restores images of any size.

    RGB images become Y or RGBA for a network of 1 or 4 channels, and its results RGB again, as
    :mod:`reflash_sr.data.images.channels` says.

    Args:
        net: Network for (B, channels, H, W) in [0, 1]; is moved to the device.
        scale: Upscaling factor.
        multiple: Both sides of its input must be multiples of this, px.
        amp: Whether to run in bfloat16 mixed precision; the output stays float32.
        tile: Side of a tile, px of the LQ image; None: tiles only if the whole image does not fit into memory; 0:
            never tiles.
        overlap: Context around a tile, px of the LQ image.
        channels: Channels of the network: 1, 3 or 4.
        memory_format: Of the network's weights; they are converted.

    Attributes:
        forced_tile: Side of the smallest tile used because memory was short, px of the LQ image; 0: none.
    """

    net: nn.Module
    scale: int
    multiple: int = 1
    device: torch.device = CPU
    amp: bool = False
    tile: int | None = None
    overlap: int = OVERLAP
    channels: int = 3
    memory_format: torch.memory_format = torch.channels_last

    def __post_init__(self):
        self.net = arrange(self.net.to(self.device), self.memory_format)
        self._bytes: float | None = None
        self.forced_tile = 0

    @torch.no_grad()
    def __call__(self, lq: torch.Tensor) -> torch.Tensor:
        """Restore an image.

        Args:
            lq: RGB, or an image with the channels of the network: (1, C, H, W) in [0, 1].

        Returns:
            (1, C, H · scale, W · scale) float32, on the device, not clipped.

        Raises:
            UserError: The network cannot be run on an image of this size.
        """
        return _joined(self.strips(lq), lq.shape[-2] * self.scale)

    @torch.no_grad()
    def strips(self, lq: torch.Tensor) -> Iterator[torch.Tensor]:
        """Restore an image strip by strip, from top to bottom, so that the whole result need not be in memory.

        A strip is a row of tiles, or the whole image if it is not tiled. Joined, the strips are the result of a call.
        """
        tile, done, height = self._fitting_tile(lq) if self.tile is None else self.tile, 0, lq.shape[-2]
        while done < height:
            try:
                for strip in tiled_strips(self._run, lq, self.scale, self.multiple, tile, self.overlap, done):
                    yield strip
                    done += strip.shape[-2] // self.scale
                    del strip
            except RuntimeError as error:
                smaller = (tile or max(lq.shape[-2:])) // 2
                if not is_out_of_memory(error) or smaller < SMALLEST_TILE or self.tile == 0:
                    raise
                tile = smaller
            if done < height:
                release_memory(self.device)
        if tile and self.tile is None:
            self.forced_tile = min(self.forced_tile or tile, tile)

    def restore(self, lq: np.ndarray) -> np.ndarray:
        """Restore (H, W, 3) uint8; returns (H · scale, W · scale, 3) uint8."""
        return np.concatenate([to_image(strip) for strip in self.strips(to_tensor(lq))])

    def error_of_amp(self, lq: torch.Tensor) -> float:
        """What mixed precision changes in the result for an image: root mean square, 8-bit grey levels."""
        exact = replace(self, amp=False)
        return 255 * float((self(lq).clamp(0, 1) - exact(lq).clamp(0, 1)).square().mean().sqrt())

    def _run(self, given: torch.Tensor) -> torch.Tensor:
        lq = to_channels(given, self.channels).to(self.device)
        try:
            with torch.autocast(self.device.type, torch.bfloat16) if self.amp else nullcontext():
                sr = self.net(lq.contiguous(memory_format=self.memory_format)).float()
        except RuntimeError as error:  # some networks do not take images of a few pixels, for instance
            if is_out_of_memory(error) or 'CUDA error' in str(error):
                raise
            height, width = lq.shape[-2:]
            raise UserError(f'the network cannot be run on {width}×{height} px ({str(error).splitlines()[0]})'
                            ) from error
        return from_channels(sr, given)

    def _fitting_tile(self, lq: torch.Tensor) -> int:
        """Side of a tile that fits into free memory; 0 if the whole image does."""
        height, width = lq.shape[-2:]
        if height * width <= 64 * 64:
            return 0
        fitting = self._fitting_pixels()
        if height * width > fitting:  # memory of earlier images may still be held
            release_memory(self.device)
            fitting = self._fitting_pixels()
        if height * width <= fitting:
            return 0
        # A strip of results, 3 channels of float32, must fit into memory beside a tile.
        strip = min(STRIP_SHARE * fitting * (self._bytes or 0) / MEMORY_SHARE, LARGEST_STRIP)
        highest = strip / (width * self.scale**2 * 3 * 4)
        return max(int(min(fitting**0.5 - 2 * self.overlap, highest)), SMALLEST_TILE)

    def _fitting_pixels(self) -> float:
        """Number of pixels of an LQ image that fit into free memory; infinite if unknown."""
        if self._bytes is None:
            self._bytes = bytes_per_pixel(self.net, self.multiple, self.device, self.channels)
        free = free_memory(self.device)
        return float('inf') if free is None else MEMORY_SHARE * free / self._bytes


def tiled(run: Callable[[torch.Tensor], torch.Tensor], lq: torch.Tensor, scale: int, multiple: int = 1, tile: int = 0,
          overlap: int = OVERLAP) -> torch.Tensor:
    """Restore an image, whole or in tiles that overlap; pads it to a size that the network accepts.

    If ``overlap`` covers the receptive field, tiles give the same result as the whole image.

    Args:
        run: (B, C, h, w) to (B, C, h · scale, w · scale).
        lq: (B, C, H, W).
        scale: Upscaling factor.
        multiple: Both sides of the input of ``run`` are multiples of this, px.
        tile: Side of a tile, px, without the overlap; 0: the whole image.
        overlap: Context around a tile, px.

    Returns:
        (B, C, H · scale, W · scale).
    """
    return _joined(tiled_strips(run, lq, scale, multiple, tile, overlap), lq.shape[-2] * scale)


def tiled_strips(run: Callable[[torch.Tensor], torch.Tensor], lq: torch.Tensor, scale: int, multiple: int = 1,
                 tile: int = 0, overlap: int = OVERLAP, start: int = 0) -> Iterator[torch.Tensor]:
    """The result of :func:`tiled` row of tiles by row of tiles, from row ``start`` of the LQ image on."""
    height, width = lq.shape[-2:]
    lq = _pad(lq, multiple)
    if not tile or max(height, width) <= tile:
        yield run(lq)[..., :height * scale, :width * scale]
        return
    tile, overlap = _up(tile, multiple), _up(overlap, multiple)
    for top, bottom, top_seen, bottom_seen in _sides(lq.shape[-2], tile, overlap, start):
        strip: torch.Tensor | None = None
        for left, right, left_seen, right_seen in _sides(lq.shape[-1], tile, overlap):
            out = run(lq[..., top_seen:bottom_seen, left_seen:right_seen])
            if strip is None:
                strip = out.new_empty(*out.shape[:2], (bottom - top) * scale, lq.shape[-1] * scale)
            strip[..., left * scale:right * scale] = out[
                ..., (top - top_seen) * scale:(bottom - top_seen) * scale,
                (left - left_seen) * scale:(right - left_seen) * scale]
            del out
        assert strip is not None
        yield strip[..., :(min(bottom, height) - top) * scale, :width * scale]


def _joined(strips: Iterator[torch.Tensor], height: int) -> torch.Tensor:
    """One image of several strips; a single strip is not copied."""
    first = next(strips)
    if first.shape[-2] == height:
        return first
    sr, done = first.new_empty(*first.shape[:2], height, first.shape[-1]), 0
    for strip in itertools.chain([first], strips):
        sr[..., done:done + strip.shape[-2], :] = strip
        done += strip.shape[-2]
    return sr


def _sides(length: int, tile: int, overlap: int, start: int = 0) -> Iterator[tuple[int, int, int, int]]:
    """Begin and end of each tile along one side, without and with its overlap."""
    for begin in range(start, length, tile):
        end = min(begin + tile, length)
        yield begin, end, max(begin - overlap, 0), min(end + overlap, length)


def _pad(lq: torch.Tensor, multiple: int) -> torch.Tensor:
    down, right = (-side % multiple for side in lq.shape[-2:])
    if not (down or right):
        return lq
    mode = 'reflect' if down < lq.shape[-2] and right < lq.shape[-1] else 'replicate'
    return F.pad(lq, (0, right, 0, down), mode=mode)


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


@torch.no_grad()
def bytes_per_pixel(net: nn.Module, multiple: int, device: torch.device, channels: int = 3) -> float:
    """Estimate the peak memory of a forward pass, in bytes of float32 for each pixel of the LQ image.

    The estimate is the size of input and output of the largest layer on a small image, times :data:`HELD`.
    """
    side = _up(PROBE, multiple)
    most = 0

    def note(module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal most
        most = max(most, sum(one.numel() * 4 for one in (*inputs, output) if isinstance(one, torch.Tensor)))

    handles = [module.register_forward_hook(note) for module in net.modules()]
    try:
        image = torch.zeros(1, channels, side, side, device=device)
        note(net, (image,), net.forward(image))  # a compiled network is not compiled for this size
    finally:
        for handle in handles:
            handle.remove()
    return HELD * most / side**2
