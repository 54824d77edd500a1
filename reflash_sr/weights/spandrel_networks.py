"""Networks that the library spandrel knows: recognised by their weights alone, and built again from a description.

spandrel, the extra ``models``, holds the networks of other projects: ESRGAN, SwinIR, HAT, DAT, SPAN and dozens more.
It is given weights that were read safely; it never opens a file itself.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from reflash_sr.errors import UserError, suggest
from reflash_sr.system.devices import keep_rng
from reflash_sr.weights.size_limit import Bounded
from reflash_sr.weights.state_dict import Weights

INSTALL = 'pip install -e ".[models]"'
PURPOSES = ('SR', 'Restoration')
_TRIED = 32  # px: side of the image on which the network is compared with what spandrel makes of it
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Description:
    """What spandrel says of a network."""

    architecture: str  # its name in spandrel
    scale: int  # side of the output divided by side of the input
    size: Any  # spandrel's SizeRequirements: a minimum, a multiple, square or not
    tiling: str  # 'supported', 'discouraged' or 'internal'


class Described(nn.Module):
    """A mixin over a class of spandrel: takes images of any size, leaves them as they are, and returns one tensor."""

    description: Description
    hyperparameters: dict[str, Any]  # arguments of the class; spandrel keeps them

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C, H · scale, W · scale), in [0, 1]."""
        height, width = image.shape[-2:]
        right, down = self.description.size.get_padding(width, height)
        mode = 'reflect' if right < width and down < height else 'replicate'
        # A copy, because some networks change their input in place.
        output = super().forward(F.pad(image, (0, right, 0, down), mode=mode) if right or down else image.clone())
        output = output[0] if isinstance(output, (tuple, list)) else output
        scale = self.description.scale
        return output[..., :height * scale, :width * scale] if right or down else output

    def in_own_names(self, state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights of such a network from any project, under the names of this one; as they are if that fails."""
        if state_dict.keys() == self.state_dict().keys():
            return dict(state_dict)
        architecture = _registry()[self.description.architecture].architecture
        try:
            with _building():
                return architecture.load(dict(state_dict)).model.state_dict()
        except Exception:  # of any class; the caller says what does not fit
            return dict(state_dict)


def available() -> bool:
    """Whether spandrel is installed."""
    return importlib.util.find_spec('spandrel') is not None


def recognise(loaded: Weights) -> tuple[dict[str, Any], Weights] | None:
    """Find out what network the weights belong to.

    Returns:
        ``network_g`` of the network, and its weights by its own names; None if spandrel does not know it.

    Raises:
        UserError: spandrel is not installed; or it knows the network, but cannot build it, or runs it on more than an
            image.
    """
    state = dict(loaded.state_dict)
    architecture = next((support.architecture for support in _registry().architectures('detection')
                         if support.detect(state)), None)
    if architecture is None:
        return None
    found = f'{loaded.path}: spandrel takes it for a network of the kind {architecture.id}'
    try:
        with _building():
            descriptor = architecture.load(state)
        image = _image_for(descriptor)
        theirs = descriptor.eval()(image.clone())
        net = describe(descriptor.model, descriptor)
        with torch.no_grad():
            ours = net(image).clamp(0, 1)
    except Exception as error:  # of any class
        reason = ' '.join(str(error).split()) or type(error).__name__  # torch lists in lines what does not fit
        raise UserError(f'{found}, but cannot build or run it: {textwrap.shorten(reason, 300)}') from error
    if descriptor.purpose not in PURPOSES:
        raise UserError(f'{found}, for {descriptor.purpose}; give a network for super-resolution or restoration')
    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, atol=1e-4, equal_nan=True):
        raise UserError(f'{found}, and gives it more than the image, or changes its output; give another network')
    section = {'type': 'SpandrelNetwork', 'architecture': architecture.id, 'network': type(net).__name__,
               'arguments': {name: value for name, value in net.hyperparameters.items() if _is_plain(value)}}
    return section, replace(loaded, state_dict=net.state_dict())


def build(architecture: str, arguments: Mapping[str, Any], network: str | None = None) -> nn.Module:
    """Build a network of spandrel with random weights.

    Args:
        architecture: Its name in spandrel, such as ``'HAT'``.
        arguments: Those of its class.
        network: The class, where an architecture has several: ``'RealPLKSR'``. Default: the first.

    Raises:
        UserError: spandrel is not installed, or does not know these names.
    """
    registry = _registry()
    if architecture not in registry:
        names = [support.architecture.id for support in registry]
        raise UserError(f"architecture: spandrel does not know '{architecture}'{suggest(str(architecture), names)}")
    arch = registry[architecture].architecture
    classes = {cls.__name__: cls for cls in vars(importlib.import_module(type(arch).__module__)).values()
               if inspect.isclass(cls) and issubclass(cls, nn.Module) and hasattr(cls, 'hyperparameters')}
    if network is not None and network not in classes:
        raise UserError(f"network: {architecture} has no '{network}', only {', '.join(classes)}")
    with _building():
        net = classes[network or next(iter(classes))](**arguments)
        descriptor = arch.load(net.state_dict())
    return describe(net, descriptor)


def describe(net: nn.Module, descriptor: Any) -> Described:
    """Add spandrel's description to a network, which then takes images of any size; returns the network."""
    cls: Any = type(net)
    net.__class__ = _described(cls)
    assert isinstance(net, Described)
    net.description = Description(descriptor.architecture.id, descriptor.scale, descriptor.size_requirements,
                                  descriptor.tiling.name.lower())
    return net


@functools.cache
def _described(cls: type[nn.Module]) -> type[nn.Module]:
    return type(cls.__name__, (Described, cls), {'__module__': cls.__module__})


@functools.cache
def _registry() -> Any:
    try:
        import spandrel
    except ImportError as error:
        raise UserError(f'spandrel is not installed; {INSTALL} adds the networks of other projects') from error
    with contextlib.suppress(ImportError):
        import spandrel_extra_arches  # more networks, under other licences
        spandrel_extra_arches.install(ignore_duplicates=True)
    return spandrel.MAIN_REGISTRY


@contextlib.contextmanager
def _building() -> Iterator[None]:
    """While a network is built: limits its size, keeps the random state, and hides deprecations inside spandrel."""
    with keep_rng(), Bounded(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


def _image_for(descriptor: Any) -> torch.Tensor:
    """An image of a size that the network takes without padding."""
    right, _ = descriptor.size_requirements.get_padding(_TRIED, _TRIED)
    return torch.rand(1, descriptor.input_channels, *[_TRIED + right] * 2, generator=torch.Generator().manual_seed(0))


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(one) for pair in value.items() for one in pair)
    return all(map(_is_plain, value)) if isinstance(value, (list, tuple)) else isinstance(value, _PLAIN)
