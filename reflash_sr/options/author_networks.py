"""Translation of the network names in option files of the paper's authors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The class names contain the kind of dropout and p, '07' for 0.7; in '_details' each block is an attribute of its own.
_CLASS = re.compile(r'(?P<base>MSRResNet|RRDBNet)(?P<details>_details)?'
                    r'(?:_dropoutlast_(?P<dim>channel|element)(?P<tenths>\d\d))?')


def translate_network(section: Mapping[str, Any]) -> dict[str, Any] | None:
    """Translate a ``network_g`` section of the authors; None if ``type`` is not one of their names.

    ``MSRResNet_details`` becomes ``MSRResNet``. ``RRDBNet_dropoutlast_element05`` becomes ``DropoutRRDBNet`` with
    element dropout, p = 0.5, at ``last-conv``.
    """
    match = _CLASS.fullmatch(str(section.get('type')))
    if match is None or not (match['details'] or match['dim']):
        return None
    if match['dim'] is None:
        return {**section, 'type': match['base']}
    return {**section, 'type': f"Dropout{match['base']}", 'dropout_position': 'last-conv', 'dropout_dim': match['dim'],
            'dropout_p': int(match['tenths']) / 10}
