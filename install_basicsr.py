"""Install BasicSR where pip cannot build it: ``python -m install_basicsr``.

The ``setup.py`` of BasicSR 1.4.2 reads a variable that ``exec`` made from ``locals()``. Python 3.13 no longer allows
that (PEP 667), so the build fails. This program fetches the official source archive from the package index that pip is
configured for, checks it, mends that one function, and lets pip build and install the result. Nothing else is changed.

Only the standard library and pip are used: it runs before anything else is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RELEASE = 'basicsr-1.4.2'
SHA256 = 'b89b595a87ef964cda9913b4d99380ddb6554c965577c0c10cb7b78e31301e87'
FAILS_SINCE = (3, 13)
BUILDER = 'setuptools>=77,<82'  # as in setup.py
WHY = f'its setup.py fails on Python {FAILS_SINCE[0]}.{FAILS_SINCE[1]} and later (PEP 667)'
# Text of BasicSR's files: what stands there once, and what takes its place.
GET_VERSION = (
    ("exec(compile(f.read(), version_file, 'exec'))", "exec(compile(f.read(), version_file, 'exec'), globals())"),
    ("return locals()['__version__']", "return globals()['__version__']"),
)
TENSORBOARD = (('tb-nightly', 'tensorboard'),)

# pip asks an archive's build backend for its name before it saves the archive, and BasicSR's own answer fails. This
# backend, found by pip instead of setuptools, answers for it; nothing of the archive is run.
BACKEND = f'''
from pathlib import Path
from types import SimpleNamespace

def name_and_version(folder, config_settings=None):
    info = Path(folder, '{RELEASE}.dist-info')
    info.mkdir()
    info.joinpath('METADATA').write_text('Metadata-Version: 2.1\\nName: basicsr\\nVersion: 1.4.2\\n')
    return info.name

__legacy__ = SimpleNamespace(prepare_metadata_for_build_wheel=name_and_version, build_wheel=None)
'''


class CannotInstall(Exception):
    """BasicSR was not installed; the message says in one line why, and what to do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Install BasicSR if it is missing and pip alone cannot; returns the exit status, 2 if that failed."""
    parser = argparse.ArgumentParser(
        prog='python -m install_basicsr',
        description=f'Install BasicSR 1.4.2 where pip alone cannot: {WHY}. Fetches the official source archive from '
                    "pip's package index, checks its SHA-256, mends that function, and installs the result with pip.")
    parser.add_argument('--tensorboard', action='store_true',
                        help='let BasicSR require tensorboard instead of tb-nightly, which some package indexes lack '
                             '(on every Python)')
    args = parser.parse_args(argv)
    try:
        print(f'BasicSR: {_install(args.tensorboard)}')
    except (CannotInstall, OSError) as error:  # OSError: a full disk, a folder that cannot be written
        print(f'install_basicsr: error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('install_basicsr: stopped', file=sys.stderr)
        return 130
    return 0


def _install(tensorboard: bool) -> str:
    """Do what is needed; returns what was done."""
    found = importlib.util.find_spec('basicsr')
    if found is not None and found.origin:  # a folder without __init__.py has none: what an uninstall left, or data
        return f'nothing to do, it is there already ({Path(found.origin).parent})'
    if sys.version_info < FAILS_SINCE and not tensorboard:
        version = '.'.join(map(str, FAILS_SINCE))
        return f'nothing to do, before Python {version} pip installs it by itself (pip install basicsr)'
    if importlib.util.find_spec('pip') is None:
        raise CannotInstall('this Python has no pip; run python -m ensurepip, or activate the environment to use')
    if os.environ.get('BASICSR_EXT') == 'True' and importlib.util.find_spec('torch') is None:
        raise CannotInstall('BASICSR_EXT=True builds against PyTorch, which is not installed; pip install torch first')
    with tempfile.TemporaryDirectory(prefix='install_basicsr_') as folder:
        why = WHY if sys.version_info >= FAILS_SINCE else 'it is to require tensorboard'
        print(f'BasicSR: fetching the source archive of 1.4.2, because {why}', flush=True)
        source = _unpacked(_fetched(Path(folder)))
        _replace_once(source / 'setup.py', GET_VERSION)
        if tensorboard:
            _replace_once(source / 'requirements.txt', TENSORBOARD)
        print('BasicSR: mended get_version in setup.py; pip builds and installs it', flush=True)
        _pip('install', '--quiet', BUILDER)
        # Without isolation and setup.py's own way, which both fetch what it asks for: PyTorch and Cython.
        _pip('wheel', '--quiet', '--no-deps', '--use-pep517', '--no-build-isolation', '--wheel-dir', folder,
             str(source))
        quiet = ['--quiet'] if importlib.util.find_spec('torch') else []  # without PyTorch it takes minutes
        _pip('install', *quiet, '--requirement', str(source / 'requirements.txt'))
        # By name, not by file: so pip records no path of a folder that is about to be deleted. And from this folder
        # alone: an index may have a wheel of its own. As a variable it takes the place of other folders of wheels.
        _pip('install', '--quiet', '--no-deps', '--no-index', '--only-binary', 'basicsr', 'basicsr==1.4.2',
             PIP_FIND_LINKS=Path(folder).as_uri())
    return 'installed'


def _fetched(folder: Path) -> Path:
    """Let pip download the archive into ``folder``; its index, mirrors, proxies and certificates are pip's settings.

    Returns:
        The archive, its SHA-256 checked.
    """
    backend = folder / 'backend' / 'setuptools'
    backend.mkdir(parents=True)
    (backend / '__init__.py').touch()
    (backend / 'build_meta.py').write_text(BACKEND, encoding='utf-8')
    wanted = folder / 'wanted.txt'
    wanted.write_text(f'basicsr==1.4.2 --hash=sha256:{SHA256}\n', encoding='utf-8')
    _pip('download', '--quiet', '--no-deps', '--no-binary', 'basicsr', '--use-pep517', '--no-build-isolation',
         '--dest', str(folder), '--requirement', str(wanted),
         PYTHONPATH=os.pathsep.join([str(backend.parent), *filter(None, [os.environ.get('PYTHONPATH')])]))
    archive = folder / f'{RELEASE}.tar.gz'
    if not archive.is_file() or hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise CannotInstall(f"pip's index has another {archive.name} than BasicSR released (SHA-256 differs); use "
                            'another index (PIP_INDEX_URL)')
    return archive


def _unpacked(archive: Path) -> Path:
    with tarfile.open(archive) as file:
        safe: dict[str, Any] = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}  # 3.10 and 3.11 late
        file.extractall(archive.parent, **safe)
    return archive.parent / RELEASE


def _replace_once(path: Path, replacements: Sequence[tuple[str, str]]) -> None:
    text = path.read_text(encoding='utf-8')
    for old, new in replacements:
        if text.count(old) != 1:
            raise CannotInstall(f"{path.name} of the archive does not have '{old}' once; nothing was installed")
        text = text.replace(old, new)
    path.write_text(text, encoding='utf-8')


def _pip(*arguments: str, **environment: str) -> None:
    """Run pip, its messages shown.

    Raises:
        CannotInstall: It failed.
    """
    pip = subprocess.Popen([sys.executable, '-m', 'pip', *arguments], env={**os.environ, **environment})
    try:
        pip.wait()
    except KeyboardInterrupt:
        pip.wait()  # the terminal sent it the same Ctrl-C: it undoes what it began
        raise
    if pip.returncode:
        raise CannotInstall(f'pip {arguments[0]} failed, see its message above; BasicSR was not installed')


if __name__ == '__main__':
    if sys.path[0] in ('', os.getcwd()):  # as pip does: what lies in the working directory is not installed
        del sys.path[0]
    sys.exit(main())
