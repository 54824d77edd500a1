"""``bundled:NAME``: the small trained networks that the package carries, from any working directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from reflash_sr.errors import UserError, suggest
from reflash_sr.system.shipped_files import shipped_files

SCHEME = 'bundled:'
ENDING = '.pth'


def bundled_weights() -> dict[str, Path]:
    """The weights files of the package by their names, which are those of the files without their ending."""
    return {path.name.removesuffix(ENDING): path for path in shipped_files() if path.suffix == ENDING}


def real_path(path: str | os.PathLike) -> str | os.PathLike:
    """The file that ``bundled:NAME`` stands for; a name that is not known, and any other path, as it is."""
    text = os.fspath(path)
    return str(bundled_weights().get(text.removeprefix(SCHEME), text)) if text.startswith(SCHEME) else path


def resolve(paths: dict[str, Any]) -> None:
    """Put real paths in place of ``bundled:NAME`` into the ``path`` section of an option file."""
    for key, value in paths.items():
        if key.startswith('pretrain_network_') and isinstance(value, str):
            paths[key] = real_path(value)


def check_name(path: str | os.PathLike) -> None:
    """Raise ``UserError`` for a ``bundled:NAME`` whose name is not known."""
    text = os.fspath(path)
    if text.startswith(SCHEME) and real_path(text) == text:
        names = bundled_weights()
        near = suggest(text.removeprefix(SCHEME), names)
        raise UserError(f'{text}: no weights of this name come with the package; write '
                        f'{" or ".join(SCHEME + name for name in names) or "the path of a file"}'
                        f'{near if "mean" in near else ""}')
