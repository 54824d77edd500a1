"""Where in a network dropout may sit (paper Sec. 4.1): the names of the positions, and how a network is searched.

In any network:

* ``last-conv``: in front of the last convolution, the paper's choice
* ``every-conv``: after every convolution but the last
* the path of a module: after it (``body.7`` or ``output of body.7``) or in front of it (``input of conv_last``)

In SRResNet, RRDB and SwinIR also:

* ``B1``, ``B2``, …: after the first block, the second block, …
* ``all-part``, ``half-part``, ``quarter-part``: inside every block, inside the last half or the last quarter of them
"""

from __future__ import annotations

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
    """A place in a network: the input or the output of one of its modules.

    Attributes:
        module: Path of the module, as for ``net.get_submodule``.
        side: ``'input'`` or ``'output'``.
    """

    module: str
    side: str


@dataclass(frozen=True)
class Layout:
    """The parts of a family of networks to which the names of the positions refer.

    Attributes:
        trunk: Path of the list of blocks; ``Bk`` is the output of the k-th block, counted from 1.
        stages: What the ``…-part`` positions drop inside a block: the end of its residual branch, before the skip
            connection is added (``'branch'``), or the first stage of this branch (``'first'``).
    """

    trunk: str
    stages: dict[str, str]

    def fits(self, net: nn.Module) -> bool:
        """Whether a network has these parts: other projects have classes with the same names."""
        modules = dict(net.named_modules())
        trunk = modules.get(self.trunk)
        return isinstance(trunk, (nn.Sequential, nn.ModuleList)) and self.last_conv(net).module in modules

    def last_conv(self, net: nn.Module) -> Site:
        """The input of the last convolution."""
        # SwinIR with 'pixelshuffledirect' ends in its upsampler: one convolution and a pixel shuffle.
        direct = getattr(net, 'upsampler', None) == 'pixelshuffledirect'
        return Site('upsample' if direct else 'conv_last', 'input')


# By the name of BasicSR's class, which is looked up among the bases of a network's class.
LAYOUTS = {
    'MSRResNet': Layout('body', {'branch': 'conv2', 'first': 'conv1'}),
    'RRDBNet': Layout('body', {'branch': 'rdb3', 'first': 'rdb1'}),
    'SwinIR': Layout('layers', {'branch': 'conv', 'first': 'residual_group'}),
}
STAGES = ('branch', 'first')
PARTS = {'all-part': 1, 'half-part': 2, 'quarter-part': 4}  # the last ⌈N / d⌉ of N blocks
_PATH = re.compile(r'(?:(?P<side>input|output) of )?(?P<module>[\w.]+)')


def find_sites(net: nn.Module, position: str | Sequence[str], stage: str = 'branch') -> tuple[Site, ...]:
    """Find one or several positions in a network.

    Args:
        net: The network.
        position: One of the names above, or a list, which means all of them.
        stage: Of the ``…-part`` positions: ``'branch'`` or ``'first'``, see :class:`Layout`.

    Returns:
        The sites, each once, at least one.

    Raises:
        UserError: The network does not have the position; the message lists those that it has.
    """
    if stage not in STAGES:
        raise UserError(f'dropout_stage: must be one of {", ".join(STAGES)}, not {stage!r}')
    positions = [position] if isinstance(position, str) else position
    if not isinstance(positions, (list, tuple)) or not positions or not all(isinstance(p, str) for p in positions):
        raise UserError(f'dropout_position: must be a name or a list of names, not {position!r}')
    return tuple(dict.fromkeys(site for one in positions for site in _find(net, one, stage)))


def family_of(net: nn.Module) -> str | None:
    """The key in :data:`LAYOUTS` of a network's class or one of its bases; None if no layout fits the network."""
    names = [cls.__name__ for cls in type(net).__mro__ if cls.__name__ in LAYOUTS]
    return next((name for name in names if LAYOUTS[name].fits(net)), None)


def site_at(net: nn.Module, path: str) -> Site | None:
    """Read the path of a module, as in ``'body.7'`` or ``'input of conv_last'``; None if there is no such module."""
    match = _PATH.fullmatch(path)
    if match is None or match['module'] not in dict(net.named_modules()):
        return None
    return Site(match['module'], match['side'] or 'output')


def _find(net: nn.Module, position: str, stage: str) -> list[Site]:
    names = ['last-conv', 'every-conv']
    family = family_of(net)
    layout = None if family is None else LAYOUTS[family]
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
    """The output of every convolution (Fig. 2a) but the last, whose output is the image."""
    names = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    sites = [Site(name, 'output') for name in names if name != last and not name.startswith(f'{last}.')]
    if not sites:
        raise UserError(f'dropout_position: {type(net).__name__} has no convolution but its last')
    return sites


def last_convolution(net: nn.Module) -> str:
    """Find the module that does the last convolution, by running the network once on a small image.

    In a network that fuses parallel convolutions in eval mode (ECBSR), it is the block that does so. A convolution of
    the image itself, such as the mean shift at the end of RIDNet, does not count. Modes, hooks and random numbers stay
    as they were.

    Args:
        net: Any network that takes one image.

    Returns:
        The path of the module.

    Raises:
        UserError: There is no convolution, or the network cannot be run on one image.
    """
    name = type(net).__name__
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise UserError(f'dropout_position: {name} has no convolution; give the path of a module')
    failure = ''
    for channels in dict.fromkeys((3, first.in_channels, 1)):
        image = first.weight.new_zeros(1, channels, 32, 32)
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
        raise UserError(f'dropout_position: {name} convolves nothing but the image; give the path of a module')
    return last


def _run(net: nn.Module, image: torch.Tensor) -> str | None:
    """Run a network in eval mode; returns the path of the module inside which features were convolved last."""
    running: list[str] = []  # the modules that run at the moment, the innermost last
    last = None

    class Watch(TorchFunctionMode):

        def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
            nonlocal last
            kwargs = kwargs or {}
            if func is torch.conv2d and (args[0] if args else kwargs['input']).shape[1] > image.shape[1]:
                last = running[-1]
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
            net(image)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return last
