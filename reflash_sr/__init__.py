"""Dropout for image super-resolution in BasicSR (Kong et al., "Reflash Dropout in Image Super-Resolution", CVPR 2022).

``import reflash_sr`` makes BasicSR importable on today's Python and registers the classes of this package in its
registries; nothing else happens here.
"""

from reflash_sr.system import signals

signals.leave_quietly_while_a_command_is_imported()

from reflash_sr import compat  # noqa: E402  (importing torch takes seconds; Ctrl-C in them is no traceback)

compat.repair()

from reflash_sr import archs, data, models  # noqa: E402, F401  (the repair comes first; importing registers)
from reflash_sr.dropout import FeatureDropout, feature_dropout, insert_dropout  # noqa: E402
from reflash_sr.version import __version__  # noqa: E402

__all__ = ['FeatureDropout', '__version__', 'feature_dropout', 'insert_dropout']
