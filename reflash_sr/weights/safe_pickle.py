"""What a ``torch.save`` file may hold beside tensors and plain values: NumPy scalars, paths and sections of settings.

Nothing of another package is called: each name stands for a function or class of this file, which makes a plain value.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

_KINDS: dict[str, Callable] = {'b': bool, 'i': int, 'u': int, 'f': float, 'c': complex, 'U': str, 'S': bytes}


class NumpyType:
    """Stands for ``numpy.dtype``: a number or a text of fixed length."""

    def __init__(self, code: str, *_: Any):
        if not re.fullmatch(r'[biufcUS]\d{1,3}', code):
            raise ValueError(f'NumPy type {code}')
        self._code, self._order = code, '='

    def __setstate__(self, state: tuple) -> None:
        self._order = state[1] if state[1] in ('<', '>') else '='

    def value(self, data: bytes) -> Any:
        """A plain number or text."""
        return _KINDS[self._code[0]](np.frombuffer(data, np.dtype(self._order + self._code), count=1)[0])


class Settings(dict):
    """Stands for a namespace of settings."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, Mapping):
            self.update(state)


def _scalar(kind: NumpyType, data: bytes) -> Any:
    return kind.value(data)


def _path(*parts: str) -> str:
    return '/'.join(map(str, parts))


_NAMES: dict[str, Any] = {
    'numpy.dtype': NumpyType,
    **dict.fromkeys(('numpy.core.multiarray.scalar', 'numpy._core.multiarray.scalar'), _scalar),
    **dict.fromkeys((f'{module}.{name}Path' for module in ('pathlib', 'pathlib._local')
                     for name in ('', 'Posix', 'Windows', 'Pure', 'PurePosix', 'PureWindows')), _path),
    'argparse.Namespace': Settings,
    **dict.fromkeys((f'{module}.AttributeDict' for module in (
        'pytorch_lightning.utilities.parsing', 'lightning.fabric.utilities.data', 'lightning_fabric.utilities.data')),
                    OrderedDict),
}  # yapf: disable


def load(path: str | os.PathLike, device: str) -> Any:
    """``torch.load`` of weights and plain values, without running code of the file; raises what torch raises."""
    allowed = torch.serialization.safe_globals([(value, name) for name, value in _NAMES.items()])
    with open(path, 'rb') as file, allowed, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about the version of a damaged file
        return torch.load(file, map_location=device, weights_only=True)


def not_allowed(path: str | os.PathLike) -> list[str]:
    """Names of the Python objects in a file that are not read; empty if they cannot be found out."""
    try:
        with open(path, 'rb') as file:
            found = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # torch may raise anything on a file that it did not write
        return []
    return sorted(name for name in found if name not in _NAMES and name.isascii() and name.isprintable())
