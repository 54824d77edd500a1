"""Channel ablation without running the network: where a layer feeds the last convolution and nothing else.

The output is then ``convolution(features) + base``, with a base that the features do not reach, so each channel's
contribution to the output can be computed once and added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from reflash_sr.analysis.features import find_layer, study_layers

CHUNK = 8  # channels at a time: their contributions stay in the cache
STEEP = 20.0  # factor above which a difference of nearly equal numbers would be magnified


class ClosedForm:
    """The output of a network as a sum over the channels of the input of its last convolution.

    Args:
        conv: The last convolution.
        features: Its input, (1, C, H, W).
        response: What it makes of them, without its bias, (1, 3, h, w).
        rest: The output of the network less the response: base and bias, (1, 3, h, w).

    Attributes:
        output: The untouched output, (1, 3, h, w).
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
        """Run a network once, and tell whether a layer has the closed form.

        Args:
            net: The network, in eval mode.
            lq: An image, (1, 3, H, W).
            layer: As in :func:`reflash_sr.analysis.features.find_layer`.

        Returns:
            None where the layer is not the input of the last convolution, or the output is not that convolution's
            output plus something that does not come through it.
        """
        site = find_layer(net, layer)
        conv = net.get_submodule(site.module)
        if not _plain(conv) or site.side != 'input' or study_layers(net).get('last') != site:
            return None
        calls = []

        def ask_twice(module: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
            # The network goes on with two variants; what it adds to them must be the same, however far off they are.
            both = torch.cat((output, -4 * output - 10))
            calls.append((args[0].float(), both.clone()))
            return both

        handle = conv.register_forward_hook(ask_twice)
        try:
            output = net(lq)
        except RuntimeError:  # what follows cannot do with two: not an addition
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
            factors: (C,): by what the other channels are multiplied.

        Yields:
            The next outputs, (k, 3, h, w), float32, in the order of the channels; may be overwritten.
        """
        for begin in range(0, len(factors), CHUNK):
            channels = range(begin, min(begin + CHUNK, len(factors)))
            left = self._contributions(channels).neg_().add_(self.response)
            for place, channel in enumerate(channels):
                if factors[channel] > STEEP:
                    others = self.features.clone()
                    others[:, channel] = 0
                    left[place] = self._convolve(others)[0]
                yield left[place].mul_(float(factors[channel])).add_(self.rest[0])[None]

    def in_turn(self, order: Sequence[int], factors: np.ndarray) -> Iterator[torch.Tensor]:
        """Remove channels one after the other, told from the end: all of them gone, all but the last, and so on.

        Args:
            order: The channels in the order of their removal.
            factors: (C + 1,): by what the channels that are left are multiplied, by how many are gone.

        Yields:
            The outputs with C, C − 1, …, 1 channels gone, each (1, 3, h, w), float32; may be overwritten.
        """
        yield self.rest.clone()
        left = torch.zeros_like(self.response)  # built up, not taken away from the whole: the last ones may be faint
        for end in range(len(order), 1, -CHUNK):
            begin = max(end - CHUNK, 1)
            parts = self._contributions(order[begin:end])
            for place in range(end - begin - 1, -1, -1):
                left.add_(parts[place])
                yield torch.add(self.rest, left, alpha=float(factors[begin + place]))

    def _contributions(self, channels: Sequence[int]) -> torch.Tensor:
        """The response to each of some channels, (k, 3, h, w)."""
        features = self.features[:, channels.start:channels.stop] if isinstance(channels, range) else (
            self.features[:, list(channels)])
        weight = self.conv.weight[:, list(channels)].float().transpose(0, 1).reshape(-1, 1, *self.conv.kernel_size)
        with torch.autocast(features.device.type, enabled=False):
            parts = F.conv2d(features, weight, None, self.conv.stride, self.conv.padding, self.conv.dilation,
                             groups=len(channels))
        return parts.contiguous().view(len(channels), -1, *parts.shape[2:])

    def _convolve(self, features: torch.Tensor) -> torch.Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return F.conv2d(features, self.conv.weight.float(), None, self.conv.stride, self.conv.padding,
                            self.conv.dilation)


def _plain(conv: nn.Module) -> bool:
    return isinstance(conv, nn.Conv2d) and conv.groups == 1 and conv.padding_mode == 'zeros'
