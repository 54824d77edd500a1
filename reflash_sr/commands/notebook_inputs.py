"""What a user gives to the notebook functions: networks, images, names, numbers. All raise ``UserError``."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from reflash_sr.commands.network_names import short_names
from reflash_sr.data.images.channels import to_channels
from reflash_sr.data.images.read_image import read_image
from reflash_sr.errors import UserError
from reflash_sr.evaluation.tiled_inference import to_tensor
from reflash_sr.weights.network_from_file import TrainedNetwork, label_of, open_network

Network = str | os.PathLike | TrainedNetwork
Networks = Network | Sequence[Network] | Mapping[str, Network]
Image = str | os.PathLike | np.ndarray


def open_one(network: Network) -> TrainedNetwork:
    """A network that is open, or the path of its weights file."""
    if isinstance(network, (str, os.PathLike)):
        return open_network(network)
    if not isinstance(network, TrainedNetwork):
        raise UserError(f'network: is a {type(network).__name__}; give the path of a weights file, or a result of '
                        'open_network')
    return network


def open_all(networks: Networks) -> list[TrainedNetwork]:
    """Open networks and make their labels unique: short ones (:func:`short_names`) if none was chosen and they fit."""
    if isinstance(networks, Mapping):
        opened = [replace(open_one(network), label=str(label)) for label, network in networks.items()]
    else:
        opened = [open_one(network) for network in listed(networks)]
        labels = [network.label for network in opened]
        names = short_names(opened) if labels == [label_of(one.path, one.trained) for one in opened] else None
        if names:
            return [replace(network, label=name) for network, name in zip(opened, names)]
        numbers = [labels[:index].count(label) + 1 for index, label in enumerate(labels)]
        opened = [network if labels.count(network.label) == 1 else replace(network, label=f'{network.label} ({number})')
                  for network, number in zip(opened, numbers)]
    if not opened:
        raise UserError('networks: none; give at least one')
    labels = [network.label for network in opened]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"networks: two are called '{label}'; give a dict from label to network")
    return opened


def listed(given: Any) -> list:
    """One thing or several, as a list."""
    single = isinstance(given, (str, os.PathLike, np.ndarray)) or not isinstance(given, Iterable)
    return [given] if single else list(given)


def image_of(image: Image, what: str = 'image') -> np.ndarray:
    """Read an image, or check that an array is (H, W, 3) uint8."""
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if not isinstance(image, np.ndarray):
        raise UserError(f'{what}: is a {type(image).__name__}; give a (H, W, 3) uint8 RGB array, or a path')
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(f'{what}: is an array {image.shape} of {image.dtype}; give (H, W, 3) uint8 RGB, or a path')
    return image


def lq_of(network: TrainedNetwork, image: Image) -> torch.Tensor:
    """An LQ image in the channels of a network, (1, C, H, W), if its size suits the network."""
    pixels = image_of(image)
    if any(side % network.multiple for side in pixels.shape[:2]):
        raise UserError(f'image: {pixels.shape[1]}×{pixels.shape[0]} px, but {network.label} needs multiples of '
                        f'{network.multiple} px; crop the image')
    return to_channels(to_tensor(pixels), network.channels)


def images_of(images: Image | Iterable[Image], what: str) -> tuple[list[np.ndarray], list[str]]:
    """Images in memory, or folders; one of the two is empty."""
    several = listed(images)
    if not several:
        raise UserError(f'{what}: none; give a folder or an array')
    if all(isinstance(one, (str, os.PathLike)) for one in several):
        return [], [str(one) for one in several]
    return [image_of(one, what) for one in several], []


def folder_of(folder: Any, what: str) -> str:
    """The path of one folder."""
    folders = listed(folder)
    if len(folders) != 1 or not isinstance(folders[0], (str, os.PathLike)):
        raise UserError(f'{what}: give the path of one folder')
    return str(folders[0])


def names_of(what: str, given: str | Iterable[str], least: int = 1) -> tuple[str, ...]:
    """One name or several."""
    names = tuple(listed(given))
    if len(names) < least or not all(isinstance(name, str) for name in names):
        raise UserError(f'{what}: {names}; give a name, or several')
    return names


def check_whole(least: int = 0, **numbers: Any) -> None:
    """Check whole numbers; None is allowed where it has a meaning."""
    for name, value in numbers.items():
        if value is None and name in ('tile', 'crop', 'limit'):
            continue
        try:
            fits = operator.index(value) >= least
        except TypeError:
            fits = False
        if not fits:
            raise UserError(f'{name}: {value!r}; give a whole number, {least} or more')


def corner_of(at: Any) -> tuple[int, int]:
    """First row and column of a window, whole numbers."""
    try:
        top, left = map(operator.index, at)
    except (TypeError, ValueError):
        raise UserError(f'at: {at!r}; give (row, column), two whole numbers') from None
    return top, left
