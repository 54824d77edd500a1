"""The one file that knows what is broken in BasicSR 1.4.2 on today's Python.

Each function repairs one thing and says what, how it tells that the repair is needed, and when it can go. ``repair()``
runs when ``reflash_sr`` is imported, before anything of BasicSR is, and so again in every spawned worker.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import sys
import types
from collections.abc import Iterator
from typing import Any


def repair() -> None:
    """Apply every repair that ``import basicsr`` needs. Doing it twice changes nothing."""
    _alias_functional_tensor()
    _alias_distutils()


def _alias_functional_tensor() -> None:
    """``basicsr.data.degradations`` imports ``torchvision.transforms.functional_tensor``, gone since torchvision 0.17.

    Needed where that module cannot be found; it can go once BasicSR imports ``torchvision.transforms.functional``.
    """
    name = 'torchvision.transforms.functional_tensor'
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    functional = importlib.import_module('torchvision.transforms.functional')
    alias = types.ModuleType(name)
    alias.rgb_to_grayscale = functional.rgb_to_grayscale
    sys.modules[name] = alias


def _alias_distutils() -> None:
    """``basicsr.archs.arch_util`` imports ``distutils.version``, gone since Python 3.12.

    Needed where neither Python nor setuptools' import hook provides it; setuptools keeps a copy under another name.
    It can go once BasicSR compares versions with ``packaging``.
    """
    if 'distutils' in sys.modules or importlib.util.find_spec('distutils') is not None:
        return
    for name in ('distutils', 'distutils.version'):
        sys.modules[name] = importlib.import_module(f'setuptools._{name}')


@contextlib.contextmanager
def several_validation_sets() -> Iterator[None]:
    """``train_pipeline`` warns before validating on several sets that only ``SRModel`` knows what to do with them.

    ``ReflashSRModel`` does, and so does any other: they are handed out one after another. The warning is kept back
    for a while; this can go once BasicSR asks the model, or says nothing.
    """

    def is_true(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith('Multiple validation datasets are')

    logger = logging.getLogger('basicsr')
    logger.addFilter(is_true)
    try:
        yield
    finally:
        logger.removeFilter(is_true)


@contextlib.contextmanager
def replaced(module: types.ModuleType, **names: Any) -> Iterator[None]:
    """Replace names in a module for a while.

    BasicSR's pipelines look their helpers up in their own module, so one helper can be exchanged there without
    copying the pipeline.

    Args:
        module: The module whose names are replaced.
        **names: The new objects by name; each name must exist in the module.

    Raises:
        AttributeError: The module does not have one of the names: this BasicSR is not the one that is known here.
    """
    before = {name: getattr(module, name) for name in names}
    try:
        for name, value in names.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
