"""Channel ablation without running the network, for a layer that feeds only the last convolution.

The output is ``convolution(features) + base``, and the base does not depend on the features. So the contribution of
each channel to the output is computed once, and ablated outputs are sums of contributions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from reflash_sr.analysis.features import find_layer, study_layers

CHUNK = 8  # channels at a time: their contributions stay in the cache
STEEP = 20.0  # factor above which the rounding error of a difference of nearly equal numbers would be visible


class ClosedForm:
    """The output of a network as a sum over the channels of the input of its last convolution.

    Args:
        conv: The last convolution.
        features: Its input, (1, C, H, W).
        response: Its output without its bias, (1, N, h, w): N is the number of channels of an image.
        rest: The output of the network minus the response: base and bias, (1, N, h, w).

    Attributes:
        output: The output with all channels, (1, N, h, w).
    """

    def __init__(self, conv: nn.Conv2d, features: torch.Tensor, response: torch.Tensor, rest: torch.Tensor):
        self.conv = conv
        self.features = features
        self.response = response.contiguous()
        self.rest = rest.contiguous()
        self.output = self.response + self.rest

    @classmethod
    @torch.no_grad()
    def find(cls, net: nn.Module, lq: torch.Tensor, layer: str) -> ClosedForm | None:
        """Run a network once, and return the closed form of a layer.

        Args:
            net: The network, in eval mode.
            lq: An image, (1, N, H, W).
            layer: As in :func:`reflash_sr.analysis.features.find_layer`.

        Returns:
            None if the layer is not the input of the last convolution, or the output is not the output of that
            convolution plus something that does not depend on it.
        """
        site = find_layer(net, layer)
        conv = net.get_submodule(site.module)
        if (not isinstance(conv, nn.Conv2d) or conv.groups != 1 or conv.padding_mode != 'zeros'
                or site.side != 'input' or study_layers(net).get('last') != site):
            return None
        calls = []

        def two_variants(module: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
            # The network continues with a batch of two very different values; it must add the same to both.
            both = torch.cat((output, -4 * output - 10))
            calls.append((args[0].float(), both.clone()))
            return both

        handle = conv.register_forward_hook(two_variants)
        try:
            output = net(lq)
        except RuntimeError:  # the rest of the network does not accept a batch of two: it is not an addition
            return None
        finally:
            handle.remove()
        if len(calls) != 1 or calls[0][1].shape != output.shape:
            return None
        features, both = calls[0]
        base = output.float() - both.float()
        tolerance = 16 * torch.finfo(output.dtype).eps * float(both.abs().max() + 1)
        if float((base[0] - base[1]).abs().max()) > tolerance:
            return None
        bias = 0 if conv.bias is None else conv.bias.float().view(1, -1, 1, 1)
        return cls(conv, features, both[:1].float() - bias, base[:1] + bias)

    def single(self, factors: np.ndarray) -> Iterator[torch.Tensor]:
        """Remove each channel alone.

        Args:
            factors: (C,): factor for the other channels.

        Yields:
            The output for each channel in turn, (1, N, h, w), float32; may be overwritten.
        """
        for begin in range(0, len(factors), CHUNK):
            channels = range(begin, min(begin + CHUNK, len(factors)))
            left = self._contributions(channels).neg_().add_(self.response)
            for place, channel in enumerate(channels):
                if factors[channel] > STEEP:
                    others = self.features.clone()
                    others[:, channel] = 0
                    left[place] = self._convolve(others, self.conv.weight)[0]
                yield left[place].mul_(float(factors[channel])).add_(self.rest[0])[None]

    def in_turn(self, order: Sequence[int] | np.ndarray, factors: np.ndarray) -> Iterator[torch.Tensor]:
        """Remove channels one after the other; results come in reverse order: all removed first.

        Args:
            order: The channels in the order of their removal.
            factors: (C + 1,): factor for the remaining channels when 0, 1, …, C are removed.

        Yields:
            The outputs with C, C − 1, …, 1 channels removed, each (1, N, h, w), float32; may be overwritten.
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
        features = self.features[:, channels.start:channels.stop] if isinstance(channels, range) else (
            self.features[:, list(channels)])
        weight = self.conv.weight[:, list(channels)].transpose(0, 1).reshape(-1, 1, *self.conv.kernel_size)
        parts = self._convolve(features, weight, len(channels))
        return parts.contiguous().view(len(channels), -1, *parts.shape[2:])

    def _convolve(self, features: torch.Tensor, weight: torch.Tensor, groups: int = 1) -> torch.Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return F.conv2d(features, weight.float(), None, self.conv.stride, self.conv.padding, self.conv.dilation,
                            groups)
