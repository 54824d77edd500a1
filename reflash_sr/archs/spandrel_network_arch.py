"""The networks of other projects that spandrel knows, as one registered network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from reflash_sr.weights import spandrel_networks


@ARCH_REGISTRY.register()
def SpandrelNetwork(architecture: str, arguments: Mapping[str, Any], network: str | None = None) -> nn.Module:
    """Build a network of spandrel (the extra ``models``) with random weights.

    It takes images of any size: it pads those that its network does not take. State-dict keys are spandrel's.

    Args:
        architecture: Its name in spandrel: ``'HAT'``, ``'DAT'``, ``'SPAN'``, …
        arguments: Those of the network's class in spandrel.
        network: The class, where an architecture has several, such as ``'RealPLKSR'`` of ``'PLKSR'``.

    Raises:
        UserError: spandrel is not installed, or does not know these names.
    """
    return spandrel_networks.build(architecture, arguments, network)
