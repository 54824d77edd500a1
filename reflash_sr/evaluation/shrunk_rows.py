"""Rows of the shrinkage control: which α a network's result gets on which image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reflash_sr.data.test_degradation.degradations import AS_GIVEN
from reflash_sr.evaluation.comparison_table import Method
from reflash_sr.evaluation.own_interpolation import Base
from reflash_sr.evaluation.scores import Score
from reflash_sr.evaluation.shrinkage import LARGEST, shrink

ONCE, PER_DEGRADATION = 'once', 'per degradation'  # ways of choosing α
MOMENTS = ('moment_0', 'moment_1', 'moment_2')  # the parabola of an image as scores, squared grey levels
_PAIRS = ' (that of all degradations)'
SHRUNK = ', shrunk '  # between the label of a network and its α


@dataclass(frozen=True)
class Part:
    """Images of a dataset that share their α.

    Attributes:
        dataset: Name of the dataset.
        places: Indices of the images.
        alphas: α by degradation.
    """

    dataset: str
    places: range
    alphas: Mapping[str, float]


@dataclass(frozen=True)
class ShrunkRow:
    """A network whose results are drawn towards an interpolated image.

    Attributes:
        network: Label of the network.
        way: :data:`ONCE`, one α for all degradations, or :data:`PER_DEGRADATION`.
        base: What the results are drawn towards.
        fitted_on: The images that α was fitted on, in words; None: α was given by hand.
        parts: α of all measured images.
    """

    network: str
    way: str
    base: Base
    fitted_on: str | None
    parts: Sequence[Part]

    @property
    def label(self) -> str:
        """Name of the row."""
        return self.network + SHRUNK + (self.alphas if self.way == ONCE else PER_DEGRADATION)

    @property
    def alphas(self) -> str:
        """All α, from the smallest to the largest."""
        found = sorted({alpha for part in self.parts for alpha in part.alphas.values()})
        return '–'.join(dict.fromkeys(map(_number, (found[0], found[-1]))))

    def of(self, dataset: str, place: int, degradation: str) -> float:
        """α of an image under a degradation."""
        return next(part.alphas[degradation] for part in self.parts
                    if part.dataset == dataset and place in part.places)

    def shrink(self, sr: np.ndarray, base: np.ndarray, dataset: str, place: int, degradation: str) -> np.ndarray:
        """Draw the network's result for an image, (H, W, 3) uint8, towards ``base``, the same image interpolated."""
        return shrink(sr, base, self.of(dataset, place, degradation))

    @property
    def source(self) -> str:
        """Where α comes from."""
        return 'given by hand' if self.fitted_on is None else f'fitted on {self.fitted_on}'

    @property
    def note(self) -> str:
        """What the row is, for the legend."""
        whose = 'to which the network adds its output' if self.base.own else "Pillow's; the network adds to none"
        text = f'{self.network}, drawn towards {self.base.kind} interpolation ({whose}); α {self.source}'
        if self.way == PER_DEGRADATION:
            by_degradation: dict[str, list[str]] = {}
            for part in self.parts:
                for name, alpha in part.alphas.items():
                    by_degradation.setdefault(name, []).append(_number(alpha))
            text += ': ' + ', '.join(f"{name} {'/'.join(dict.fromkeys(some))}{_PAIRS * (name == AS_GIVEN)}"
                                     for name, some in by_degradation.items())
        elif len({alpha for part in self.parts for alpha in part.alphas.values()}) > 1:
            by_dataset: dict[str, list[str]] = {}
            for part in self.parts:
                by_dataset.setdefault(part.dataset, []).append(_number(next(iter(part.alphas.values()))))
            text += ': ' + ', '.join(f"{name} {' and '.join(some)}" for name, some in by_dataset.items())
        found = {alpha for part in self.parts for alpha in part.alphas.values()}
        remarks = [words for alpha, words in (
            (0, 'an α is 0: nothing of the network helps there'), (1, 'an α is 1: the network as it is'),
            (LARGEST, f'an α is {LARGEST:g}, the largest that is tried')) if alpha in found]
        return '; '.join([text, *remarks])

    @property
    def described(self) -> dict[str, Any]:
        """The row for the summary."""
        halves = [part.places.start + 1 if part.places.step == 2 else None for part in self.parts]
        alphas = [{'dataset': part.dataset, 'half': half, 'alpha': next(iter(part.alphas.values()))
                   if self.way == ONCE else dict(part.alphas)} for part, half in zip(self.parts, halves)]
        return {'label': self.label, 'network': self.network, 'way': self.way, 'base': self.base.kind,
                'own_base': self.base.own, 'fitted_on': self.fitted_on, 'alphas': alphas}


def shrunk_methods(rows: Iterable[ShrunkRow], methods: Iterable[Method]) -> list[Method]:
    """Rows of the table, each with the row of its network's baseline in the same way as its baseline.

    Args:
        methods: The rows of the networks.
    """
    rows = list(rows)
    by_label = {method.label: method for method in methods}
    labels = {(row.network, row.way): row.label for row in rows}
    found = []
    for row in rows:
        one = by_label[row.network]
        baseline = labels.get((one.baseline, row.way), one.baseline) if one.baseline else None
        found.append(Method(row.label, one.parameters, one.dropout_p, baseline, row.note, row.network, row.way,
                            row.fitted_on is not None))
    return found


def without_moments(scores: Iterable[Score]) -> list[Score]:
    """The scores that are metrics of images."""
    return [score for score in scores if score.metric not in MOMENTS]


def moment_scores(method: str, dataset: str, degradation: str, image: str,
                  values: Sequence[float]) -> list[Score]:
    """The parabola of an image as scores."""
    return [Score(method, dataset, degradation, image, name, value) for name, value in zip(MOMENTS, values)]


def parabolas(scores: Iterable[Score]) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """The parabolas among scores: (images, 3) for each degradation, by method and dataset."""
    found: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = {}
    for score in scores:
        if score.metric in MOMENTS:
            images = found.setdefault((score.method, score.dataset), {}).setdefault(score.degradation, {})
            images.setdefault(score.image, [0.0] * len(MOMENTS))[MOMENTS.index(score.metric)] = score.value
    return {key: {degradation: np.array(list(images.values())) for degradation, images in some.items()}
            for key, some in found.items()}


def _number(alpha: float) -> str:
    """With two decimals, or as many as were given by hand."""
    return f'{alpha:.2f}' if round(alpha, 2) == alpha else f'{alpha:g}'
