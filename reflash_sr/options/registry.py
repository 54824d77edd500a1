"""BasicSR's registries: finding a class, and loading the plugins that register more."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from basicsr.utils.registry import Registry

from reflash_sr.errors import UserError, suggest

# Who registers a class that is often asked for, and that neither BasicSR nor this package has.
ELSEWHERE = {'HAT': 'hat', 'HATModel': 'hat', 'GFPGAN': 'gfpgan', 'RealESRGANPairedDataset': 'realesrgan'}


def registered(registry: Registry, name: Any, where: str) -> Any:
    """Find a class in a registry of BasicSR, without the misleading text that BasicSR prints.

    Raises:
        UserError: No such class is registered; says what is near, and how the class of a plugin is registered.
    """
    for candidate in (name, f'{name}_basicsr'):
        if isinstance(name, str) and candidate in registry:
            return registry.get(candidate, suffix='')
    near = suggest(name, [key.removesuffix('_basicsr') for key, _ in registry]).rstrip('?')
    module = ELSEWHERE.get(str(name), 'the module that registers it')
    raise UserError(f"{where}: no {registry._name} '{str(name)[:80]}' is registered{near}. If it is a plugin's or "
                    f"your own: import {module} before training starts, or give its package an entry point in "
                    "'basicsr.plugins'")


def is_owned(cls: Callable) -> bool:
    """Whether a class is of BasicSR, this package or PyTorch, so that its keys are known."""
    return cls.__module__.split('.')[0] in ('basicsr', 'reflash_sr', 'torch')


def load_plugins() -> None:
    """Import every installed package with an entry point in the group ``basicsr.plugins``."""
    for entry in entry_points(group='basicsr.plugins'):
        try:
            entry.load()
        except Exception as error:  # a broken package must not stop this one
            print(f'basicsr: warning: plugin {entry.name} ({entry.value}) cannot be loaded: {error}', file=sys.stderr)
