"""The paper authors' option files: what their network classes are called here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The names of their classes say what is dropped and how much; '_details' has one attribute per block, for a look at
# the features.
_CLASS = re.compile(r'(?P<base>MSRResNet|RRDBNet)(?P<details>_details)?'
                    r'(?:_dropoutlast_(?P<dim>channel|element)(?P<tenths>\d\d))?')


def translate_network(section: Mapping[str, Any]) -> dict[str, Any] | None:
    """Translate a ``network_g`` section with one of the authors' networks; None if it is not one of theirs.

    ``MSRResNet_details`` becomes ``MSRResNet``; ``MSRResNet_details_dropoutlast_channel07``,
    ``RRDBNet_dropoutlast_element05`` and the like become ``DropoutMSRResNet`` or ``DropoutRRDBNet`` at ``last-conv``.
    """
    match = _CLASS.fullmatch(str(section.get('type')))
    if match is None or not (match['details'] or match['dim']):
        return None
    if match['dim'] is None:
        return {**section, 'type': match['base']}
    return {**section, 'type': f"Dropout{match['base']}", 'dropout_position': 'last-conv', 'dropout_dim': match['dim'],
            'dropout_p': int(match['tenths']) / 10}
