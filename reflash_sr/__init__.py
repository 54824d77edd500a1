"""Dropout for image super-resolution in BasicSR (Kong et al., "Reflash Dropout in Image Super-Resolution", CVPR 2022).

``import reflash_sr`` makes BasicSR importable on current Python and registers the classes of this package in BasicSR's
registries. The functions for notebooks (:mod:`reflash_sr.api`) are imported at their first use.
"""

import importlib
import sys
from typing import Any

from reflash_sr.system import run_command, signals

signals.exit_on_ctrl_c_during_import()
if signals.IN_OWN_COMMAND:
    run_command.print_any_character()

from reflash_sr import compat  # noqa: E402  (torch takes seconds to import; Ctrl-C meanwhile prints no traceback)

try:
    compat.repair()
except ImportError as error:
    if not signals.IN_OWN_COMMAND:
        raise
    print(f'reflash_sr: error: {error}', file=sys.stderr)
    sys.exit(2)

from reflash_sr import archs, data, models  # noqa: E402, F401  (after the repair; imported to register the classes)
from reflash_sr.dropout import FeatureDropout, feature_dropout, insert_dropout  # noqa: E402

__version__ = '0.2.0'
_API = ('ablate', 'attribution', 'clusters', 'degrade', 'evaluate', 'open_network', 'saliency', 'upscale')
__all__ = ['FeatureDropout', '__version__', 'feature_dropout', 'insert_dropout', *_API]


def __getattr__(name: str) -> Any:
    if name in _API:
        return getattr(importlib.import_module('reflash_sr.api'), name)
    raise AttributeError(f"module 'reflash_sr' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
