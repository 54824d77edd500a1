"""Train and test with BasicSR's own pipelines and the helpers of :mod:`reflash_sr.training.run`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import basicsr.test
import basicsr.train
from basicsr.data import prefetch_dataloader
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger

from reflash_sr.compat import replaced, several_validation_sets
from reflash_sr.models.load_network import load_network
from reflash_sr.system import processes
from reflash_sr.system.files import relative
from reflash_sr.system.workers import named_ends
from reflash_sr.training.check_workers import FEWER, OPTION
from reflash_sr.training.loggers import start_wandb
from reflash_sr.training.prefetch import CUDAPrefetcher, PrefetchGenerator
from reflash_sr.training.progress import open_log
from reflash_sr.training.run import Run
from reflash_sr.weights.state_dict import suffix_of


def train(opt_file: str, launcher: str = 'none', auto_resume: bool = False, debug: bool = False,
          force_yml: Sequence[str] = (), root: str | os.PathLike = '.') -> Path:
    """Train a network as described by an option file.

    Args:
        launcher: ``'none'``, ``'pytorch'`` (torchrun) or ``'slurm'``.
        auto_resume: Continue from the newest state of the experiment, if any.
        debug: BasicSR's debug mode: log, save and validate often, under another name.
        force_yml: Changes to the options, ``section:key=value`` each.
        root: Parent folder of ``experiments``.

    Returns:
        The weights file of the last iteration.

    Raises:
        UserError: Something in the options, the data or the weights is wrong; nothing was written.
        RunError: The run had to stop.
        Stopped: Ctrl-C or SIGTERM (a ``KeyboardInterrupt``); the run was saved.
    """
    run = Run(opt_file, True, launcher, auto_resume, debug, force_yml, root)
    with named_ends(OPTION, FEWER, 'Continue with --auto_resume'), replaced(
            basicsr.train,
            parse_options=run.parse_options,
            load_resume_state=run.load_resume_state,
            make_exp_dirs=run.make_exp_dirs,
            copy_opt_file=run.copy_opt_file,
            create_train_val_dataloader=run.create_train_val_dataloader,
            build_model=run.build_model,
            init_wandb_logger=start_wandb,
            get_root_logger=open_log,
            CUDAPrefetcher=CUDAPrefetcher,
            MessageLogger=run.message_logger), replaced(BaseModel, load_network=load_network), \
            replaced(prefetch_dataloader, PrefetchGenerator=PrefetchGenerator), run.cleanup, \
            processes.named_losses(), several_validation_sets():
        basicsr.train.train_pipeline(str(root))
    processes.stop()
    path = Path(run.opt['path']['models'], f'net_g_latest{suffix_of(run.opt)}')
    get_root_logger().info('Done. Weights: %s. Next: %s', relative(path), run.next_command(relative(path)))
    return path


def test(opt_file: str, launcher: str = 'none', debug: bool = False, force_yml: Sequence[str] = (),
         root: str | os.PathLike = '.') -> Path:
    """Test a network as described by an option file.

    Args:
        opt_file, launcher, debug, force_yml, root: As for :func:`train`; results go to ``results`` in ``root``.

    Returns:
        The folder of the results.

    Raises:
        UserError: Something in the options, the data or the weights is wrong; nothing was written.
    """
    run = Run(opt_file, False, launcher, False, debug, force_yml, root)
    with replaced(basicsr.test, parse_options=run.parse_options, build_dataset=run.build_dataset,
                  get_root_logger=open_log), \
            replaced(BaseModel, load_network=load_network):
        basicsr.test.test_pipeline(str(root))
    processes.stop()
    folder = Path(run.opt['path']['results_root'])
    get_root_logger().info('Done. Results: %s', relative(folder))
    return folder
