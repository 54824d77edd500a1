"""A trained network from its weights file: what it is, how it is built, what it is called in a table."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from reflash_sr.dropout import drop_rate
from reflash_sr.errors import UserError
from reflash_sr.options.author_networks import translate_network
from reflash_sr.options.registry import registered
from reflash_sr.options.rules import is_int
from reflash_sr.system.devices import keep_rng
from reflash_sr.system.files import sha256
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.size_limit import Bounded

SMALL = 48  # px: side of the image that a network is tried with; a multiple of every usual window


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with its weights, in eval mode, on the CPU.

    Attributes:
        label: What it is called in tables and figures.
        path: The weights file.
        key: Which of its keys was taken: ``'params'``, ``'params_ema'`` or ``'bare'``.
        net: The network; takes and makes (B, 3, H, W), RGB in [0, 1].
        network_g: Its options.
        scale: How many times as large its output is.
        multiple: Both sides of its input must be multiples of this, px.
        parameters: How many it has.
        sha256: Of the weights file.
        trained: What the file says of its training (``experiment``, ``iter``, …); empty where it says nothing.
    """

    label: str
    path: str
    key: str
    net: nn.Module
    network_g: dict[str, Any]
    scale: int
    multiple: int
    parameters: int
    sha256: str
    trained: dict[str, Any] = field(default_factory=dict)

    @property
    def dropout_p(self) -> float:
        """The p of its dropout, also where its options leave that to its class; 0 for a plain network."""
        return float(drop_rate(self.net) or self.network_g.get('dropout_p', 0))

    @property
    def known_p(self) -> float | None:
        """The p it was trained with; None for bare weights, which may have been trained with any."""
        says = self.trained or {'dropout_p', 'base'} & set(self.network_g) or self.dropout_p
        return self.dropout_p if says else None


def open_network(path: str | os.PathLike,
                 key: str | None = None,
                 network_g: Mapping[str, Any] | None = None,
                 label: str | None = None) -> TrainedNetwork:
    """Build a network and load its weights.

    What the network is, is taken from the file where it says so (ours do), else from ``network_g``, else from the
    shapes of the weights: an ``MSRResNet`` or an ``RRDBNet`` of any size is recognised.

    Args:
        path: A weights file of BasicSR, Real-ESRGAN, the paper's authors or this package.
        key: ``'params'`` or ``'params_ema'``. Default: EMA weights where there are any.
        network_g: ``type`` and arguments, for a file that does not say what it holds.
        label: Default: the experiment's name, or the file's.

    Raises:
        UserError: No such file or key, a network that is not known, weights that do not fit, or a network that does not
            turn images into images.
    """
    loaded = weights.load_weights(path, key)
    if key is not None and loaded.key != key:
        raise UserError(f"{path}: has no '{key}' weights, only '{loaded.key}'")
    section = dict(_section(loaded.network_g) or network_g or _recognise(loaded))
    section = translate_network(section) or section
    net = build_network(section)
    weights.check_fit(net, loaded)
    net.load_state_dict(loaded.state_dict)
    net.eval().requires_grad_(False)
    multiple = size_multiple(section)
    return TrainedNetwork(
        label=label or label_of(path, loaded.trained), path=str(path), key=loaded.key, net=net, network_g=section,
        scale=_try(net, multiple, str(path)), multiple=multiple, parameters=sum(p.numel() for p in net.parameters()),
        sha256=sha256(path), trained=dict(loaded.trained))


def build_network(network_g: Mapping[str, Any]) -> nn.Module:
    """Build a registered network from its options; weights are those of a new one.

    Raises:
        UserError: The network is not registered, or does not take these arguments.
    """
    section = dict(network_g)
    cls = registered(ARCH_REGISTRY, section.pop('type', None), 'network_g: type')
    try:
        with keep_rng(), Bounded():
            return cls(**section)
    except UserError as error:
        raise UserError(f'network_g: {error}') from error
    except Exception as error:  # classes of many authors, options of strangers
        raise UserError(f'network_g: {cls.__name__} does not accept these options: {error}') from error


