"""Which network without dropout a network with dropout is compared with, and in what else the two differ.

Two networks differ in dropout alone if the rest of their ``network_g``, their iteration and their training record
(:mod:`reflash_sr.options.training_record`) are equal. Files of earlier versions have no record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reflash_sr.options.training_record import describe, differences, without_dropout
from reflash_sr.weights.network_from_file import TrainedNetwork

# Differences that do not forbid a pair, if there is no better one, but are said.
MILD = frozenset({'manual_seed', 'amp', 'allow_tf32', 'deterministic'})
_SHOWN = 3  # networks in a message


@dataclass(frozen=True)
class Pair:
    """Two networks, and in what they differ besides dropout."""

    other: TrainedNetwork
    differs: Mapping[str, tuple[Any, Any]]  # by key: the value of the first network, and of the other
    recorded: bool  # whether both files say what the networks were trained with; else there may be more differences


# A network is chosen by the first of these conditions that leaves one of those that satisfied the conditions before.
_CONDITIONS: tuple[Callable[[Pair], bool], ...] = (
    lambda pair: not pair.recorded or pair.differs.keys() <= MILD,
    lambda pair: not pair.differs.keys() & {'manual_seed', 'iter'},
    lambda pair: not pair.differs,
    lambda pair: pair.recorded,
)


def pair_of(one: TrainedNetwork, other: TrainedNetwork) -> Pair:
    """Compare two networks in everything but dropout, as far as their files say it."""
    recorded = one.record is not None and other.record is not None
    stated = [key for key in ('manual_seed', 'iter') if None not in (one.trained.get(key), other.trained.get(key))]
    facts = [{'param_key': net.key} | {key: net.trained[key] for key in stated}
             | {f'network_g:{key}': value for key, value in without_dropout(net.network_g).items()}
             | (net.record or {} if recorded else {}) for net in (one, other)]
    return Pair(other, differences(*facts), recorded)


def twin_of(one: TrainedNetwork, networks: Sequence[TrainedNetwork]) -> tuple[TrainedNetwork | None, list[Pair]]:
    """The network without dropout that a network with dropout is compared with, and all that it may be.

    Returns:
        The only network with p = 0 and weights of the same key, names and shapes that differs in dropout alone; of
        several, that of the same seed and iteration. None if there is none, or if ``one`` has no dropout.
    """
    pairs = [pair_of(one, other) for other in networks if one.dropout_p > 0 and _has_its_shape(one, other)]
    left = pairs
    for condition in _CONDITIONS:
        left = [pair for pair in left if condition(pair)]
        if len(left) < 2:
            break
    return left[0].other if len(left) == 1 else None, pairs


def pair_notes(networks: Sequence[TrainedNetwork], baselines: Mapping[str, str]) -> dict[str, str]:
    """What a reader must know about the pairs, by label of the network with dropout: what else differs, or why none.

    Args:
        baselines: Label of the other network, by label; others than networks, such as bicubic interpolation, are
            ignored.
    """
    by_label = {network.label: network for network in networks}
    notes = {}
    for label, one in by_label.items():
        twin, pairs = twin_of(one, networks)
        if baselines.get(label) in by_label:
            notes[label] = _of_pair(pair_of(one, by_label[baselines[label]]))
        elif label not in baselines and twin is None and pairs:
            shown = [f"{pair.other.label} differs in {describe(pair.differs) or 'nothing that is recorded'}"
                     for pair in sorted(pairs, key=lambda pair: len(pair.differs))[:_SHOWN]]
            more = f'; and {len(pairs) - _SHOWN} more' if len(pairs) > _SHOWN else ''
            notes[label] = (f"compared with no network: {'; '.join(shown)}{more}; give --baseline to compare them "
                            'anyway')
    return {label: note for label, note in notes.items() if note}


def _of_pair(pair: Pair) -> str:
    label = pair.other.label
    more = f', and in {describe(pair.differs)}' if pair.differs else ''
    if not pair.recorded:
        return f'differs from {label} in dropout{more}; whether in more is not recorded'
    return f'differs from {label} in dropout{more}' if more else ''


def _has_its_shape(one: TrainedNetwork, other: TrainedNetwork) -> bool:
    shapes, others = ({name: value.shape for name, value in net.net.state_dict().items()} for net in (one, other))
    return other.known_p == 0 and one.key == other.key and shapes == others
