"""Where in a network dropout may sit (paper Sec. 4.1): names of positions, and how they are found in each network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from reflash_sr.errors import UserError, suggest
from reflash_sr.system.devices import keep_rng


@dataclass(frozen=True)
class Site:
    """A place in a network: the input or the output of one of its modules.

    Attributes:
        module: Path of the module, as in ``net.get_submodule``.
        side: ``'input'`` or ``'output'``.
    """

    module: str
    side: str


@dataclass(frozen=True)
class Layout:
    """The parts of a family of networks that the positions are named after.

    Attributes:
        trunk: Path of the list of units (blocks); ``Bk`` is its k-th unit, counted from 1.
        stages: Inside a unit, what a dropped residual block drops: the end of the residual branch, before its outer
            skip addition (``'branch'``), or the branch's first stage (``'first'``).
        last_conv: The input of the last convolution.
    """

    trunk: str
    stages: dict[str, str]
    last_conv: Callable[[nn.Module], Site]

    def fits(self, net: nn.Module) -> bool:
        """Whether a network has these parts: other projects have classes of the same names."""
        modules = dict(net.named_modules())
        trunk = modules.get(self.trunk)
        return isinstance(trunk, (nn.Sequential, nn.ModuleList)) and self.last_conv(net).module in modules


def _input_of(module: str) -> Callable[[nn.Module], Site]:
    return lambda net: Site(module, 'input')


def _swinir_last_conv(net: nn.Module) -> Site:
    # 'pixelshuffledirect' ends in its upsampler: one convolution and a pixel shuffle
    direct = getattr(net, 'upsampler', None) == 'pixelshuffledirect'
    return Site('upsample' if direct else 'conv_last', 'input')


# By the name of BasicSR's class, looked up along the bases of a network's class.
LAYOUTS = {
    'MSRResNet': Layout('body', {'branch': 'conv2', 'first': 'conv1'}, _input_of('conv_last')),
    'RRDBNet': Layout('body', {'branch': 'rdb3', 'first': 'rdb1'}, _input_of('conv_last')),
    'SwinIR': Layout('layers', {'branch': 'conv', 'first': 'residual_group'}, _swinir_last_conv),
}
STAGES = ('branch', 'first')
PARTS = {'all-part': 1, 'half-part': 2, 'quarter-part': 4}  # the last ⌈N / d⌉ of N units
_PATH = re.compile(r'(?:(?P<side>input|output) of )?(?P<module>[\w.]+)')


def find_sites(net: nn.Module, position: str | Sequence[str], stage: str = 'branch') -> tuple[Site, ...]:
    """Find one or several positions in a network.

    Args:
        net: The network.
        position: ``'last-conv'`` and ``'every-conv'`` (any network with convolutions); ``'B1'``, ``'B2'``, …,
            ``'all-part'``, ``'half-part'``, ``'quarter-part'`` (SRResNet, RRDB, SwinIR); or a module's path, as in
            ``'body.7'``, ``'output of body.7'`` (the same) or ``'input of conv_last'``. A list means all of them.
        stage: Of the ``…-part`` positions: ``'branch'`` or ``'first'``, see :class:`Layout`.

    Returns:
        The sites, each once, at least one.

    Raises:
        UserError: The network does not have the position; lists those it has.
    """
    if stage not in STAGES:
        raise UserError(f'dropout_stage: must be one of {", ".join(STAGES)}, not {stage!r}')
    positions = [position] if isinstance(position, str) else position
    if not isinstance(positions, (list, tuple)) or not positions or not all(isinstance(p, str) for p in positions):
        raise UserError(f'dropout_position: must be a name or a list of names, not {position!r}')
    return tuple(dict.fromkeys(site for one in positions for site in _find(net, one, stage)))


def family_of(net: nn.Module) -> str | None:
    """The name in :data:`LAYOUTS` of a network's class or of one that it is derived from; None where there is none.

    A class of that name that does not have the layout's parts does not count.
    """
    names = [cls.__name__ for cls in type(net).__mro__ if cls.__name__ in LAYOUTS]
    return next((name for name in names if LAYOUTS[name].fits(net)), None)


def site_at(net: nn.Module, path: str) -> Site | None:
    """Read a module's path, as in ``'body.7'``, ``'output of body.7'`` (the same) or ``'input of conv_last'``.

    Returns:
        The site; None where the network has no such module.
    """
    match = _PATH.fullmatch(path)
    found = match and match['module'] in dict(net.named_modules())
    return Site(match['module'], match['side'] or 'output') if found else None


def _find(net: nn.Module, position: str, stage: str) -> Iterable[Site]:
    layout = LAYOUTS.get(family_of(net))
    if position == 'last-conv':
        return [_last_conv(net, layout)]
    if position == 'every-conv':
        return _every_conv(net, _last_conv(net, layout).module)
    if layout is not None:
        count = len(net.get_submodule(layout.trunk))
        if position in PARTS:
            first = count - -(-count // PARTS[position])
            return [Site(f'{layout.trunk}.{i}.{layout.stages[stage]}', 'output') for i in range(first, count)]
        number = re.fullmatch(r'B(\d+)', position)
        if number and 1 <= int(number[1]) <= count:
            return [Site(f'{layout.trunk}.{int(number[1]) - 1}', 'output')]
    site = site_at(net, position)
    if site is not None:
        return [site]
    raise UserError(_missing(net, position, layout))


def _missing(net: nn.Module, position: str, layout: Layout | None) -> str:
    names = ['last-conv', 'every-conv']
    if layout is not None:
        names += [*PARTS, f'B1 to B{len(net.get_submodule(layout.trunk))}']
    modules = [name for name, _ in net.named_modules() if name]
    near = '' if re.fullmatch(r'B\d+', position) else suggest(position, [*names, *modules])
    near = near if near.endswith('?') else ';'
    return (f"dropout_position: {type(net).__name__} has no position '{position}'{near} it has {', '.join(names)}, and "
            'the paths of its modules')


def _every_conv(net: nn.Module, last: str) -> list[Site]:
    """The output of every convolution (Fig. 2a) but the last, whose output is the image."""
    names = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    sites = [Site(name, 'output') for name in names if name != last and not name.startswith(f'{last}.')]
    if not sites:
        raise UserError(f'dropout_position: {type(net).__name__} has no convolution but its last')
    return sites


def _last_conv(net: nn.Module, layout: Layout | None) -> Site:
    return layout.last_conv(net) if layout is not None else Site(last_convolution(net), 'input')


def last_convolution(net: nn.Module) -> str:
    """Find the module that does the last convolution, by running the network once on a small image.

    Networks that fuse parallel convolutions in eval mode (ECBSR) name the block that does it. A convolution of the
    image itself, such as the mean shift at the end of RIDNet, does not count. The network is left as it was: modes,
    hooks and random numbers.

    Args:
        net: Any network of one image.

    Returns:
        The module's path.

    Raises:
        UserError: There is no convolution, or the network cannot be run on one image.
    """
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise UserError(f'dropout_position: {type(net).__name__} has no convolution; give the path of a module')
    failure = ''
    for channels in dict.fromkeys((3, first.in_channels, 1)):
        image = first.weight.new_zeros(1, channels, 32, 32)
        with _watched(net, channels) as watch, keep_rng(image.device), torch.no_grad():
            try:
                net(image)
                break
            except Exception as error:  # whatever a network of somebody else's raises
                failure = failure or f'{tuple(image.shape)}: {error}'
    else:
        raise UserError(f'dropout_position: {type(net).__name__} could not be run on an image to find its last '
                        f"convolution ({failure}); give the path of a module, as in 'input of conv_last'")
    if watch.last is None:
        raise UserError(f'dropout_position: {type(net).__name__} convolves nothing but the image; give the path of a '
                        'module')
    return watch.last


class _Watch(TorchFunctionMode):
    """Remembers inside which module the last convolution of features took place."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.inside: list[str] = []
        self.last: str | None = None

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d:
            features = args[0] if args else kwargs['input']
            if features.shape[1] > self.channels:
                self.last = self.inside[-1]
        return func(*args, **kwargs)


@contextmanager
def _watched(net: nn.Module, channels: int) -> Iterator[_Watch]:
    modes = {module: module.training for module in net.modules()}
    watch = _Watch(channels)
    handles = []
    for name, module in net.named_modules():
        handles.append(module.register_forward_pre_hook(lambda module, args, name=name: watch.inside.append(name)))
        handles.append(module.register_forward_hook(lambda module, args, output: watch.inside.pop() and None))
    try:
        net.eval()
        with watch:
            yield watch
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
