"""How dropout changes during training: ``network_g: dropout_schedule``. Everything follows from the iteration alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reflash_sr.errors import UserError, suggest
from reflash_sr.options.value_rules import DROP_RATE, POSITIVE_INT, SECTION, Rule

# Shape of p between its two ends, for the share of the way from 0 to 1.
_SHAPES: dict[str, Callable[[float], float]] = {
    'linear': lambda share: share,
    'cosine': lambda share: (1 - math.cos(math.pi * share)) / 2,
}
_KEYS: dict[str, dict[str, Rule]] = {
    'constant': {},
    **{shape: {'to': DROP_RATE, 'over': POSITIVE_INT} for shape in _SHAPES},
    'layers': {'every': POSITIVE_INT},
}


@dataclass(frozen=True)
class Schedule:
    """A schedule of dropout.

    Attributes:
        type: ``'linear'`` and ``'cosine'`` lead p to ``to`` within ``over`` iterations. ``'layers'`` switches the
            places of dropout off one by one, in their order, every ``every`` iterations: the layer-wise annealing of
            Adaptive Dropout (arXiv 2506.12738).
    """

    type: str
    to: float = 0
    over: int = 0
    every: int = 0

    def at(self, iteration: int, place: int, p: float, blend: float) -> tuple[float, float]:
        """p and blend of the place with this number (from 0), which begin as ``p`` and ``blend``."""
        if self.type == 'layers':
            return p, 1.0 if iteration >= self.every * (place + 1) else blend
        share = _SHAPES[self.type](min(iteration / self.over, 1))
        return p + (self.to - p) * share, blend

    def end(self, places: int) -> int:
        """The last iteration at which something changes, with this number of places."""
        return self.every * places if self.type == 'layers' else self.over


def read_schedule(section: Mapping[str, Any] | None) -> Schedule | None:
    """Read ``dropout_schedule``; None if nothing changes. Raises ``UserError`` for what is not such a section."""
    where = 'dropout_schedule'
    if section is None:
        return None
    if not isinstance(section, Mapping):
        raise UserError(f'{where}: must be {SECTION.wanted}, such as {{type: linear, to: 0.7, over: 1000}}')
    values = dict(section)
    kind = values.pop('type', None)
    if kind not in _KEYS:
        raise UserError(f"{where}: type: must be one of {', '.join(_KEYS)}, not {kind!r}{suggest(str(kind), _KEYS)}")
    for key in values.keys() - _KEYS[kind].keys():
        raise UserError(f'{where}: {key}: is not a key of {kind}{suggest(key, _KEYS[kind])}')
    for key, rule in _KEYS[kind].items():
        if not rule.holds(values.get(key)):
            raise UserError(f'{where}: {key}: must be {rule.wanted}, not {values.get(key)!r}')
    return Schedule(kind, **values) if values else None
