"""The layers of a network by name, and the features that they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch import nn

from reflash_sr.errors import UserError, suggest
from reflash_sr.positions import LAYOUTS, Site, family_of, last_convolution, site_at
from reflash_sr.system.devices import keep_rng

# After conv_first and its activation, if any; by the name of BasicSR's class, as in LAYOUTS.
FIRST = {
    'MSRResNet': Site('body', 'input'),
    'RRDBNet': Site('conv_first', 'output'),
    'SwinIR': Site('conv_first', 'output'),
}
PROBE = 48  # px: side of the default image of list_layers; a multiple of every common window size


def study_layers(net: nn.Module) -> dict[str, Site]:
    """The layers of the paper (Sec. 6.1), in the order in which the network computes them.

    ``first`` follows conv_first and its activation; ``Bk`` is the output of trunk unit k, after its skip addition;
    ``hr`` is the input of conv_hr, ``last`` of the last convolution.

    Args:
        net: The network. If its class is not in :data:`reflash_sr.positions.LAYOUTS`, there is only ``last``, or no
            layer if the last convolution cannot be found.
    """
    family = family_of(net)
    if family is None:
        try:
            return {'last': Site(last_convolution(net), 'input')}
        except UserError:
            return {}
    layout = LAYOUTS[family]
    layers = {'first': FIRST[family]}
    for unit in range(len(cast(nn.Sequential, net.get_submodule(layout.trunk)))):
        layers[f'B{unit + 1}'] = Site(f'{layout.trunk}.{unit}', 'output')
    if 'conv_hr' in dict(net.named_children()):
        layers['hr'] = Site('conv_hr', 'input')
    return {**layers, 'last': layout.last_conv(net)}


def find_layer(net: nn.Module, layer: str | Site) -> Site:
    """Find a layer; what was found already is returned.

    Args:
        layer: A name of :func:`study_layers`, or a module's path, as in ``'body.7'``, ``'output of body.7'`` (the
            same) or ``'input of conv_last'``.

    Raises:
        UserError: The network has no such layer; the message lists its layers.
    """
    if isinstance(layer, Site):
        return layer
    layers = study_layers(net)
    if layer in layers:  # a module that is also called 'last' is reached as 'output of last'
        return layers[layer]
    site = site_at(net, layer)
    if site is not None:
        return site
    modules = dict(net.named_modules())
    near = '' if re.fullmatch(r'B\d+', layer) else suggest(layer, [*layers, *filter(None, modules)])
    near = near if near.endswith('?') else ';'
    units = [name for name in layers if name.startswith('B')]
    names = [name for name in layers if name not in units]
    if units:
        names.insert(1, f'B1 to B{len(units)}')
    raise UserError(f"layer: {type(net).__name__} has no layer '{layer}'{near} it has "
                    f"{', '.join([*names, 'and the paths of its modules'])}")


def find_layers(net: nn.Module, layers: Sequence[str]) -> dict[str, Site]:
    """Find several layers; ``'all'`` stands for those of :func:`study_layers`. Raises as :func:`find_layer`."""
    found: dict[str, Site] = {}
    for layer in layers:
        found.update(study_layers(net) if layer == 'all' else {layer: find_layer(net, layer)})
    if not found:
        raise UserError(f"layer: {type(net).__name__} has none of the paper's layers; give the path of a module")
    return found


def list_layers(net: nn.Module, lq: torch.Tensor | None = None, channels: int = 3) -> list[tuple[str, str]]:
    """List the layers of a network, and the shapes of their features.

    Args:
        lq: An image, (1, C, H, W). Default: a black one of 48×48 px.
        channels: Channels of the default image.

    Returns:
        Name and description, as in ``('B1', 'output of body.0: 64 channels of 48×48')``. For a network without the
        paper's layers, also the path of every module whose output is features.
    """
    layers = study_layers(net)
    if len(layers) < 2:
        layers = {name: Site(name, 'output') for name, _ in net.named_modules() if name} | layers
    if lq is None:
        lq = next(net.parameters(), torch.zeros(1)).new_zeros(1, channels, PROBE, PROBE)
    try:
        with keep_rng(lq.device), torch.no_grad(), _watch(net, layers, strict=False) as seen:
            net(lq)
    except (RuntimeError, ValueError, TypeError, AssertionError):  # the network does not accept this image
        return [(name, f'{site.side} of {site.module}') for name, site in layers.items()]
    return [(name, f'{layers[name].side} of {layers[name].module}: {_describe(seen[name])}') for name in layers
            if name in seen]


def _describe(features: torch.Tensor) -> str:
    if features.dim() == 4:
        return f'{features.shape[1]} channels of {features.shape[2]}×{features.shape[3]}'
    return f'{features.shape[1]} tokens of {features.shape[2]} channels'


def channel_dim(features: torch.Tensor) -> int:
    """The dimension of the channels: 1 for (B, C, H, W), 2 for tokens (B, N, C)."""
    return 1 if features.dim() == 4 else 2


def as_maps(features: torch.Tensor, size: Sequence[int]) -> np.ndarray:
    """Features of one image as maps.

    Args:
        features: (1, C, H, W), or tokens (1, N, C).
        size: Height and width of the image, px.

    Returns:
        (C, H, W) float32; for tokens (C, 1, N), unless there is one token for each pixel of the image.
    """
    features = features.detach().float()
    if features.dim() == 3:
        height, width = size if features.shape[1] == size[0] * size[1] else (1, features.shape[1])
        features = features.transpose(1, 2).unflatten(2, (height, width))
    return features[0].contiguous().cpu().numpy()


def check_features(layer: str, module: nn.Module, value: object, side: str) -> torch.Tensor:
    """Return the value of a layer if its shape is (B, C, H, W) or (B, N, C); else raise ``UserError``."""
    if isinstance(value, torch.Tensor) and value.dim() in (3, 4) and value.is_floating_point():
        return value
    what = f'a tensor {tuple(value.shape)}' if isinstance(value, torch.Tensor) else f'a {type(value).__name__}'
    verb = 'gives' if side == 'output' else 'takes'
    raise UserError(f"layer '{layer}': {type(module).__name__} {verb} {what}, not features (B, C, H, W) or tokens "
                    '(B, N, C); give another layer')


class Features(dict):
    """Features by layer; a layer that was not reached raises ``UserError``."""

    def __missing__(self, layer: str) -> torch.Tensor:
        raise UserError(f"layer '{layer}': was not reached in the forward pass; give another layer")


@contextmanager
def tap(net: nn.Module, layers: str | Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Record features during a forward pass; the network is restored afterwards, also after an exception.

    Features are copies, so later in-place operations do not change them. With gradients on, ``torch.autograd.grad``
    with respect to the features gives the gradient through that layer. If a module is called several times, its first
    call is the layer.

    Args:
        layers: Names as in :func:`find_layer`; one or several.

    Yields:
        Features by name, each (B, C, H, W) or (B, N, C); every forward pass replaces them.

    Raises:
        UserError: There is no such layer, or it holds no features.
    """
    names = [layers] if isinstance(layers, str) else layers
    with _watch(net, {name: find_layer(net, name) for name in names}) as seen:
        yield seen