def size_multiple(network_g: Mapping[str, Any]) -> int:
    """What both sides of a network's input must be a multiple of, px: its window, or what it folds into channels."""
    section = network_g.get('base', network_g)
    if 'RRDBNet' in str(section.get('type')):
        return {2: 2, 1: 4}.get(section.get('scale', 4), 1)
    window = section.get('window_size', _default(section.get('type'), 'window_size'))
    return window if is_int(window) and window > 0 else 1


def _default(type_name: Any, argument: str) -> Any:
    """What a registered class takes for an argument that is not given; None where it has none."""
    cls = ARCH_REGISTRY.get(type_name) if type_name in ARCH_REGISTRY else None
    for each in getattr(cls, '__mro__', ()):
        parameter = inspect.signature(each.__init__).parameters.get(argument)
        if parameter is not None:
            return parameter.default
    return None


def label_of(path: str | os.PathLike, trained: Mapping[str, Any]) -> str:
    """Name weights after their experiment: by what the file says, by the folder it lies in, or by the file's name."""
    path = Path(path)
    if trained.get('experiment'):
        return str(trained['experiment'])
    folder = path.absolute().parent
    return folder.parent.name if folder.name == 'models' and folder.parent.name else path.stem


def network_settings(networks: Sequence[TrainedNetwork]) -> list[dict[str, Any]]:
    """What a result's summary says of its networks."""
    return [{'label': one.label, 'weights': one.path, 'sha256': one.sha256, 'key': one.key,
             'network_g': one.network_g, 'dropout_p': one.dropout_p, 'parameters': one.parameters,
             'trained': one.trained} for one in networks]


def _try(net: nn.Module, multiple: int, path: str) -> int:
    """Run the network on a small image, and return its scale."""
    side = -(-SMALL // multiple) * multiple
    try:
        with torch.no_grad():
            sr = net(torch.zeros(1, 3, side, side))
    except Exception as error:  # as above
        raise UserError(f'{path}: {type(net).__name__} does not take an RGB image: {error}') from error
    shape = tuple(getattr(sr, 'shape', ()))
    if len(shape) != 4 or shape[:2] != (1, 3) or shape[2] != shape[3] or shape[2] % side:
        raise UserError(f'{path}: {type(net).__name__} makes {shape} out of an RGB image of {side}×{side} px; '
                        'it must make a larger RGB image')
    return shape[2] // side


# ---------------------------------------------------------------------- what a bare state dict is


def _recognise(loaded: weights.Weights) -> dict[str, Any]:
    shapes = {name: tuple(value.shape) for name, value in loaded.state_dict.items()}
    for sign, describe in _RECOGNISED.items():
        if sign in shapes and 'conv_first.weight' in shapes and 'conv_last.weight' in shapes:
            return describe(shapes)
    raise UserError(f'{loaded.path}: does not say what network it holds, and is neither an MSRResNet nor an RRDBNet; '
                    'give its option file with --opt, or its class with --arch')


def _blocks(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return 1 + max(int(name.split('.')[1]) for name in shapes if name.startswith('body.'))


def _msrresnet(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    num_feat, num_in_ch = shapes['conv_first.weight'][:2]
    upscale = 4
    if 'upconv2.weight' not in shapes:
        upscale = 3 if shapes['upconv1.weight'][0] == 9 * num_feat else 2
    return {'type': 'MSRResNet', 'num_in_ch': num_in_ch, 'num_out_ch': shapes['conv_last.weight'][0],
            'num_feat': num_feat, 'num_block': _blocks(shapes), 'upscale': upscale}


def _rrdbnet(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    num_feat, folded = shapes['conv_first.weight'][:2]
    num_out_ch = shapes['conv_last.weight'][0]
    scale = {1: 4, 4: 2, 16: 1}.get(folded // num_out_ch, 4)
    return {'type': 'RRDBNet', 'num_in_ch': num_out_ch if scale < 4 else folded, 'num_out_ch': num_out_ch,
            'num_feat': num_feat, 'num_block': _blocks(shapes), 'num_grow_ch': shapes['body.0.rdb1.conv1.weight'][0],
            'scale': scale}


_RECOGNISED = {'body.0.rdb1.conv1.weight': _rrdbnet, 'upconv1.weight': _msrresnet}


def _section(network_g: Any) -> Mapping[str, Any] | None:
    """What a file says of its network, where it is a section at all."""
    return network_g if isinstance(network_g, Mapping) and isinstance(network_g.get('type'), str) else None
