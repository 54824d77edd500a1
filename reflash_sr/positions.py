"""Positions of dropout in a network (paper Sec. 4.1): their names, and how they are found.

In any network:

* ``last-conv``: before the last convolution, the paper's choice
* ``every-conv``: after every convolution except the last
* ``image``: the input of the network
* ``attention``: the logits of every attention, before its softmax (``nn.Softmax``, as in SwinIR)
* the path of a module: after it (``body.7`` or ``output of body.7``) or before it (``input of conv_last``)

In SRResNet, RRDB and SwinIR also:

* ``B1``, ``B2``, …: after the first block, the second block, …
* ``all-part``, ``half-part``, ``quarter-part``: inside every block, the last half or the last quarter of the blocks
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from reflash_sr.errors import UserError, suggest
from reflash_sr.system.devices import keep_rng


@dataclass(frozen=True)
class Site:
    """A place in a network: the input or the output of one of its modules."""

    module: str  # path, as for net.get_submodule
    side: str  # 'input' or 'output'


@dataclass(frozen=True)
class Layout:
    """The modules of one network family that the names of the positions refer to.

    Attributes:
        trunk: Path of the list of blocks; ``Bk`` is the output of the k-th block, counted from 1.
        stages: Module of a block whose output the ``…-part`` positions drop: the end of the residual branch, before
            the skip connection is added (``'branch'``), or the first stage of this branch (``'first'``).
    """

    trunk: str
    stages: dict[str, str]

    def fits(self, net: nn.Module) -> bool:
        """Whether a network has these modules: a class of another project may have the same name."""
        modules = dict(net.named_modules())
        trunk = modules.get(self.trunk)
        return isinstance(trunk, (nn.Sequential, nn.ModuleList)) and self.last_conv(net).module in modules

    def last_conv(self, net: nn.Module) -> Site:
        """The input of the last convolution."""
        # The last convolution of SwinIR with 'pixelshuffledirect' is in its upsampler, before the pixel shuffle.
        direct = getattr(net, 'upsampler', None) == 'pixelshuffledirect'
        return Site('upsample' if direct else 'conv_last', 'input')


# Key: name of BasicSR's class; a network fits if this is its class or a base class.
LAYOUTS = {
    'MSRResNet': Layout('body', {'branch': 'conv2', 'first': 'conv1'}),
    'RRDBNet': Layout('body', {'branch': 'rdb3', 'first': 'rdb1'}),
    'SwinIR': Layout('layers', {'branch': 'conv', 'first': 'residual_group'}),
}
STAGES = ('branch', 'first')
PARTS = {'all-part': 1, 'half-part': 2, 'quarter-part': 4}  # the last ⌈N / d⌉ of N blocks
CONVOLUTION = nn.Conv2d, nn.ConvTranspose2d
_CONVOLVE = {getattr(torch, f'conv{kind}{dims}d'): dims for kind in ('', '_transpose') for dims in (1, 2, 3)}
PROBES = (32, 48, 56, 128)  # px: sides of the images tried; the later ones suit windows and networks with many scales
_PATH = re.compile(r'(?:(?P<side>input|output) of )?(?P<module>[\w.]+)')


def find_sites(net: nn.Module, position: str | Sequence[str], stage: str = 'branch') -> tuple[Site, ...]:
    """Find the sites of one or several positions in a network: at least one, none of them twice.

    Args:
        net: The network.
        position: A name as above, or a list of names: dropout at all of them.
        stage: For the ``…-part`` positions: ``'branch'`` or ``'first'``, see :class:`Layout`.

    Raises:
        UserError: The network does not have the position; the message lists the positions that it has.
    """
    if stage not in STAGES:
        raise UserError(f'dropout_stage: must be one of {", ".join(STAGES)}, not {stage!r}')
    positions = [position] if isinstance(position, str) else position
    if not isinstance(positions, (list, tuple)) or not positions or not all(isinstance(p, str) for p in positions):
        raise UserError(f'dropout_position: must be a name or a list of names, not {position!r}')
    return tuple(dict.fromkeys(site for name in positions for site in _find(net, name, stage)))


def family_of(net: nn.Module) -> str | None:
    """The key in :data:`LAYOUTS` of a network's class or base class; None if no layout fits the network."""
    names = [cls.__name__ for cls in type(net).__mro__ if cls.__name__ in LAYOUTS]
    return next((name for name in names if LAYOUTS[name].fits(net)), None)


def site_at(net: nn.Module, path: str) -> Site | None:
    """Parse the path of a module, as in ``'body.7'`` or ``'input of conv_last'``; None if there is no such module."""
    match = _PATH.fullmatch(path)
    if match is None or match['module'] not in dict(net.named_modules()):
        return None
    return Site(match['module'], match['side'] or 'output')


