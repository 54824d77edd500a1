"""Translation of the network names in option files of the paper's authors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The class names contain the kind of dropout and p, '07' for 0.7; in '_details' each block is an attribute of its own.
# Their train_realsrresnet.yml writes '_detailss'.
_CLASS = re.compile(r'(?P<base>MSRResNet|RRDBNet)(?P<details>_detailss?)?'
                    r'(?:_dropoutlast_(?P<dim>channel|element)(?P<tenths>\d\d))?')
# Names that are another network elsewhere.
_OTHER = {'MSRResNet_details_dropoutlast_channel07':
          'the class of the same name in the code of Adaptive Dropout (CVPR 2025) is another network, with dropout in '
          'every block and before the last convolution, blended with its input'}  # yapf: disable


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


def describe_change(section: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Say, for a log, what a section of the authors became, and whose class its name was taken for."""
    changes = ', '.join(f'{name}: {value}' for name, value in ours.items() if section.get(name) != value)
    other = _OTHER.get(section['type'], '')
    return (f"type: {section['type']} is taken for the class of this name in the code of Reflash Dropout (Kong et al., "
            f"CVPR 2022){'; ' if other else ''}{other}; changed to {changes}")
