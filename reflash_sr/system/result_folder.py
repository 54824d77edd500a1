"""The output folder of a tool: results of exactly one run, and a summary of its settings."""

from __future__ import annotations

import json
import os
import platform
import shlex
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from reflash_sr.errors import RunError, UserError
from reflash_sr.system.devices import uses_tf32
from reflash_sr.system.files import atomic_write, relative

SUMMARY = 'summary.json'
PACKAGES = ('reflash-sr', 'basicsr', 'torch', 'torchvision', 'numpy', 'opencv-python', 'pillow', 'scikit-learn',
            'lpips', 'submitit')


class ResultFolder:
    """A folder for the results of one run of a tool.

    The settings are written into ``summary.json`` at the start. A folder of a run with the same settings is continued;
    any other folder that is not empty is refused.

    Args:
        path: The folder; created if it does not exist.
        settings: Everything that the results depend on, as plain values.
        overwrite: Whether to rename an earlier run's folder to ``NAME_archived_TIME``.
        inputs: Files and folders that the run reads; none may be, contain or lie inside the folder.

    Attributes:
        continued: Whether the folder held a run with the same settings.
        finished: Whether that run was complete.

    Raises:
        UserError: The folder holds anything else, is not writable, or overlaps the inputs.
    """

    def __init__(self, path: str | os.PathLike, tool: str, settings: Mapping[str, Any], overwrite: bool = False,
                 inputs: Iterable[str | os.PathLike] = ()):
        self.path = Path(path).expanduser()
        self.tool = tool
        self.settings = json.loads(json.dumps(settings))
        self.continued = self.finished = False
        out = self.path.resolve()
        for given in inputs:
            read = Path(given).expanduser().resolve()
            if read.exists() and (out == read or out in read.parents or read in out.parents):
                raise UserError(f'{self.path}: {given} is an input, so results cannot be written there; give another '
                                'folder with --out')
        try:
            self._open(overwrite)
        except OSError as error:
            raise UserError(f'{self.path}: cannot be written ({error.strerror}); give another folder with --out'
                            ) from error

    def _open(self, overwrite: bool) -> None:
        if self.path.is_dir() and any(self.path.iterdir()):
            self.continued = self._holds_this_run(overwrite)
            if overwrite:
                self.path.rename(f"{self.path}_archived_{time.strftime('%Y%m%d_%H%M%S')}")
        if not self.continued:
            self._write({}, finished=False)
        elif not os.access(self.path, os.W_OK):
            raise PermissionError(13, 'permission denied')

    def _holds_this_run(self, overwrite: bool) -> bool:
        summary = read_summary(self.path)
        if not {'tool', 'settings', 'finished'} <= summary.keys():
            raise UserError(f'{self.path}: holds files that are no results; give another folder with --out')
        if overwrite or [file.name for file in self.path.iterdir()] == [SUMMARY]:
            return False  # will be renamed, or the earlier run stopped before its first result
        hint = 'give another folder with --out, or --overwrite to rename it'
        if summary['tool'] != self.tool:
            raise UserError(f"{self.path}: holds results of {summary['tool']}; {hint}")
        before = summary['settings']
        if before != self.settings:
            changed = sorted(key for key in {*before, *self.settings} if before.get(key) != self.settings.get(key))
            names = ' '.join(_other_labels(before, self.settings) if changed == ['networks'] else [])
            more = f'it calls its networks otherwise, and continues with --labels {names}; or ' if names else ''
            raise UserError(f"{self.path}: holds a run with other settings ({', '.join(changed)}); {more}{hint}")
        self.finished = summary['finished'] is True
        return True

    def finish(self, **results: Any) -> None:
        """Write settings, versions and results into the summary; NaN and infinite numbers become null."""
        self._write(results, finished=True)

    def _write(self, results: Mapping[str, Any], finished: bool) -> None:
        text = json.dumps({'tool': self.tool, 'finished': finished, 'versions': versions(), 'settings': self.settings,
                           **results})
        content = json.loads(text, parse_constant=lambda name: None)  # NaN and infinity are not JSON
        with atomic_write(self.path / SUMMARY, 'w') as file:
            json.dump(content, file, indent=2, ensure_ascii=False, allow_nan=False)
            file.write('\n')

    def write(self, name: str, text: str) -> Path:
        """Write a text file into the folder, whole or not at all.

        Raises:
            RunError: The disk is full or the folder is not writable.
        """
        path = self.path / name
        try:
            with atomic_write(path, 'w') as file:
                file.write(text)
        except OSError as error:
            raise RunError(f'{path}: cannot be written ({error.strerror})') from error
        return path

    def __str__(self) -> str:
        return relative(self.path)


def read_summary(folder: str | os.PathLike) -> dict[str, Any]:
    """Read the summary of a folder of results; empty if it is missing or not readable."""
    try:
        summary = json.loads((Path(folder) / SUMMARY).read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return {}
    return summary if isinstance(summary, dict) else {}


def _other_labels(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The labels of an earlier run, quoted for a shell; empty unless its networks differ from those now in them alone.

    Without ``--labels`` networks are named by what is compared, by rules that may change from version to version.
    """
    try:
        found, others = ([{**one, 'label': ''} for one in some['networks']] for some in (before, now))
        files = len({one['weights'] for one in found})
        labels = [one['label'] if files == len(found) else one['label'].removesuffix(f" [{one['key']}]")
                  for one in before['networks']]  # those of a file without the key of its weights
        return list(dict.fromkeys(map(shlex.quote, labels))) if found == others else []
    except (LookupError, TypeError, AttributeError):  # not as this version writes it
        return []


def versions() -> dict[str, str | None]:
    """What results depend on: versions of Python and of packages, None for one that is not installed; TF32 of a GPU."""
    found: dict[str, str | None] = {'python': platform.python_version(), 'tf32': uses_tf32()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
