"""The paper authors' option files: what their network classes are called here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Their classes differ in what is dropped and how much, and say so in their names; '_details' has one attribute per
# block, so that features can be looked at.
_CLASS = re.compile(r'(?P<base>MSRResNet|RRDBNet)(?P<details>_details)?'
                    r'(?:_dropoutlast_(?P<dim>channel|element)(?P<tenths>\d\d))?')


def translate_network(section: Mapping[str, Any]) -> dict[str, Any] | None:
    """Translate the options of one of the authors' networks.

    ``MSRResNet_details`` becomes ``MSRResNet``; ``MSRResNet_details_dropoutlast_channel07``,
    ``RRDBNet_dropoutlast_element05`` and the like become ``DropoutMSRResNet`` or ``DropoutRRDBNet`` at ``last-conv``.

    Args:
        section: A ``network_g`` section.

    Returns:
        The section in our terms, or None where it is not theirs.
    """
    match = _CLASS.fullmatch(str(section.get('type')))
    if match is None or (match['details'] is None and match['dim'] is None):
        return None
    if match['dim'] is None:
        return {**section, 'type': match['base']}
    return {**section, 'type': f"Dropout{match['base']}", 'dropout_position': 'last-conv', 'dropout_dim': match['dim'],
            'dropout_p': int(match['tenths']) / 10}
