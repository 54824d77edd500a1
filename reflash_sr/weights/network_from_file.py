"""A trained network, built from its weights file."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from reflash_sr.dropout import drop_rate
from reflash_sr.errors import UserError
from reflash_sr.options.author_networks import translate_network
from reflash_sr.options.registry import registered
from reflash_sr.options.training_record import read_record
from reflash_sr.options.value_rules import is_int
from reflash_sr.system.devices import keep_rng
from reflash_sr.system.files import sha256
from reflash_sr.weights.bundled import real_path
from reflash_sr.weights.recognise import recognise
from reflash_sr.weights.size_limit import Bounded, check_arguments
from reflash_sr.weights.spandrel_networks import Described
from reflash_sr.weights.state_dict import Weights, load_into, load_weights, unlike

SMALL = 48  # px: side of the test image that finds the scale; a multiple of every usual window size
TINY = 16  # px: side of the test images that find out whether a network takes several at a time
CHANNELS = {3: 'RGB', 1: 'Y', 4: 'RGBA'}  # what a network may restore, by number of channels; tried in this order


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with its weights, in eval mode, on the CPU."""

    label: str  # name in tables and figures
    path: str  # the weights file
    key: str  # which weights of the file: 'params', 'params_ema' or 'bare'
    net: nn.Module  # maps (B, C, H, W) to (B, C, H · scale, W · scale), in [0, 1]
    network_g: dict[str, Any]  # options of the network
    channels: int  # C: a key of CHANNELS
    scale: int  # side of the output divided by side of the input
    multiple: int  # both sides of the input must be multiples of this, px
    parameters: int  # number of parameters
    sha256: str  # checksum of the weights file
    trained: dict[str, Any] = field(default_factory=dict)  # as in Weights
    batch: int | None = None  # images that it takes at a time; None: any number

    @property
    def dropout_p(self) -> float:
        """Drop probability, also if it is the default of the class; 0 for a plain network."""
        return float(drop_rate(self.net) or self.network_g.get('dropout_p', 0))

    @property
    def known_p(self) -> float | None:
        """Drop probability during training; None if the file and the options do not tell it."""
        is_known = self.trained or {'dropout_p', 'base'} & set(self.network_g) or self.dropout_p
        return self.dropout_p if is_known else None

    @property
    def kind(self) -> str:
        """Class of the network; of one of spandrel, the name of its architecture."""
        return str(self.network_g.get('architecture', self.network_g['type']))

    @property
    def record(self) -> dict[str, Any] | None:
        """What it was trained with (:mod:`reflash_sr.options.training_record`); None if the file does not say."""
        return read_record(self.trained.get('options'))

    @property
    def shows_tiles(self) -> bool:
        """Whether tiles may show in its images, as spandrel says of networks that look at the whole image."""
        return isinstance(self.net, Described) and self.net.description.tiling != 'supported'


def open_network(path: str | os.PathLike, key: str | None = None, network_g: Mapping[str, Any] | None = None,
                 label: str | None = None) -> TrainedNetwork:
    """Build a network and load its weights.

    The options of the network come from the file (files of this package have them), else from ``network_g``, else from
    the weights themselves (:func:`reflash_sr.weights.recognise.recognise`).

    Args:
        path: A weights file of BasicSR, Real-ESRGAN, the paper's authors or this package, or ``bundled:NAME``.
        key: Key of the weights in the file, such as ``'params'``. Default: EMA weights if there are any.
        network_g: ``type`` and arguments, for a file without options.
        label: Default: the name of the experiment, or of the file.

    Raises:
        UserError: There is no such file or key, the network is not known, the weights do not fit, or the network does
            not map images of 3, 1 or 4 channels to images with as many channels.
    """
    path = real_path(path)
    loaded = load_weights(path, named=key)
    own = loaded.network_g if isinstance((loaded.network_g or {}).get('type'), str) else None
    _check_alone(path, own)
    if own or network_g:
        section = dict(own or network_g or {})
        section = translate_network(section) or section
    else:
        section, loaded = recognise(loaded, _fits)
    net = build_network(section)
    load_into(net, loaded)
    net.eval().requires_grad_(False)
    multiple = size_multiple(section, net)
    channels, scale = _try(net, multiple, str(path))
    return TrainedNetwork(
        label=label or label_of(path, loaded.trained), path=str(path), key=loaded.key, net=net, network_g=section,
        channels=channels, scale=scale, multiple=multiple, parameters=sum(p.numel() for p in net.parameters()),
        sha256=sha256(path), trained=dict(loaded.trained), batch=_batch(net, channels))


def build_network(network_g: Mapping[str, Any]) -> nn.Module:
    """Build a registered network from its options, with random initial weights.

    Raises:
        UserError: The network is not registered, or does not accept these arguments.
    """
    section = dict(network_g)
    cls = registered(ARCH_REGISTRY, section.pop('type', None), 'network_g: type')
    try:
        check_arguments(cls, section)
        with keep_rng(), Bounded():
            return cls(**section)
    except UserError as error:
        raise UserError(f'network_g: {error}') from error
    except Exception as error:  # the class of another project may raise anything
        raise UserError(f'network_g: {cls.__name__} does not accept these options: {error}') from error


