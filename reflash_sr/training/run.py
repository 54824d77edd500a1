"""One run of BasicSR's pipelines: its options, and our versions of the helpers that the pipeline calls.

The methods of :class:`Run` replace functions in BasicSR's module of the pipeline. They check everything before anything
is written, use one stream of draws, and support any device.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from basicsr.data import build_dataloader
from basicsr.models import build_model
from basicsr.utils import get_root_logger, get_time_str, make_exp_dirs, set_random_seed
from basicsr.utils.misc import check_resume
from basicsr.utils.registry import MODEL_REGISTRY

from reflash_sr.data.seeded_sampler import DrawStream, SeededDraws
from reflash_sr.data.training_dataset import TrainingDataset
from reflash_sr.errors import UserError
from reflash_sr.models.schedulers import keep_to_schedule
from reflash_sr.options import check_options as option_checks
from reflash_sr.options import option_file as options
from reflash_sr.options.training_record import continued_record, training_record
from reflash_sr.system import processes
from reflash_sr.system.devices import allow_tf32, choose_algorithms, describe, keep_freed_memory, select_device
from reflash_sr.system.files import atomic_write, relative
from reflash_sr.training import preflight, resume
from reflash_sr.training.base_network import describe_bases
from reflash_sr.training.check_gan import check_gan, check_real_esrgan
from reflash_sr.training.check_output import check_folders
from reflash_sr.training.fill_lq_cache import make_pairs
from reflash_sr.training.loggers import check_loggers, tensorboard_command, writes_tensorboard
from reflash_sr.training.progress import Batches, ProgressLogger, for_workers
from reflash_sr.training.run_lock import RunLock
from reflash_sr.training.stop_on_signals import stop_on_signals
from reflash_sr.weights import bundled


@dataclasses.dataclass
class Run:
    """One run: its options, and the helpers for BasicSR's pipeline.

    Attributes:
        opt_file, launcher, auto_resume, debug, force_yml, root: As for :func:`reflash_sr.training.pipeline.train`.
        is_train: Training or testing.
        state: The state that the run continues from, if any.
        cleanup: Callbacks for the end of the run, also after an error.
        opt: Expanded options; set by :meth:`parse_options`.
    """

    opt_file: str
    is_train: bool
    launcher: str
    auto_resume: bool
    debug: bool
    force_yml: Sequence[str]
    root: str | os.PathLike
    state: dict[str, Any] | None = None
    val_loaders: list[Any] = dataclasses.field(default_factory=list)
    cleanup: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)
    opt: dict[str, Any] = dataclasses.field(init=False)
    datasets: dict[str, Any] = dataclasses.field(init=False)
    lock: RunLock = dataclasses.field(init=False)
    stream: DrawStream = dataclasses.field(init=False)
    model: Any = dataclasses.field(init=False)

    def parse_options(self, root_path: str, is_train: bool = True) -> tuple[dict[str, Any], argparse.Namespace]:
        """Load, check and expand the options, join the other processes, and set the seed."""
        opt = self.opt = options.load(self.opt_file)
        self._file = Path(self.opt_file).read_bytes()
        options.force(opt, self.force_yml)
        if 'study' in opt:
            raise UserError(f'{self.opt_file}: study: this file is a grid of runs; start it with python '
                            f'tools/sweep_dropout.py --opt {self.opt_file}')
        self._translated = option_checks.check(opt, self.opt_file, self.is_train)
        opt['dist'] = self.launcher != 'none'
        cuda = opt.get('device', 'auto') in ('auto', 'cuda') and opt['num_gpu'] != 0
        opt['rank'], opt['world_size'] = processes.start(self.launcher, cuda=cuda, **opt.get('dist_params') or {})
        seed = opt.get('manual_seed')
        self._seed_was_drawn = seed is None
        opt['manual_seed'] = processes.on_rank_0(lambda: random.randint(1, 10000) if seed is None else seed)
        set_random_seed(opt['manual_seed'] + opt['rank'])
        if self.debug and not opt['name'].startswith('debug'):
            opt['name'] = f"debug_{opt['name']}"
        opt['auto_resume'] = self.auto_resume
        try:
            options.expand(opt, self.root, self.is_train, opt['world_size'])
            bundled.resolve(opt['path'])
            describe_bases(opt)
            processes.on_rank_0(lambda: check_folders(opt))
            if self.is_train:
                processes.on_rank_0(lambda: check_loggers(opt))
            self._settle_device()
            preflight.check_parts(opt)
            check_real_esrgan(opt)
            if self.is_train:
                self._claim_folder()
                self.state = self._find_state()
            self.datasets = preflight.open_datasets(opt)
            preflight.check_network(opt)
            check_gan(opt)
        except UserError as error:
            raise UserError(f'{self.opt_file}: {error}') from error
        return opt, argparse.Namespace(opt=self.opt_file)

    def load_resume_state(self, opt: dict[str, Any]) -> dict[str, Any] | None:
        """Return the state to continue from, which :meth:`parse_options` has found."""
        while Path(opt['path']['log'], f"train_{opt['name']}_{get_time_str()}.log").exists():
            time.sleep(0.1)  # BasicSR's log names have a resolution of 1 s; do not overwrite an earlier log
        return self.state

    def make_exp_dirs(self, opt: dict[str, Any]) -> None:
        """Let BasicSR rename an existing folder and make a new one, unless another run uses it."""

        def make() -> None:
            with self.lock.moving():
                if Path(f"{opt['path']['experiments_root']}_archived_{get_time_str()}").exists():
                    time.sleep(1)  # otherwise BasicSR would choose a name that exists
                make_exp_dirs(opt)

        processes.on_rank_0(make)

    def copy_opt_file(self, opt_file: str, experiments_root: str) -> None:
        """Write the option file, as it was read, into the experiment's folder.

        The original may have been in an earlier folder that was renamed.
        """
        head = f"# GENERATE TIME: {time.asctime()}\n# CMD:\n# {' '.join(sys.argv)}\n\n"

        def write() -> None:
            with atomic_write(Path(experiments_root, Path(opt_file).name)) as file:
                file.write(head.encode(errors='backslashreplace') + self._file)

        processes.on_rank_0(write)

    def create_train_val_dataloader(self, opt: dict[str, Any], logger: Any) -> tuple:
        """Build the loaders. The training data are one stream for the whole run; a continued run starts inside it."""
        for change in self._translated:
            logger.info('%s', change)
        section = dict(opt['datasets']['train'])
        total, workers, dataset = int(opt['train']['total_iter']), section['num_worker_per_gpu'], self.datasets['train']
        self.stream = DrawStream(len(dataset), section['batch_size_per_gpu'], total, self._start_iter,
                                 opt['manual_seed'], opt['rank'], opt['world_size'])
        section['pin_memory'] = section.get('pin_memory', False) and opt['num_gpu'] > 0  # useless without a GPU
        section['persistent_workers'] = section.get('persistent_workers', False) and workers > 0
        if getattr(dataset, 'raw', None) is not None:
            dataset.raw.open()
            logger.info('Decoded GT images: %s; %s of %s have room.', dataset.raw.folder, f'{dataset.raw.count:,}',
                        f'{len(dataset):,}')
        make_pairs(dataset, total * self.stream.batch_size * self.stream.world_size, workers)
        exact = dataset if isinstance(dataset, TrainingDataset) else SeededDraws(dataset, opt['manual_seed'])
        loader = build_dataloader(exact, section, num_gpu=opt['num_gpu'], dist=opt['dist'], sampler=self.stream,
                                  seed=opt['manual_seed'])
        loader.worker_init_fn = for_workers(loader.worker_init_fn, behind=select_device(opt).type == 'cpu')
        logger.info('Training on %s images, %d × %d samples per iteration, %s iterations (%d passes).',
                    f'{len(dataset):,}', opt['world_size'], section['batch_size_per_gpu'], f'{total:,}',
                    self.stream.epoch(total))
        ends = sum(opt['train']['scheduler'].get('periods') or [0])
        if ends > total:
            logger.info('train: scheduler: the periods end at %s, after total_iter; the learning rate stops half-way. '
                        'periods: [total_iter] end with the run.', f'{ends:,}')
        if writes_tensorboard(opt):
            logger.info('TensorBoard: %s', tensorboard_command(opt))
        for key, section in opt['datasets'].items():
            if key != 'train':
                one = self.datasets[key]
                self.val_loaders.append(build_dataloader(one, section, sampler=None))
                kinds = len(getattr(one, 'degradations', 'x'))
                logger.info('Validation set %s: %d images%s.', section['name'], len(one) // kinds,
                            f' × {kinds} degradations' if kinds > 1 else '')
        batches = Batches(loader, self._start_iter, total, show=opt['rank'] == 0)
        self.cleanup.callback(batches.close)
        return batches, self.stream, self.val_loaders, 0, total

    def build_model(self, opt: dict[str, Any]) -> Any:
        """Build the model, and set what its state files store about the data."""
        choose_algorithms(opt.get('deterministic', False))
        self.model = build_model(opt)
        if not hasattr(self.model, 'watch_for_stop'):  # a model of BasicSR
            keep_to_schedule(self.model)
        get_root_logger().info('Device: %s.', describe(select_device(opt)))
        if not self.state:
            weights = opt['path'].get('pretrain_network_g')
            get_root_logger().info('Training begins from %s.', relative(weights) if weights else 'random weights')
        batch = self.stream.batch_size * self.stream.world_size
        self.model.stream = {'images': self.stream.size, 'batch': batch, 'seed': opt['manual_seed']}
        if self.state and opt['rank'] == 0:
            resume.check_stream(self.state, self.model.stream)
        if hasattr(self.model, 'record'):
            self.model.record = self._record()
        return self.model

    def message_logger(self, opt: dict[str, Any], start_iter: int, tb_logger: Any) -> ProgressLogger:
        """Make the logger of the training loop; validate at the start, and repeat a validation that was interrupted."""
        self.cleanup.enter_context(stop_on_signals(self.model, start_iter, opt['logger']['save_checkpoint_freq']))
        val = opt['val'] or {}
        due = start_iter % val['val_freq'] == 0 if self.state and val else val.get('at_start', False)
        if due and hasattr(self.model, 'is_validated') and not self.model.is_validated(start_iter):
            for loader in self.val_loaders:
                self.model.validation(loader, start_iter, tb_logger, val['save_img'])
        return ProgressLogger(opt, tb_logger, self.stream.epoch)

    def build_dataset(self, dataset_opt: dict[str, Any]) -> Any:
        """Return a dataset that :meth:`parse_options` has built."""
        return next(self.datasets[key] for key, section in self.opt['datasets'].items() if section is dataset_opt)

    def next_command(self, path: str) -> str:
        """The command that tests the weights of this training, with the ``test_`` twin of its option file."""
        file = Path(self.opt_file)
        twins = [file.with_name(file.name.replace('train_', 'test_', 1)), file.with_name(f'test_{file.name}')]
        twin = next((twin for twin in twins if twin != file and twin.is_file()), None)
        if twin is None:
            return f'reflash-sr evaluate --weights {path} --gt FOLDER --out results/{self.opt["name"]}'
        return f'basicsr test -opt {twin} --force_yml path:pretrain_network_g={path}'

    def _settle_device(self) -> None:
        """Choose the device, and set BasicSR's ``num_gpu`` so that it never uses DataParallel."""
        opt = self.opt
        if opt['num_gpu'] == 'auto':
            opt['num_gpu'] = 1
        if self.is_train and opt['num_gpu'] > opt['world_size']:
            n = opt['num_gpu']
            raise UserError(f'num_gpu: {n}: each process uses one GPU, so batches would be smaller than the file says; '
                            f'start with torchrun --nproc_per_node {n} -m reflash_sr train -opt {self.opt_file} '
                            '--launcher pytorch, or write num_gpu: 1')
        opt['device'] = opt.get('device', 'auto')
        device = select_device(opt)
        if device.type == 'mps' and 'device' not in getattr(MODEL_REGISTRY.get(opt['model_type']), 'OPTIONS', {}):
            device = torch.device('cpu')  # BasicSR's models support only CUDA and the CPU
        opt['device'] = device.type
        opt['num_gpu'] = int(device.type == 'cuda')
        allow_tf32(opt.get('allow_tf32', True))
        if device.type == 'cpu':
            keep_freed_memory()
        train = opt['datasets'].get('train', {})
        if train.get('prefetch_mode') == 'cuda' and not (device.type == 'cuda' and train.get('pin_memory')):
            what = 'pin_memory: true' if device.type == 'cuda' else f'a CUDA device, and this is {device}'
            raise UserError(f'datasets: train: prefetch_mode: cuda needs {what}; or write ~')

    def _record(self) -> dict[str, Any] | None:
        """What the network is trained with, since its first start."""
        record = training_record(self.opt, self.datasets['train'])
        if not self.state or 'network_g' in (self.opt['path'].get('ignore_resume_networks') or ()):
            return record
        return continued_record(record, self.opt, self.state)

    @property
    def _start_iter(self) -> int:
        return self.state['iter'] if self.state else 0

    def _claim_folder(self) -> None:
        """Lock the experiment's folder, on rank 0, and delete partly written files of a killed run."""

        def claim() -> None:
            self.lock.take()
            resume.remove_parts(self.opt)

        self.lock = RunLock(self.opt['path']['experiments_root'])
        self.cleanup.callback(self.lock.release)
        processes.on_rank_0(claim)

    def _find_state(self) -> dict[str, Any] | None:
        """Read the state to continue from, if any, and put the paths of its weights into the options."""
        opt, path = self.opt, self.opt['path'].get('resume_state')
        if self.auto_resume:
            path = processes.on_rank_0(lambda: resume.newest_whole(opt))
        if path is None:
            return None
        state = resume.read(path, opt)
        seed = (state.get('stream') or {}).get('seed')
        if self._seed_was_drawn and seed is not None:
            opt['manual_seed'] = opt['datasets']['train']['manual_seed'] = seed
        opt['path']['resume_state'] = str(path)
        check_resume(opt, state['iter'])
        ignored = opt['path'].get('ignore_resume_networks') or ()
        for key in [key for key in opt if key.startswith('network_') and key not in ignored]:
            opt['path'][f'pretrain_{key}'] = str(resume.weights_of(path, state['iter'], opt, f'net_{key[8:]}'))
            opt['path'].pop(f'param_key_{key[8:]}', None)  # that of the weights with which training began
        return {**state, 'epoch': 0}  # the stream counts its passes; a saved epoch would end BasicSR's loop at once
