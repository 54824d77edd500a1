"""BasicSR's registries: look a class up, and load the plugins that register more."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from basicsr.utils.registry import Registry

from reflash_sr.errors import UserError, suggest

PLUGIN_GROUP = 'basicsr.plugins'
# Who registers a class that people often ask for and that neither BasicSR nor this package has.
ELSEWHERE = {'HAT': 'hat', 'HATModel': 'hat', 'GFPGAN': 'gfpgan', 'RealESRGANPairedDataset': 'realesrgan'}


def registered(registry: Registry, name: Any, where: str) -> Any:
    """Look a class up in a registry of BasicSR, without its misleading print.

    Raises:
        UserError: Nothing of this name is registered; says what is near and how to have a plugin's class registered.
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
    """Whether a class is BasicSR's or this package's own, so that its keys are known."""
    return cls.__module__.split('.')[0] in ('basicsr', 'reflash_sr', 'torch')


def load_plugins() -> None:
    """Import every installed package that announces itself in the entry-point group ``basicsr.plugins``."""
    for entry in entry_points(group=PLUGIN_GROUP):
        try:
            entry.load()
        except Exception as error:  # another package's fault must not keep this one from working
            print(f'basicsr: warning: plugin {entry.name} ({entry.value}) cannot be loaded: {error}', file=sys.stderr)
