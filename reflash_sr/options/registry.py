"""BasicSR's registries: looking up a class, and loading plugins that register classes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from basicsr.utils.registry import Registry

from reflash_sr.errors import UserError, suggest

# Popular classes of other projects: the module that registers each.
ELSEWHERE = {'HAT': 'hat', 'HATModel': 'hat', 'RealHATMSEModel': 'hat', 'RealHATGANModel': 'hat', 'GFPGAN': 'gfpgan'}


def registered(registry: Registry, name: Any, where: str) -> Any:
    """Look up a class in a registry of BasicSR, without the misleading text that BasicSR prints.

    Raises:
        UserError: No such class is registered; the message suggests a name, and how to register a plugin's class.
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
    """Whether a class belongs to BasicSR, this package or PyTorch, so that its keys are known."""
    return cls.__module__.split('.')[0] in ('basicsr', 'reflash_sr', 'torch')


def load_plugins() -> None:
    """Load every entry point in the group ``basicsr.plugins``; a plugin that fails is a warning."""
    for entry in entry_points(group='basicsr.plugins'):
        try:
            entry.load()
        except Exception as error:  # a plugin may raise anything
            print(f'basicsr: warning: plugin {entry.name} ({entry.value}) cannot be loaded: {error}', file=sys.stderr)
