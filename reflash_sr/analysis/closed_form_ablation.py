"""Channel ablation without running the network, for a layer that feeds only the last convolution.

What comes after that convolution must be linear: additions, scaling, a pixel shuffle
(:mod:`~reflash_sr.analysis.linear_tail`). Then the contribution of each channel to the output is computed once, and
ablated outputs are sums of contributions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from reflash_sr.analysis.features import find_layer
from reflash_sr.analysis.linear_tail import Tail, follow
from reflash_sr.analysis.psnr import Target
from reflash_sr.positions import Site

CHUNK = 8  # channels at a time: their contributions stay in the cache
STEEP = 20.0  # factor above which the rounding error of a difference of nearly equal numbers would be visible


class ClosedForm:
    """The output of a network as a sum over the channels of the input of its last convolution.

    Images are kept as the convolution gives them, before any pixel shuffle: the error against a GT image that is
    arranged in the same way is the same, and nothing has to be shuffled for each channel.

    Args:
        conv: The last convolution.
        tail: What comes after it.

    Attributes:
        features: Input of the convolution, (1, C, H, W).
        response: Its output without its bias, scaled as in the output of the network, (1, N, h, w).
        rest: The output of the network minus the response, arranged in the same way, (1, N, h, w).
        output: The output with all channels, as an image, (1, N, H · scale, W · scale).
    """

    def __init__(self, conv: nn.Conv2d, tail: Tail):
        self.conv, self.output, self._order = conv, tail.output, tail.order
        self.features, self._padded = tail.features.contiguous(), None
        bias = 0 if conv.bias is None else conv.bias.float().view(1, -1, 1, 1)
        self.response = (tail.scale * (tail.fed[:1] - bias)).contiguous()
        self.rest = (tail.rest[:1] + tail.scale * bias).contiguous()
        self._weight = (conv.weight.float() * tail.scale.view(-1, 1, 1, 1)).contiguous()
        if set(conv.stride) == {1} and not isinstance(conv.padding, str):
            (down, right), (height, width) = conv.padding, self.features.shape[2:]
            self._padded = F.pad(self.features[0], (right, right, down, down))
            self.features = self._padded[None, :, down:down + height, right:right + width]

    @classmethod
    @torch.no_grad()
    def find(cls, net: nn.Module, lq: torch.Tensor, layer: str | Site) -> ClosedForm | None:
        """Run a network once, and return the closed form of a layer.

        Args:
            net: The network, in eval mode.
            lq: An image, (1, N, H, W).
            layer: As in :func:`reflash_sr.analysis.features.find_layer`.

        Returns:
            None if the layer is not the input of a convolution, or what comes after it is not linear.
        """
        site = find_layer(net, layer)
        conv = net.get_submodule(site.module)
        if isinstance(conv, nn.Sequential) and len(conv):  # SwinIR's convolution and pixel shuffle
            conv = conv[0]
        if (not isinstance(conv, nn.Conv2d) or conv.groups != 1 or conv.padding_mode != 'zeros'
                or site.side != 'input'):
            return None
        # The network goes on with two very different values, as a batch if it can; it must add the same to both.
        try:
            found = [follow(net, conv, lq, lambda output: torch.cat((output, _other(output))))]
        except Exception:  # a network of another project may raise anything for a batch of two
            found = [follow(net, conv, lq, change) for change in (torch.clone, _other)]
        tails = [tail for tail in found if tail is not None]
        if len(tails) < len(found):
            return None
        rests = torch.cat([tail.rest for tail in tails])
        differs = float((rests[0] - rests[1]).abs().max())
        if not differs <= max(tail.precision for tail in tails):  # NaN differs
            return None
        form = cls(conv, tails[0])
        return form if form._is_a_convolution(tails[0]) else None

    def _is_a_convolution(self, tail: Tail) -> bool:
        """Whether the module gives what its weight and bias give: a hook, or a class of its own, may do more."""
        bias = 0 if self.conv.bias is None else self.conv.bias.float().view(1, -1, 1, 1)
        expected = self._convolve(self.features, self.conv.weight.float()) + bias
        if expected.shape != tail.fed[:1].shape:
            return False
        differs = expected - tail.fed[:1]
        allowed = min(256 * torch.finfo(tail.dtype).eps, 0.02)
        return float(differs.abs().max()) <= allowed * float(tail.fed[:1].abs().max())

    def arranged(self, target: Target) -> Target | None:
        """The target, arranged as :attr:`response`; None if only a part of the output is compared with it."""
        if self._order is None:
            return target
        if target.levels.numel() != self._order.numel():
            return None
        return target.arranged(self._order, self.response.shape[1:])

    def single(self, factors: np.ndarray) -> Iterator[torch.Tensor]:
        """Remove each channel alone.

        Args:
            factors: (C,): factor for the other channels.

        Yields:
            The output for each channel in turn, arranged as :attr:`response`, float32; may be overwritten.
        """
        for begin in range(0, len(factors), CHUNK):
            channels = range(begin, min(begin + CHUNK, len(factors)))
            for part, channel in zip(self._contributions(channels).split(1), channels):
                factor = float(factors[channel])
                if factor > STEEP:
                    others = self.features.clone()
                    others[:, channel] = 0
                    yield torch.add(self.rest, self._convolve(others, self._weight), alpha=factor)
                else:
                    torch.sub(self.response, part, out=part)
                    yield torch.add(self.rest, part, alpha=factor, out=part)

    def in_turn(self, order: Sequence[int] | np.ndarray, factors: np.ndarray) -> Iterator[torch.Tensor]:
        """Remove channels one after the other; results come in reverse order: all removed first.

        Args:
            order: The channels in the order of their removal.
            factors: (C + 1,): factor for the remaining channels when 0, 1, …, C are removed.

        Yields:
            The outputs with C, C − 1, …, 1 channels removed, each arranged as :attr:`response`, float32; may be
            overwritten.
        """
        yield self.rest.clone()
        left = torch.zeros_like(self.response)  # a sum, not a difference to the whole: exact for weak channels too
        for end in range(len(order), 1, -CHUNK):
            begin = max(end - CHUNK, 1)
            parts = self._contributions(order[begin:end])
            for place in range(end - begin - 1, -1, -1):
                left.add_(parts[place])
                yield torch.add(self.rest, left, alpha=float(factors[begin + place]))

    def _contributions(self, channels: Sequence[int] | np.ndarray) -> torch.Tensor:
        """The response to each of the channels alone, (k, N, h, w)."""
        chosen = slice(channels.start, channels.stop) if isinstance(channels, range) else list(channels)
        weight = self._weight[:, chosen].transpose(0, 1)
        height, width = self.response.shape[2:]
        if self._padded is None:
            parts = self._convolve(self.features[:, chosen], weight.reshape(-1, 1, *weight.shape[2:]), len(weight))
            return parts.view(len(weight), -1, height, width)
        # A matrix product of the shifted maps: a convolution of one channel at a time is several times slower.
        maps, (down, right) = self._padded[chosen], self.conv.dilation
        shifted = torch.stack([maps[:, y * down:y * down + height, x * right:x * right + width]
                               for y in range(weight.shape[2]) for x in range(weight.shape[3])], 1)
        with torch.autocast(maps.device.type, enabled=False):
            parts = torch.bmm(weight.flatten(2), shifted.flatten(2))
        return parts.view(len(weight), -1, height, width)

    def _convolve(self, features: torch.Tensor, weight: torch.Tensor, groups: int = 1) -> torch.Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return F.conv2d(features, weight, None, self.conv.stride, self.conv.padding, self.conv.dilation,
                            groups)


def _other(output: torch.Tensor) -> torch.Tensor:
    return -4 * output - 10
