"""The files beside the code that the package carries: option files and small weights."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def shipped_files() -> list[Path]:
    """The option files and weights of the package, from a wheel or the repository."""
    in_wheel, repository = PACKAGE / 'shipped', PACKAGE.parent
    if in_wheel.is_dir():
        return sorted(in_wheel.iterdir())
    return [*sorted(repository.glob('options/*.yml')), *sorted(repository.glob('docs/evidence/weights/*.pth'))]
