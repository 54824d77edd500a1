"""Train and test: BasicSR's own pipelines, started with our options.

BasicSR looks its helpers up in the module of the pipeline. ``Run`` holds our versions of them, which check everything
before anything is written, feed one stream of draws, and run on any device.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import basicsr.test
import basicsr.train
import torch
from basicsr.data import build_dataloader
from basicsr.utils import get_root_logger, set_random_seed
from basicsr.utils.dist_util import get_dist_info, init_dist
from basicsr.utils.misc import check_resume

from reflash_sr import option_checks, options, preflight, weights
from reflash_sr.compat import replaced
from reflash_sr.data.stream import DrawStream
from reflash_sr.devices import keep_freed_memory, select_device
from reflash_sr.errors import UserError
from reflash_sr.files import relative
from reflash_sr.progress import Batches, ProgressLogger


def train(opt_file: str, launcher: str = 'none', auto_resume: bool = False, debug: bool = False,
          force_yml: Sequence[str] = (), root: str | os.PathLike = '.') -> Path:
    """Train a network as an option file says.

    Args:
        opt_file: The option file.
        launcher: ``'none'``, ``'pytorch'`` (torchrun) or ``'slurm'``.
        auto_resume: Continue from the newest state of the experiment, where there is one.
        debug: BasicSR's debug mode: log, save and validate often, under another name.
        force_yml: Changes to the file, ``section:key=value`` each.
        root: Folder under which ``experiments`` stands.

    Returns:
        The weights file of the last iteration.

    Raises:
        UserError: Something in the options, the data or the weights is wrong; nothing was written.
        RunError: The run had to stop.
    """
    run = Run(opt_file, True, launcher, auto_resume, debug, force_yml, root)
    with replaced(
            basicsr.train,
            parse_options=run.parse_options,
            load_resume_state=run.load_resume_state,
            create_train_val_dataloader=run.create_train_val_dataloader,
            MessageLogger=run.message_logger):
        basicsr.train.train_pipeline(str(root))
    _stop_processes()
    path = Path(run.opt['path']['models'], 'net_g_latest.pth')
    get_root_logger().info('Done. Weights: %s. Next: %s', relative(path), run.next_command(relative(path)))
    return path


def test(opt_file: str, launcher: str = 'none', debug: bool = False, force_yml: Sequence[str] = (),
         root: str | os.PathLike = '.') -> Path:
    """Test a network as an option file says.

    Args:
        opt_file, launcher, debug, force_yml, root: As for :func:`train`; results stand in ``results`` under ``root``.

    Returns:
        The folder of the results.

    Raises:
        UserError: Something in the options, the data or the weights is wrong; nothing was written.
    """
    run = Run(opt_file, False, launcher, False, debug, force_yml, root)
    with replaced(basicsr.test, parse_options=run.parse_options, build_dataset=run.build_dataset):
        basicsr.test.test_pipeline(str(root))
    _stop_processes()
    folder = Path(run.opt['path']['results_root'])
    get_root_logger().info('Done. Results: %s', relative(folder))
    return folder


class Run:
    """One run: its options, and the helpers that BasicSR's pipeline is given."""

    def __init__(self, opt_file: str, is_train: bool, launcher: str, auto_resume: bool, debug: bool,
                 force_yml: Sequence[str], root: str | os.PathLike):
        self.args = argparse.Namespace(opt=opt_file)
        self.is_train = is_train
        self.launcher = launcher
        self.auto_resume = auto_resume
        self.debug = debug
        self.force_yml = force_yml
        self.root = root
        self.opt: dict[str, Any] = {}
        self.datasets: dict[str, Any] = {}
        self.state: dict[str, Any] | None = None
        self.stream: DrawStream | None = None

    def parse_options(self, root_path: str, is_train: bool = True) -> tuple[dict[str, Any], argparse.Namespace]:
        """Load, check and expand the options, start the processes, seed: instead of BasicSR's function."""
        opt = options.load(self.args.opt)
        options.force(opt, self.force_yml)
        if 'study' in opt:
            raise UserError(f'{self.args.opt}: study: this file is a grid of runs; start it with python '
                            f'tools/sweep_dropout.py --opt {self.args.opt}')
        option_checks.check(opt, self.args.opt, self.is_train)
        _start_processes(opt, self.launcher)
        opt['manual_seed'] = _agree_on_seed(opt.get('manual_seed'), opt['dist'])
        set_random_seed(opt['manual_seed'] + opt['rank'])
        if self.debug and not opt['name'].startswith('debug'):
            opt['name'] = f"debug_{opt['name']}"
        opt['auto_resume'] = self.auto_resume
        self.opt = opt
        try:
            options.expand(opt, self.root, self.is_train, opt['world_size'])
            self._settle_device()
            self.datasets = preflight.open_datasets(opt)
            self.state = self._find_state() if self.is_train else None
            preflight.check_network(opt)
        except UserError as error:
            raise UserError(f'{self.args.opt}: {error}') from error
        return opt, self.args

    def load_resume_state(self, opt: dict[str, Any]) -> dict[str, Any] | None:
        """Hand out the state to continue from, which was found when the options were checked."""
        return self.state

    def create_train_val_dataloader(self, opt: dict[str, Any], logger: Any) -> tuple:
        """Build the loaders: one stream for the whole run, in the middle of which a continued run starts."""
        section = opt['datasets']['train']
        total = int(opt['train']['total_iter'])
        dataset = self.datasets['train']
        self.stream = DrawStream(len(dataset), section['batch_size_per_gpu'], total, self._start_iter,
                                 opt['manual_seed'], opt['rank'], opt['world_size'])
        pinned = section.get('pin_memory', False) and opt['num_gpu'] > 0  # nothing to pin for without a GPU
        lasting = section.get('persistent_workers', False) and section['num_worker_per_gpu'] > 0
        section = {**section, 'pin_memory': pinned, 'persistent_workers': lasting}
        loader = build_dataloader(dataset, section, num_gpu=opt['num_gpu'], dist=opt['dist'],
                                  sampler=self.stream, seed=opt['manual_seed'])
        logger.info('Training on %s images, %d × %d samples per iteration, %s iterations (%d passes).',
                    f'{len(dataset):,}', opt['world_size'], section['batch_size_per_gpu'], f'{total:,}',
                    self.stream.epoch(total))
        val_loaders = []
        for key, section in opt['datasets'].items():
            if key != 'train':
                val_loaders.append(build_dataloader(self.datasets[key], section, sampler=None))
                logger.info('Validation set %s: %d pictures.', section['name'], len(self.datasets[key]))
        batches = Batches(loader, self._start_iter, total, show=opt['rank'] == 0)
        batches.dataset = dataset
        return batches, self.stream, val_loaders, 0, total

    def message_logger(self, opt: dict[str, Any], start_iter: int, tb_logger: Any) -> ProgressLogger:
        """Make the logger of the training loop."""
        return ProgressLogger(opt, start_iter, tb_logger, self.stream.epoch)

    def build_dataset(self, dataset_opt: dict[str, Any]) -> Any:
        """Hand out a set that was built when the options were checked."""
        return next(self.datasets[key] for key, section in self.opt['datasets'].items() if section is dataset_opt)

    def next_command(self, path: str) -> str:
        """What to do with the weights of this training: test them, with the ``test_`` twin of its option file."""
        file = Path(self.args.opt)
        twins = [file.with_name(file.name.replace('train_', 'test_', 1)), file.with_name(f'test_{file.name}')]
        twin = next((twin for twin in twins if twin != file and twin.is_file()), None)
        if twin is None:
            return f'an option file for basicsr test (options/test_*.yml are examples) with pretrain_network_g: {path}'
        return f'basicsr test -opt {twin} --force_yml path:pretrain_network_g={path}'

    def _settle_device(self) -> None:
        """Say which device is used, once; BasicSR's ``num_gpu`` follows, so that DataParallel never comes in."""
        opt = self.opt
        if opt['num_gpu'] == 'auto':
            opt['num_gpu'] = 1
        opt['device'] = opt.get('device', 'auto')
        device = select_device(opt)
        opt['device'] = device.type
        opt['num_gpu'] = int(device.type == 'cuda')
        if device.type == 'cpu':
            keep_freed_memory()
        if device.type != 'cuda' and opt['datasets'].get('train', {}).get('prefetch_mode') == 'cuda':
            raise UserError(f'datasets: train: prefetch_mode: cuda needs a CUDA device, and this is {device}; write ~')

    @property
    def _start_iter(self) -> int:
        return self.state['iter'] if self.state else 0

    def _find_state(self) -> dict[str, Any] | None:
        """Read the state to continue from, if any, and name its weights in the options."""
        path = self.opt['path'].get('resume_state')
        if self.opt['auto_resume']:
            folder = Path(self.opt['path']['training_states'])
            states = [state for state in folder.glob('*.state') if state.stem.isdigit()]
            path = max(states, key=lambda state: int(state.stem), default=None)
        if path is None:
            return None
        state = weights.load_file(path)
        self.opt['path']['resume_state'] = str(path)
        check_resume(self.opt, state['iter'])
        return state


def _start_processes(opt: dict[str, Any], launcher: str) -> None:
    opt['dist'] = launcher != 'none'
    if launcher == 'pytorch':
        if 'RANK' not in os.environ:
            raise UserError('--launcher pytorch: RANK is not set; start with torchrun --nproc_per_node N -m reflash_sr')
        cuda = torch.cuda.is_available()
        backend = (opt.get('dist_params') or {}).get('backend', 'nccl') if cuda else 'gloo'
        if cuda:
            torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count())
        torch.distributed.init_process_group(backend)
    elif launcher == 'slurm':
        if 'SLURM_PROCID' not in os.environ or not torch.cuda.is_available():
            raise UserError('--launcher slurm: needs srun and GPUs; without them use --launcher pytorch or none')
        init_dist(launcher, **opt.get('dist_params') or {})
    opt['rank'], opt['world_size'] = get_dist_info()


def _stop_processes() -> None:
    """Leave the process group together: one that just ends may abort while another still talks to it."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _agree_on_seed(seed: int | None, dist: bool) -> int:
    """Draw a seed where none is given; all processes take that of the first."""
    seeds = [random.randint(1, 10000) if seed is None else seed]
    if dist:
        torch.distributed.broadcast_object_list(seeds)
    return seeds[0]
