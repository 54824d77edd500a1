"""What the tools that look into networks share: images and their LQ, layers, one folder for each model."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from reflash_sr.analysis.features import find_layers, list_layers, tap
from reflash_sr.commands.arguments import add_network_arguments, open_networks
from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.data.test_degradation.degradations import check_name, degrade, noise_rng
from reflash_sr.errors import RunError, UserError
from reflash_sr.evaluation.inference import to_tensor
from reflash_sr.system.devices import is_out_of_memory
from reflash_sr.weights.trained_network import TrainedNetwork

LONGEST = 80  # bytes of a name that is made from a label
RESULTS = frozenset({'.json', '.csv', '.png', '.html', '.md', '.tex'})
TRIED = 16  # px: side of the image that layers are tried with, and at least two windows
PATH_HINT = 'and any module: PATH is its output, input of PATH its input'


@dataclass(frozen=True)
class ImageSelection:
    """Which images are looked at.

    Attributes:
        images: Folder of GT images, or ``photos:train``, ``photos:val``.
        degradation: How their LQ is made.
        limit: The first N of them; None: all.
        crop: Side of the middle part that is taken, px of the LQ image; None or 0: the whole.
        seed: Of the noise.
    """

    images: str
    degradation: str = 'clean'
    limit: int | None = None
    crop: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Pair:
    """An image: its name, (1, 3, H, W) in [0, 1], and (H · scale, W · scale, 3) uint8."""

    name: str
    lq: torch.Tensor
    gt: np.ndarray


class Pairs:
    """The images, cropped so that every network takes them.

    Args:
        plan: Which.
        networks: The networks; their scales must be the same.

    Raises:
        UserError: No image, a degradation that is not known, numbers out of range, or networks of several scales.
    """

    def __init__(self, plan: ImageSelection, networks: Sequence[TrainedNetwork]):
        check_name(plan.degradation)
        for name, value, least in (('limit', plan.limit, 1), ('crop', plan.crop, 0)):
            if value is not None and value < least:
                raise UserError(f'--{name}: {value}; give {least} or more')
        scales = sorted({one.scale for one in networks})
        if len(scales) > 1:
            raise UserError(f"--weights: networks of several scales ({', '.join(map(str, scales))}) cannot be compared "
                            'on the same images; give one scale at a time')
        self.plan = plan
        self.scale = scales[0]
        self.step = math.lcm(*(one.multiple for one in networks))
        self.source = ImageSource({'dataroot_gt': plan.images})
        self.names = self.source.names[:plan.limit]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Pair]:
        for index, name in enumerate(self.names):
            gt = self._cropped(self.source.read(index), index)
            rng = noise_rng(self.plan.seed, name, self.plan.degradation)
            yield Pair(name, to_tensor(degrade(gt, self.plan.degradation, self.scale, rng)), gt)

    def _cropped(self, gt: np.ndarray, index: int) -> np.ndarray:
        unit = self.scale * self.step
        sides = []
        for side in gt.shape[:2]:
            wanted = min(side, self.plan.crop * self.scale) if self.plan.crop else side
            sides.append(wanted // unit * unit)
        if min(sides) == 0:
            raise UserError(f'{self.source.paths[index]}: {gt.shape[1]}×{gt.shape[0]} px, or --crop, is too small: the '
                            f'networks need {unit}×{unit} px ({self.step}×{self.step} px of the LQ image) or more')
        if self.plan.crop:
            top, left = ((whole - side) // 2 for whole, side in zip(gt.shape, sides))
        else:
            top = left = 0  # as mod_crop does
        return np.ascontiguousarray(gt[top:top + sides[0], left:left + sides[1]])


def add_image_arguments(parser: argparse.ArgumentParser, crop: int | None = None) -> None:
    """Add ``--images --degradation --limit --crop --layer --list-layers``."""
    parser.add_argument('--images', required=True, metavar='DIR', help='GT images; or photos:val')
    parser.add_argument('--degradation', default='clean', metavar='NAME',
                        help='how their LQ is made, as in the test set: clean, b+n, noise:30+jpeg:30 (default: clean)')
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N images')
    parser.add_argument('--crop', type=int, default=crop, metavar='PX',
                        help='take the middle of each, PX wide and high in the LQ image; 0: the whole (default: '
                        f'{crop or 0})')
    parser.add_argument('--layer', nargs='+', default=['last'], metavar='NAME',
                        help='first, B1, B2, ..., hr, last, a path of a module, or all: see --list-layers (default: '
                        'last)')
    parser.add_argument('--list-layers', action='store_true', help='list the layers of the networks, do nothing else')


def plan_of(args: argparse.Namespace) -> ImageSelection:
    return ImageSelection(args.images, args.degradation, args.limit, args.crop, args.seed)


def print_layers() -> None:
    """Print the layers of the networks that the command line names: all it must hold is ``--weights``."""
    parser = argparse.ArgumentParser(description='List the layers of networks.')
    add_network_arguments(parser)
    args, _ = parser.parse_known_args()
    for network in open_networks(args):
        print(f'{network.label}: {type(network.net).__name__}')
        for name, what in list_layers(network.net):
            print(f'  {name}: {what}')
        print(f'  {PATH_HINT}')


def layers_of(networks: Sequence[TrainedNetwork], layers: Sequence[str]) -> list[list[str]]:
    """The layers of each network by name, ``all`` written out.

    Raises:
        UserError: A network has no such layer; names both.
    """
    found = []
    for network in networks:
        try:
            found.append(list(find_layers(network.net, layers)))
        except UserError as error:
            raise UserError(f'{network.path}: {error}') from None
    return found


def check_layers(networks: Sequence[TrainedNetwork], layers: Sequence[Sequence[str]], step: int) -> None:
    """Try every layer of every network on a small image.

    Raises:
        UserError: A layer is not reached, or does not hold features of one image.
    """
    side = max(-(-TRIED // step), 2) * step
    for network, names in zip(networks, layers):
        with tap(network.net, names) as seen, torch.no_grad():
            network.net(next(network.net.parameters()).new_zeros(1, 3, side, side))
        for name in names:
            if seen[name].shape[0] != 1:
                raise UserError(f"{network.path}: layer '{name}': holds windows of the image, not the image; give "
                                'another layer')


def folder_names(labels: Sequence[str]) -> list[str]:
    """A name of a folder or file for each label: safe on every system, no two alike, not even in capitals."""
    names: list[str] = []
    for label in labels:
        name = file_name(label).strip('._') or 'model'
        if Path(name).suffix.lower() in RESULTS:
            name += '_'  # not the name of a file that is written beside it
        number = 2
        unique = name
        while unique.lower() in {one.lower() for one in names}:
            unique, number = f'{name}_{number}', number + 1
        names.append(unique)
    return names


def file_name(layer: str) -> str:
    """A layer's name as part of a file's name, cut to what every file system takes."""
    return re.sub(r'[^\w.+=@-]+', '_', layer).encode()[:LONGEST].decode(errors='ignore')


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known and finite; None where there are none."""
    known = [float(one) for one in values if one is not None and math.isfinite(one)]
    return sum(known) / len(known) if known else None


@contextmanager
def running(net: nn.Module, device: torch.device, amp: bool, hint: str) -> Iterator[None]:
    """Have a network on its device, in mixed precision where wanted; say what to do when memory runs out."""
    before = next(net.parameters()).device
    net.to(device, memory_format=torch.channels_last)
    try:
        with torch.autocast(device.type, torch.bfloat16) if amp else nullcontext():
            yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise RunError(f'{device}: not enough memory; {hint}') from error
        raise
    finally:
        net.to(before)
