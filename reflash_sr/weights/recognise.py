"""What network a weights file holds, when it does not say: found by the names and shapes of its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reflash_sr.errors import UserError
from reflash_sr.weights import spandrel_networks
from reflash_sr.weights.families import FAMILIES
from reflash_sr.weights.key_names import other_layout
from reflash_sr.weights.state_dict import Weights

Section = dict[str, Any]


def recognise(loaded: Weights, fits: Callable[[Section, Weights], bool]) -> tuple[Section, Weights]:
    """Infer the options of a network: one of BasicSR's (:data:`FAMILIES`) of any size, else one that spandrel knows.

    Args:
        loaded: The weights.
        fits: Whether the weights fit the network with these options.

    Returns:
        ``network_g``, and the weights by the names that this network gives them.

    Raises:
        UserError: The network is not known.
    """
    shapes = {name: tuple(value.shape) for name, value in loaded.state_dict.items()}
    try:
        other = other_layout(shapes)  # a network of a family below, but not as BasicSR has it
        section = None if other else next(filter(None, (options_of(shapes) for options_of in FAMILIES.values())), None)
    except UserError as error:
        raise UserError(f'{loaded.path}: {error}') from error
    if section is not None and (fits(section, loaded) or not spandrel_networks.available()):
        return section, loaded
    known = spandrel_networks.recognise(loaded) if spandrel_networks.available() else None
    if known is not None:
        return known
    if section is not None:
        return section, loaded  # what does not fit is said when the weights are loaded
    others = ('spandrel does not know it' if spandrel_networks.available() else
              f'networks of other projects need {spandrel_networks.INSTALL}')
    if other:
        raise UserError(f'{loaded.path}: {other}; {others}')
    raise UserError(f"{loaded.path}: does not say what network it holds, and is none of {', '.join(FAMILIES)}; "
                    f'{others}; give its option file with --opt, or its class with --arch')
