"""What is compared with what, and how: what goes together, baselines, and all that decides what comes out."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from reflash_sr.data.test_degradation.benchmark_sets import DegradedSet, PairedSet
from reflash_sr.errors import UserError
from reflash_sr.evaluation.comparison_table import Method
from reflash_sr.evaluation.inference import OVERLAP
from reflash_sr.weights.trained_network import TrainedNetwork, network_settings

BICUBIC = 'bicubic'


@dataclass(frozen=True)
class Settings:
    """How networks are measured.

    Attributes:
        metrics: Names; see :mod:`reflash_sr.evaluation.metrics`.
        crop_border: px that are left out on every side.
        y_channel: Whether to measure on Y of YCbCr instead of RGB.
        seed: Of the noise of the LQ images, and of the intervals.
        amp: Whether to run networks in bfloat16 mixed precision.
        tile: As for :class:`~reflash_sr.evaluation.inference.Restorer`.
        overlap: The same.
        strips: How many images of each set are shown in strips.
        save_images: Whether to write every SR image.
    """

    metrics: tuple[str, ...] = ('psnr',)
    crop_border: int = 4
    y_channel: bool = False
    seed: int = 0
    amp: bool = False
    tile: int | None = None
    overlap: int = OVERLAP
    strips: int = 1
    save_images: bool = False

    def __str__(self) -> str:
        colours = 'Y of YCbCr' if self.y_channel else 'RGB'
        return f"8-bit {colours}, {self.crop_border} px border cropped{', bfloat16' if self.amp else ''}"


def check(networks: Sequence[TrainedNetwork], sets: Sequence[DegradedSet | PairedSet]) -> None:
    for one in networks:
        if one.scale != sets[0].scale:
            raise UserError(f'{one.path}: enlarges ×{one.scale}, but the sets are made for ×{sets[0].scale}; evaluate '
                            'networks of one scale together')
        if one.label == BICUBIC:
            raise UserError(f"{one.path}: cannot be called '{BICUBIC}': that is interpolation's row; give --labels")
    names = [one.name for one in sets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"two sets are called '{twice}'; name them, as in --gt {twice}1=DIR")


def baselines_of(networks: Sequence[TrainedNetwork], given: Mapping[str, str] | None) -> dict[str, str]:
    labels, given = [one.label for one in networks], given or {}
    for label in [*given, *given.values()]:
        if label not in labels and (label != BICUBIC or label in given):
            raise UserError(f"--baseline: there is no network '{label}'; there are {', '.join(labels)}")
    if given:
        return dict(given)
    found = {}
    for one in networks:
        twins = [other for other in networks if one.dropout_p > 0 and _differ_in_dropout(one, other)]
        if len(twins) > 1:  # several seeds, or iterations
            twins = [other for other in twins if _moment(other) == _moment(one)]
        if len(twins) == 1:
            found[one.label] = twins[0].label
    return found


def _moment(one: TrainedNetwork) -> tuple[Any, Any]:
    return one.trained.get('manual_seed'), one.trained.get('iter')


def _differ_in_dropout(one: TrainedNetwork, other: TrainedNetwork) -> bool:
    shapes, others = ({name: value.shape for name, value in net.net.state_dict().items()} for net in (one, other))
    return other.known_p == 0 and one.key == other.key and shapes == others


def method_of(one: TrainedNetwork, baselines: Mapping[str, str]) -> Method:
    trained = 'training not stated in the file'
    done, total = (one.trained.get(key) for key in ('iter', 'total_iter'))
    if isinstance(done, int):
        trained = f'trained for {done:,}' + (f' of {total:,}' if isinstance(total, int) else '') + ' iterations'
    p = 'p not stated' if one.known_p is None else f'p = {one.known_p:g}'
    note = (f"{one.network_g['type']}, {p}, {one.key} of {one.path} (sha256 {one.sha256[:12]}…), "
            f'{trained}')
    return Method(one.label, one.parameters, one.known_p, baselines.get(one.label), note)


def identity(networks: Sequence[TrainedNetwork], sets: Sequence[DegradedSet | PairedSet], settings: Settings,
              device: torch.device) -> dict[str, Any]:
    """All that decides what comes out."""
    return {'networks': network_settings(networks), 'sets': [describe(one) for one in sets], **asdict(settings),
            'device': device.type}


def describe(one: DegradedSet | PairedSet) -> dict[str, Any]:
    """A set, down to what its files hold."""
    checksum = 0
    for place, name in enumerate(one.names):
        checksum = zlib.crc32(name.encode(), checksum)
        for path in one.files(place):
            checksum = zlib.crc32(Path(path).read_bytes(), checksum)
    return {'name': one.name, 'roots': [str(root) for root in one.roots], 'pictures': len(one), 'crc32': checksum,
            'scale': one.scale, 'degradations': list(one.degradations)}
