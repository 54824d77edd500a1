"""Preparing a comparison of networks: settings, checks, baselines, descriptions."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflash_sr.data.test_degradation.benchmark_sets import DegradedSet, PairedSet
from reflash_sr.errors import UserError
from reflash_sr.evaluation.comparison_table import Method
from reflash_sr.evaluation.metrics import SMALLEST, check_metrics
from reflash_sr.evaluation.pairs import twin_of
from reflash_sr.evaluation.tiled_inference import OVERLAP
from reflash_sr.weights.network_from_file import CHANNELS, TrainedNetwork

BICUBIC = 'bicubic'
_ON = {3: '', 1: ' of Y (Cb and Cr: bicubic)', 4: f' of {CHANNELS[4]} (opaque)'}  # by number of channels


@dataclass(frozen=True)
class Settings:
    """How networks are measured; raises ``UserError`` for a metric that is unknown or not available."""

    metrics: tuple[str, ...] = ('psnr',)  # keys of evaluation.metrics.METRICS
    crop_border: int = 4  # px excluded on every side
    y_channel: bool = False  # measure on Y of YCbCr instead of RGB
    seed: int = 0  # of the bootstrap; the noise of LQ images uses the seed of its dataset
    amp: bool = False  # run networks in bfloat16 mixed precision
    tile: int | None = None  # tile and overlap: as for evaluation.inference.Restorer
    overlap: int = OVERLAP
    strips: int = 1  # number of images of each dataset that are shown in strips
    save_images: bool = False  # write every SR image

    def __post_init__(self) -> None:
        check_metrics(self.metrics)

    def __str__(self) -> str:
        colours = 'Y of YCbCr' if self.y_channel else 'RGB'
        return f"8-bit {colours}, {self.crop_border} px border cropped{', bfloat16' if self.amp else ''}"


def check(networks: Sequence[TrainedNetwork], datasets: Sequence[DegradedSet | PairedSet]) -> None:
    """Raise a ``UserError`` for networks and datasets of different scales, and for names that are not unique."""
    for network in networks:
        if network.scale != datasets[0].scale:
            raise UserError(f'{network.path}: upscales ×{network.scale}, but the datasets are made for '
                            f'×{datasets[0].scale}; evaluate networks of one scale together')
        if network.label == BICUBIC:
            raise UserError(f"{network.path}: cannot be called '{BICUBIC}', the name of interpolation; give --labels")
    names = [dataset.name for dataset in datasets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"two datasets are called '{twice}'; name them, as in --gt {twice}1=DIR")


def check_images(datasets: Sequence[DegradedSet | PairedSet], settings: Settings) -> None:
    """Raise a ``UserError`` for an image that is broken or too small; decodes every image."""
    smallest = 2 * settings.crop_border + max(SMALLEST[metric] for metric in settings.metrics)
    why = f"crop_border {settings.crop_border} and {', '.join(settings.metrics)} need {smallest} px"
    for dataset in datasets:
        dataset.check(smallest, why)


def baselines_of(networks: Sequence[TrainedNetwork], given: Mapping[str, str] | None) -> dict[str, str]:
    """Label of the network without dropout, by the label of the network with dropout.

    Args:
        networks: All compared networks.
        given: The user's choice, used unchanged. Default: for each network with dropout, the network that differs in
            dropout alone (:func:`reflash_sr.evaluation.pairs.twin_of`).

    Raises:
        UserError: ``given`` holds an unknown label.
    """
    labels, given = [network.label for network in networks], given or {}
    for label in [*given, *given.values()]:
        if label not in labels and (label != BICUBIC or label in given):
            raise UserError(f"--baseline: there is no network '{label}'; there are {', '.join(labels)}")
    if given:
        return dict(given)
    twins = {network.label: twin_of(network, networks)[0] for network in networks}
    return {label: twin.label for label, twin in twins.items() if twin is not None}


def method_of(one: TrainedNetwork, baselines: Mapping[str, str], about_pair: str = '') -> Method:
    """A network as a row of the table; ``about_pair`` as of :func:`reflash_sr.evaluation.pairs.pair_notes`."""
    trained = 'training not stated in the file'
    done, total = (one.trained.get(key) for key in ('iter', 'total_iter'))
    if isinstance(done, int):
        trained = f'trained for {done:,}' + (f' of {total:,}' if isinstance(total, int) else '') + ' iterations'
    p = 'p not stated' if one.known_p is None else f'p = {one.known_p:g}'
    note = (f"{one.kind}{_ON[one.channels]}, {p}, {one.key} of {one.path} (sha256 {one.sha256[:12]}…), "
            f"{trained}{'; ' * bool(about_pair)}{about_pair}")
    return Method(one.label, one.parameters, one.known_p, baselines.get(one.label), note)


def describe(one: DegradedSet | PairedSet) -> dict[str, Any]:
    """A dataset for the summary, with a checksum of its files."""
    checksum = 0
    for place, name in enumerate(one.names):
        for content in (name.encode(), *(Path(path).read_bytes() for path in one.files(place))):
            checksum = zlib.crc32(content, checksum)
    return {'name': one.name, 'roots': [str(root) for root in one.roots], 'pictures': len(one), 'crc32': checksum,
            'scale': one.scale, 'degradations': list(one.degradations)}
