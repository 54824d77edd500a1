"""TensorBoard and Weights & Biases (wandb): they are checked before anything is written, and wandb is started."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from basicsr.utils import init_wandb_logger

from reflash_sr.compat import repair_wandb
from reflash_sr.errors import RunError, UserError, suggest

WANDB = ('project', 'resume_id')  # the keys that BasicSR reads


def check_loggers(opt: Mapping[str, Any]) -> None:
    """Check that the loggers of an option file can be used. In debug mode, BasicSR uses none of them.

    Raises:
        UserError: A key is not known, a package is not installed, or wandb has no API key.
    """
    section = opt['logger']
    wandb = section.get('wandb') or {}
    for key in wandb.keys() - set(WANDB):
        raise UserError(f'logger: wandb: {key}: is not a known key{suggest(key, WANDB)}')
    project = wandb.get('project') if 'debug' not in opt['name'] else None
    if project is not None and not section.get('use_tb_logger'):
        raise UserError('logger: wandb: project: wandb shows what TensorBoard writes; write use_tb_logger: true, or '
                        'project: ~')
    if writes_tensorboard(opt):
        _load('torch.utils.tensorboard', 'tensorboard', 'use_tb_logger', 'use_tb_logger: false')
    if project is not None:
        _use_wandb(UserError, _load('wandb', 'wandb', 'wandb: project', 'project: ~').login)


def writes_tensorboard(opt: Mapping[str, Any]) -> bool:
    """Whether BasicSR writes TensorBoard files during this run."""
    return bool(opt['logger'].get('use_tb_logger')) and 'debug' not in opt['name']


def tensorboard_command(opt: Mapping[str, Any]) -> str:
    """The command that shows the TensorBoard files, and what to install before it, if anything.

    BasicSR asks for tb-nightly, which ended before setuptools 82 removed the module ``pkg_resources`` that it imports.
    """
    command = subprocess.list2cmdline(['tensorboard', '--logdir', str(Path(opt['root_path'], 'tb_logger'))])
    nightly = any(importlib.metadata.distributions(name='tb-nightly'))
    if nightly and importlib.util.find_spec('pkg_resources') is None:
        return f'{command} (before that: pip install "setuptools<82"; tb-nightly does not start with a newer one)'
    return command


def start_wandb(opt: Mapping[str, Any]) -> None:
    """Start wandb as BasicSR does, on rank 0.

    Raises:
        RunError: wandb cannot be started, for example because its server is not reached.
    """
    repair_wandb()
    _use_wandb(RunError, init_wandb_logger, opt)


def _load(module: str, package: str, key: str, without: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:  # packages that do not fit each other raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f'logger: {key}: {package} cannot be used ({reason}); pip install {package}, or write '
                        f'{without}') from error


def _use_wandb(kind: type[Exception], call: Callable, *args: Any) -> None:
    try:
        call(*args)
    except Exception as error:  # of wandb
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip('.')
        raise kind(f'logger: wandb: project: wandb cannot be started ({reason}); run wandb login, or set '
                   'WANDB_MODE=offline, or write project: ~') from error
