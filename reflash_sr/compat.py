"""Repairs of BasicSR 1.4.2 for current versions of Python and torchvision.

Each docstring says when the repair is needed, and when it can be deleted. ``import reflash_sr`` calls ``repair()``
before BasicSR is imported, also in every spawned worker.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import sys
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# pip installs BasicSR by itself before Python 3.13; later its build fails.
INSTALL_BASICSR = 'pip install basicsr' if sys.version_info < (3, 13) else 'python -m install_basicsr'
REINSTALL_OPENCV = 'pip install --force-reinstall --no-deps opencv-python-headless'


def repair() -> None:
    """Apply the repairs that ``import basicsr`` needs. A second call changes nothing.

    Raises:
        ImportError: BasicSR or OpenCV cannot be used; says in one line what to run.
    """
    problem = _basicsr_problem() or _opencv_problem()
    if problem:
        raise ImportError(problem)
    _alias_functional_tensor()
    _alias_distutils()


def _basicsr_problem() -> str:
    """BasicSR is missing, or is a copy that lacks parts.

    NAFNet and Restormer carry one without ``archs``; a clone of BasicSR has no ``version.py`` before it is installed.
    A copy is imported instead of the installed one if Python searches its parent folder first.
    """
    found = importlib.util.find_spec('basicsr')
    if found is None or not found.origin:  # a folder without __init__.py has no origin
        return f'BasicSR is not installed; run: {INSTALL_BASICSR}'
    folder = Path(found.origin).parent
    missing = [part for part in ('archs', 'version') if not any(folder.glob(f'{part}*'))]
    if not missing:
        return ''
    return (f'{folder} is another BasicSR, without basicsr.{missing[0]}, and Python finds it first; start in another '
            'folder, or remove its parent from PYTHONPATH')


def _opencv_problem() -> str:
    """OpenCV is missing, broken, or needs a library of a desktop, as ``opencv-python`` does in a small container."""
    try:
        cv2 = importlib.import_module('cv2')
    except ModuleNotFoundError as error:
        if error.name != 'cv2':
            raise
        return 'OpenCV is not installed; run: pip install opencv-python-headless'
    except ImportError as error:
        reason = str(error).partition('\n')[0]
        libraries = ('apt-get install libgl1 libglib2.0-0 (as root), or install the OpenCV that needs no screen: '
                     if '.so' in str(error) else '')
        return f'OpenCV cannot be loaded ({reason}); run: {libraries}{REINSTALL_OPENCV}'
    if not hasattr(cv2, 'imread'):
        return f'OpenCV lacks parts: uninstalling one OpenCV package breaks another; run: {REINSTALL_OPENCV}'
    return ''


def _alias_functional_tensor() -> None:
    """``basicsr.data.degradations`` imports ``rgb_to_grayscale`` from a module that torchvision 0.17 removed.

    Needed if that module cannot be found. Delete it once BasicSR imports ``torchvision.transforms.functional``.
    """
    name = 'torchvision.transforms.functional_tensor'
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        sys.modules[name] = importlib.import_module('torchvision.transforms.functional')


def _alias_distutils() -> None:
    """``basicsr.archs.arch_util`` imports ``distutils.version``, which Python 3.12 removed; setuptools has a copy.

    Needed if neither Python nor setuptools' import hook provides it. Delete it once BasicSR compares versions with
    ``packaging``.
    """
    if 'distutils' not in sys.modules and importlib.util.find_spec('distutils') is None:
        for name in ('distutils', 'distutils.version'):
            sys.modules[name] = importlib.import_module(f'setuptools._{name}')


def repair_wandb() -> None:
    """BasicSR's ``init_wandb_logger`` calls ``wandb.util.generate_id``, which newer versions of wandb do not have.

    Needed if wandb lacks it; must be called before wandb is started. Delete it once BasicSR lets wandb choose the id.
    """
    util = importlib.import_module('wandb').util
    if not hasattr(util, 'generate_id'):
        util.generate_id = lambda: uuid.uuid4().hex[:8]


@contextlib.contextmanager
def several_validation_sets() -> Iterator[None]:
    """Hide a false warning of BasicSR's ``train_pipeline``: that only ``SRModel`` can validate on several datasets.

    Every model can: it gets them one after the other. Delete this once BasicSR does not warn.
    """

    def is_other(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith('Multiple validation datasets are')

    logger = logging.getLogger('basicsr')
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


@contextlib.contextmanager
def replaced(module: types.ModuleType | type, **names: Any) -> Iterator[None]:
    """Replace names in a module or a class, and restore them at the end: changes a helper without a copy of its caller.

    Raises:
        AttributeError: There is no such name; this version of BasicSR is not supported.
    """
    before = {name: getattr(module, name) for name in names}
    try:
        for name, value in names.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