def _find(net: nn.Module, position: str, stage: str) -> list[Site]:
    names = ['last-conv', 'every-conv', 'image', 'attention']
    family = family_of(net)
    layout = None if family is None else LAYOUTS[family]
    if position == 'image':
        return [Site('', 'input')]
    if position == 'attention':
        return _attention(net)
    if position in names:
        last = Site(last_convolution(net), 'input') if layout is None else layout.last_conv(net)
        return [last] if position == 'last-conv' else _every_conv(net, last.module)
    if layout is not None:
        count = len(cast(nn.Sequential, net.get_submodule(layout.trunk)))
        if position in PARTS:
            first = count - -(-count // PARTS[position])
            return [Site(f'{layout.trunk}.{i}.{layout.stages[stage]}', 'output') for i in range(first, count)]
        number = re.fullmatch(r'B(\d+)', position)
        if number and 1 <= int(number[1]) <= count:
            return [Site(f'{layout.trunk}.{int(number[1]) - 1}', 'output')]
        names += [*PARTS, f'B1 to B{count}']
    site = site_at(net, position)
    if site is not None:
        return [site]
    modules = [name for name, _ in net.named_modules() if name]
    near = '' if re.fullmatch(r'B\d+', position) else suggest(position, [*names, *modules])
    raise UserError(f"dropout_position: {type(net).__name__} has no position '{position}'"
                    f"{near if near.endswith('?') else ';'} it has {', '.join(names)}, and the paths of its modules")


def _every_conv(net: nn.Module, last: str) -> list[Site]:
    """The output of every convolution (Fig. 2a) except the last, whose output is the image."""
    names = [name for name, module in net.named_modules() if isinstance(module, CONVOLUTION)]
    sites = [Site(name, 'output') for name in names if name != last and not name.startswith(f'{last}.')]
    if not sites:
        raise UserError(f'dropout_position: {type(net).__name__} has no convolution but its last')
    return sites


def _attention(net: nn.Module) -> list[Site]:
    """The input of every softmax."""
    sites = [Site(name, 'input') for name, module in net.named_modules() if isinstance(module, nn.Softmax)]
    if not sites:
        raise UserError(f'dropout_position: attention: {type(net).__name__} has no nn.Softmax; choose another position')
    return sites


def last_convolution(net: nn.Module) -> str:
    """Return the path of the module of the last convolution, found by running the network once on a small image.

    Transposed convolutions count (FSRCNN's last layer is one). If a network fuses parallel convolutions in eval mode
    (ECBSR), the module is the block that fuses them. A convolution whose input is an image, not features, does not
    count: for example, the mean shift at the end of RIDNet. The network's modes and hooks, and the random state, are
    restored.

    Raises:
        UserError: There is no convolution of features, or the network cannot be run on one image.
    """
    name = type(net).__name__
    first = next((module for module in net.modules() if isinstance(module, CONVOLUTION)), None)
    if first is None:
        raise UserError(f'dropout_position: {name} has no convolution; give the path of a module')
    failure = ''
    for side, channels in itertools.product(PROBES, dict.fromkeys((3, first.in_channels, 1, 4))):
        image = first.weight.new_zeros(1, channels, side, side)
        try:
            with keep_rng(image.device), torch.no_grad():
                last = _run(net, image)
            break
        except Exception as error:  # a network of another project may raise anything
            failure = failure or f'{tuple(image.shape)}: {error}'
    else:
        raise UserError(f'dropout_position: {name} could not be run on an image to find its last convolution '
                        f"({failure}); give the path of a module, as in 'input of conv_last'")
    if last is None:
        raise UserError(f'dropout_position: {name} has no convolution of features; give the path of a module')
    module, dims = last
    if dims != 2:
        raise UserError(f"dropout_position: the last convolution of {name}, '{module}', has {dims} dimensions, not 2; "
                        'give the path of another module')
    return module


def _run(net: nn.Module, image: torch.Tensor) -> tuple[str, int] | None:
    """Run a network in eval mode; returns the path of the innermost module around the last convolution of features.

    The second value is the convolution's number of dimensions, 1 to 3.
    """
    running: list[str] = []  # paths of the modules whose forward is active, innermost last
    last = None

    class Watch(TorchFunctionMode):

        def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
            nonlocal last
            kwargs = kwargs or {}
            if func in _CONVOLVE and (args[0] if args else kwargs['input']).shape[1] > image.shape[1]:
                last = running[-1], _CONVOLVE[func]
            return func(*args, **kwargs)

    def enter(name: str, *_: object) -> None:
        running.append(name)

    def leave(*_: object) -> None:
        running.pop()

    modes = {module: module.training for module in net.modules()}
    hooks = [hook for name, module in net.named_modules()
             for hook in (module.register_forward_pre_hook(partial(enter, name)), module.register_forward_hook(leave))]
    try:
        net.eval()
        with Watch():
            output = net(image)
        if isinstance(output, torch.Tensor) and output.dim() != 4:
            raise ValueError(f'it returns {tuple(output.shape)}, not an image')
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return last
