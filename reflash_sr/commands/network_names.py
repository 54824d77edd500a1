"""Short names for networks of one study, after what they differ in: ``p = 0``, ``p = 0.7``; ``p = 0.3, element``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reflash_sr.commands.read_summaries import check_alike, describe_network
from reflash_sr.weights.network_from_file import TrainedNetwork, network_settings


def short_names(networks: Sequence[TrainedNetwork]) -> list[str] | None:
    """Name networks after their dropout, and after seed, iteration and weights where these differ.

    Returns:
        None if that would hide something: the networks differ in more as far as their files say it, or in no dropout,
        two of them in nothing, or a file does not say how its network was trained.
    """
    if len(networks) < 2:
        return None
    try:
        found = [describe_network(entry, Path(entry['weights'])) for entry in network_settings(networks)]
        check_alike([(Path(one.label), one) for one in found])
    except ValueError:  # UserError is one
        return None
    identities = [one.identity for one in found]
    variants, iterations, weights, seeds = (
        {getattr(one, part) for one in identities} for part in ('variant', 'iteration', 'weights', 'seed'))
    if len(variants) < 2 or len(set(identities)) < len(identities):
        return None
    return [one.variant + f', seed {one.seed}' * (len(seeds) > 1) + f' @{one.iteration}' * (len(iterations) > 1)
            + f' [{one.weights}]' * (len(weights) > 1) for one in identities]