@torch.no_grad()
def features_until(net: nn.Module, lq: torch.Tensor, layer: str) -> torch.Tensor:
    """Run a network up to a layer only.

    Args:
        lq: (B, C, H, W).
        layer: As in :func:`find_layer`.

    Returns:
        The features, (B, C, H, W) or (B, N, C), without gradient.

    Raises:
        UserError: There is no such layer, it is not reached, or it holds no features.
    """
    site = find_layer(net, layer)
    module = net.get_submodule(site.module)

    def stop(value: object) -> None:
        raise _Stop(check_features(layer, module, value, site.side))

    handle = _register(module, site.side, stop)
    try:
        net(lq)
    except _Stop as stopped:
        return stopped.features
    finally:
        handle.remove()
    return Features()[layer]


class _Stop(Exception):
    """Ends a forward pass at a layer."""

    def __init__(self, features: torch.Tensor):
        super().__init__()
        self.features = features


def _register(module: nn.Module, side: str, see: Callable) -> torch.utils.hooks.RemovableHandle:
    """Call ``see`` with the input or output of a module; if it returns something, that replaces the value."""
    if side == 'output':
        return module.register_forward_hook(lambda module, args, output: see(output))

    def before(module: nn.Module, args: tuple) -> tuple | None:
        instead = see(args[0] if args else None)
        return None if instead is None else (instead, *args[1:])

    return module.register_forward_pre_hook(before)


@contextmanager
def _watch(net: nn.Module, layers: dict[str, Site], strict: bool = True) -> Iterator[Features]:
    seen = Features()
    handles = [net.register_forward_pre_hook(lambda module, args: seen.clear())]

    def watcher(layer: str, module: nn.Module, side: str) -> Callable:
        def see(value: object) -> torch.Tensor | None:
            if layer in seen:
                return None
            try:
                features = check_features(layer, module, value, side)
            except UserError:
                if strict:
                    raise
                return None
            # A copy, because LeakyReLU and skip additions work in place. With gradients, the network continues with a
            # copy of this copy, so that the recorded features are part of the graph.
            seen[layer] = features.clone()
            return seen[layer].clone() if seen[layer].requires_grad else None

        return see

    try:
        for layer, site in layers.items():
            module = net.get_submodule(site.module)
            handles.append(_register(module, site.side, watcher(layer, module, site.side)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()