def open_base(path: str | os.PathLike) -> TrainedNetwork:
    """Open the network of a weights file, without its dropout if it has any: other dropout goes into it.

    Args:
        path: As for :func:`open_network`; ``~`` is the user's folder.

    Raises:
        UserError: As for :func:`open_network`.
    """
    network = open_network(Path(path).expanduser())
    section = network.network_g
    if section['type'] == 'WithDropout':
        section = dict(section['base'])
    elif network.dropout_p:
        section = {**section, 'dropout_p': 0}
    if section == network.network_g:
        return network
    net = build_network(section)
    net.load_state_dict(network.net.state_dict())
    return replace(network, net=net.eval().requires_grad_(False), network_g=section)


def with_described_base(network_g: Mapping[str, Any]) -> dict[str, Any]:
    """``network_g`` as a weights file may hold it: ``base: FILE`` becomes the options of the file's network.

    Raises:
        UserError: As for :func:`open_network`.
    """
    base = network_g.get('base')
    return {**network_g, 'base': open_base(base).network_g} if isinstance(base, (str, os.PathLike)) else dict(network_g)


def size_multiple(network_g: Mapping[str, Any], net: nn.Module | None = None) -> int:
    """Both sides of a network's input must be multiples of this, px: its window size, or its pixel-unshuffle factor.

    A network of spandrel takes every size: it pads. With ``net``, the multiple at which it does not.
    """
    if isinstance(net, Described):
        return int(net.description.size.multiple_of)
    section = network_g.get('base', network_g)
    if isinstance(section, (str, os.PathLike)):
        return open_base(section).multiple
    name = section.get('type')
    if 'RRDBNet' in str(name):
        return {2: 2, 1: 4}.get(section.get('scale', 4), 1)
    cls = ARCH_REGISTRY.get(name) if name in ARCH_REGISTRY else None
    defaults = (inspect.signature(base).parameters.get('window_size') for base in getattr(cls, '__mro__', (cls,))[:-1])
    window = section.get('window_size', next((found.default for found in defaults if found), None))
    return window if is_int(window) and window > 0 else 1


def _for_json(trained: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of its training, which may be anything, as values that a summary can hold."""
    return json.loads(json.dumps(trained, default=str, skipkeys=True))


def label_of(path: str | os.PathLike, trained: Mapping[str, Any]) -> str:
    """Name of the experiment in the file, else of the experiment's folder (``NAME/models/``), else of the file."""
    path = Path(path)
    if trained.get('experiment'):
        return str(trained['experiment'])
    folder = path.absolute().parent
    return folder.parent.name if folder.name == 'models' and folder.parent.name else path.stem


def network_settings(networks: Sequence[TrainedNetwork]) -> list[dict[str, Any]]:
    """Description of networks for the summary of a result."""
    return [{'label': network.label, 'weights': network.path, 'sha256': network.sha256, 'key': network.key,
             'network_g': network.network_g, 'dropout_p': network.dropout_p, 'parameters': network.parameters,
             'trained': _for_json(network.trained)} for network in networks]


def _check_alone(path: str | os.PathLike, network_g: Any) -> None:
    """Refuse a description of a network in a weights file that opens another file, or the same one without an end."""
    while isinstance(network_g, Mapping):
        network_g = network_g.get('base')
    if network_g is not None:
        raise UserError(f'{path}: network_g: base: must be a section in a weights file, not {str(network_g)[:80]}; '
                        'save the weights without network_g')


def _batch(net: nn.Module, channels: int) -> int | None:
    """1 if a network of spandrel takes one image at a time, as mixtures of experts do (SeemoRe); else None."""
    if not isinstance(net, Described):
        return None
    images = torch.rand(2, channels, TINY, TINY, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            alone = torch.cat([net(images[:1]), net(images[1:])])
            return None if torch.allclose(net(images), alone, rtol=1e-3, atol=1e-3, equal_nan=True) else 1
    except Exception:  # of any class
        return 1


def _fits(section: Mapping[str, Any], loaded: Weights) -> bool:
    return not unlike(build_network(section), loaded)


def _try(net: nn.Module, multiple: int, path: str) -> tuple[int, int]:
    """Run the network on small images of 3, 1 and 4 channels, and return the channels that it takes, and its scale."""
    side = -(-SMALL // multiple) * multiple
    errors = []
    for channels in CHANNELS:
        try:
            with torch.no_grad():
                sr = net(torch.zeros(1, channels, side, side))
        except Exception as error:  # the class of another project may raise anything
            errors.append(error)
            continue
        shape = tuple(getattr(sr, 'shape', ()))
        if len(shape) != 4 or shape[:2] != (1, channels) or shape[2] != shape[3] or shape[2] % side or not shape[2]:
            raise UserError(f'{path}: {type(net).__name__} returns shape {shape} for an image of {channels} channels, '
                            f'{side}×{side} px; it must return a larger image with {channels} channels')
        return channels, shape[2] // side
    raise UserError(f'{path}: {type(net).__name__} does not take an image of 3, 1 or 4 channels: '
                    f'{errors[0]}') from errors[0]
