"""Running the networks of an analysis on a device, with a hint when memory runs out; a check of layers beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from reflash_sr.analysis.features import find_layers, tap
from reflash_sr.errors import RunError, UserError
from reflash_sr.system.devices import arrange, is_out_of_memory
from reflash_sr.weights.network_from_file import TrainedNetwork

CPU = torch.device('cpu')
TRIED = 16  # px: smallest side of the image on which layers are tried; the side is at least two windows


@contextmanager
def on_device(net: nn.Module, device: torch.device, amp: bool = False, hint: str = '') -> Iterator[None]:
    """Run a network on a device, in bfloat16 mixed precision if ``amp``; then move it back.

    Raises:
        RunError: Memory ran out; the message ends with the hint.
    """
    before = next(net.parameters()).device
    arrange(net.to(device))
    try:
        with torch.autocast(device.type, torch.bfloat16) if amp else nullcontext():
            yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise RunError(f'{device}: not enough memory; {hint}') from error
        raise
    finally:
        net.to(before)


def check_layers(networks: Sequence[TrainedNetwork], layers: Sequence[str]) -> list[list[str]]:
    """Find layers in every network, and try each of them on a small image.

    Args:
        layers: As in :func:`reflash_sr.analysis.features.find_layers`.

    Returns:
        The names of the layers of each network; ``all`` is expanded.

    Raises:
        UserError: A network has no such layer, does not reach it, or the layer does not hold features of one image.
    """
    found = []
    for network in networks:
        try:
            names = list(find_layers(network.net, layers))
        except UserError as error:
            raise UserError(f'{network.path}: {error}') from None
        side = max(-(-TRIED // network.multiple), 2) * network.multiple
        with tap(network.net, names) as seen, torch.no_grad():
            network.net(next(network.net.parameters()).new_zeros(1, network.channels, side, side))
        for name in names:
            if seen[name].shape[0] != 1:
                raise UserError(f"{network.path}: layer '{name}': holds windows of the image, not the image; give "
                                'another layer')
        found.append(names)
    return found
