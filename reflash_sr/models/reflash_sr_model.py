"""BasicSR's ``SRModel`` for any device, with mixed precision, safe checkpoints and one table per validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from torch.nn.parallel import DistributedDataParallel

from reflash_sr.dropout import hooks_of
from reflash_sr.errors import UserError
from reflash_sr.models.anomaly import watched
from reflash_sr.models.checkpoints import Best, prune, write
from reflash_sr.models.compiled_step import COMPILE, compiled_step
from reflash_sr.models.load_network import load_network
from reflash_sr.models.loss_guard import LossGuard, shares
from reflash_sr.models.optimisers import Average, build_optimiser, follow_file, with_kernels
from reflash_sr.models.schedulers import build_scheduler, end_warmup_step, follow_schedule
from reflash_sr.models.tiling import Tiling
from reflash_sr.models.training_losses import alignment, image_losses, run_network
from reflash_sr.models.validation import Validation
from reflash_sr.options.value_rules import BOOL, TEXT, one_of
from reflash_sr.system import processes
from reflash_sr.system.devices import any_size, arrange, bf16_warning, seed, select_device
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.network_from_file import with_described_base


@MODEL_REGISTRY.register()
class ReflashSRModel(SRModel):
    """Trains and tests one SR network.

    Args:
        opt: A BasicSR option file, expanded. Beyond ``SRModel``'s keys: ``device`` (``auto cpu cuda mps``), ``amp``
            (``bf16`` trains in mixed precision; weights and loss stay float32), ``channels_last``, ``compile`` (the
            training step, by ``torch.compile``: true, or one of its modes, such as ``reduce-overhead``).
            ``train: optim_g: type`` may be any optimiser of ``torch.optim``. ``train: grad_clip`` limits the norm of
            the gradient; ``accumulate: N`` processes every batch in N parts, for one optimiser step (same result, less
            memory); ``detect_anomaly`` finds the layer whose gradient is not finite, but is slow. ``logger: keep_last:
            N`` keeps the newest N checkpoints; ``val: keep_best`` keeps the best weights for each metric; ``val: tile``
            and ``tile_overlap`` are those of :class:`~reflash_sr.models.tiling.Tiling`.

    Attributes:
        stream: What determines the training samples, for the state file: ``images``, ``batch`` and ``seed``.
        record: What the network is trained with (:mod:`reflash_sr.options.training_record`), for every checkpoint;
            None if that is not known.
    """

    OPTIONS = {'device': TEXT, 'amp': one_of('bf16', None), 'channels_last': BOOL, 'compile': COMPILE}

    def __init__(self, opt: dict[str, Any]):
        self._memory_format = torch.channels_last if opt.get('channels_last') else torch.contiguous_format
        self._tiling = Tiling(opt, self._memory_format)
        self._validation = Validation(opt)
        self._iteration = 0
        self._network_g = with_described_base(opt['network_g'])
        self._not_loaded: list[str] = []
        self._best = Best(opt, self._save_best)
        self._validation.on_means = self._best.take
        self._of_best: dict[str, Any] = {}
        self._average: Average | None = None
        self.stream: dict[str, int] = {}
        self.record: dict[str, Any] | None = None
        super().__init__(opt)

    # ------------------------------------------------------------------ building

    def model_to_device(self, net: torch.nn.Module) -> torch.nn.Module:
        """Move a network to the device of the options, and wrap it for several processes."""
        self.device = select_device(self.opt)
        net = arrange(net.to(self.device), self._memory_format)
        if not self.opt['dist']:
            return net
        unused = self.opt.get('find_unused_parameters', False)
        return DistributedDataParallel(
            net, device_ids=[self.device] if self.device.type == 'cuda' else None, find_unused_parameters=unused)

    def init_training_settings(self) -> None:
        super().init_training_settings()
        warning = bf16_warning(self.device) if self.opt.get('amp') else None
        if warning:
            get_root_logger().warning('amp: bf16: %s. Set amp: ~', warning)
        if self.ema_decay > 0:
            arrange(self.net_g_ema, self._memory_format)
            self._complete_ema()
        self._guard = LossGuard(remembered=max(self.opt['logger'].get('print_freq', 100), 1))
        self._net_of_step = compiled_step(self.net_g, self.opt.get('compile'))
        self._dropout = hooks_of(self.get_bare_model(self.net_g))
        self._alignment = alignment(self.opt['train'], self.get_bare_model(self.net_g))

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """Build any optimiser of ``torch.optim`` by its name."""
        return build_optimiser(optim_type, params, lr=lr, **kwargs)

    def setup_schedulers(self) -> None:
        """Build the scheduler of ``train: scheduler``: one of BasicSR or of ``torch.optim.lr_scheduler``."""
        self.schedulers = [build_scheduler(optimiser, self.opt['train']['scheduler']) for optimiser in self.optimizers]

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Go on in the schedule; in the warm-up, the learning rate then rises linearly to its initial value."""
        if 1 < current_iter <= warmup_iter:
            end_warmup_step(self.schedulers)
        super().update_learning_rate(current_iter, warmup_iter)

    def load_network(self, net: torch.nn.Module, load_path: str, strict: bool = True,
                     param_key: str | None = 'params') -> None:
        """Load weights, as :func:`reflash_sr.models.load_network.load_network` does."""
        self._not_loaded = load_network(self, net, load_path, strict, param_key)

    @torch.no_grad()
    def _complete_ema(self) -> None:
        """Copy weights that were not in the weights file from the trained network into the EMA network."""
        trained, averaged = self.get_bare_model(self.net_g).state_dict(), self.net_g_ema.state_dict()
        for name in self._not_loaded:
            averaged[name].copy_(trained[name])

    def model_ema(self, decay: float = 0.999) -> None:
        """Average the weights; ``decay`` remains of what they were."""
        if self._average is None:
            self._average = Average(self.net_g_ema, self.get_bare_model(self.net_g))
        self._average.update(decay)

    # ------------------------------------------------------------------ one step

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch: ``lq`` (B, 3, H, W), optionally ``gt`` (B, 3, H · scale, W · scale), and ``lq_2`` as ``lq``."""
        self.lq = data['lq'].to(self.device, memory_format=self._memory_format, non_blocking=True)
        if 'gt' in data:
            self.gt = data['gt'].to(self.device, memory_format=self._memory_format, non_blocking=True)
        if 'lq_2' in data:  # as many samples again
            second = data['lq_2'].to(self.device, memory_format=self._memory_format, non_blocking=True)
            self.lq = torch.cat([self.lq, second])
            self.gt = torch.cat([self.gt, self.gt])
        self._paths = data.get('gt_path', data.get('lq_path', []))

    def optimize_parameters(self, current_iter: int) -> None:
        """Do one training step. The dropout masks depend only on ``manual_seed``, iteration and rank."""
        self._iteration = current_iter
        sequence = np.random.SeedSequence([self.opt.get('manual_seed') or 0, current_iter, self.opt['rank']])
        seed(int(sequence.generate_state(1, np.uint64)[0] >> 1), self.device)
        train = self.opt['train']
        for hook in self._dropout:
            hook.go_to(current_iter)
        self.optimizer_g.zero_grad()
        with watched(self.get_bare_model(self.net_g), current_iter, self._paths, train.get('detect_anomaly', False)):
            losses = self._backward(train.get('accumulate', 1))
        if train.get('grad_clip'):
            torch.nn.utils.clip_grad_norm_(self.net_g.parameters(), train['grad_clip'])
        self.optimizer_g.step()
        self._guard.add(losses, current_iter, self._paths)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def _backward(self, parts: int) -> dict[str, torch.Tensor]:
        """Accumulate the gradient of the batch, part by part; returns the losses of the whole batch."""
        total: dict[str, torch.Tensor] = {}
        batches = list(zip(self.lq.chunk(parts), self.gt.chunk(parts), strict=True))
        for i, (lq, gt) in enumerate(batches, 1):
            last = i == len(batches) or not self.opt['dist']  # processes exchange gradients once
            with nullcontext() if last else self.net_g.no_sync():
                with torch.autocast(self.device.type, torch.bfloat16) if self.opt.get('amp') else nullcontext():
                    self.output, aligned = run_network(self._net_of_step, lq, self._alignment)
                losses = {**image_losses(self, self.output.to(gt.dtype), gt, len(batches)), **aligned}
                whole: Any = sum(losses.values())
                whole.backward()
            for name, loss in losses.items():
                total[name] = total.get(name, 0) + loss.detach()
        return total

    def get_current_log(self) -> dict[str, float]:
        """Return the mean losses since the last call, over all processes.

        Raises:
            RunError: A loss was not finite.
        """
        self._guard.check()
        means = self._guard.means()
        if self.opt['dist'] and means:
            stacked = torch.stack(list(means.values())) / self.opt['world_size']
            torch.distributed.all_reduce(stacked)
            means = dict(zip(means, stacked))
        return {name: float(value) for name, value in means.items()}

    # ------------------------------------------------------------------ testing

    @torch.no_grad()
    def test(self) -> None:
        """Restore ``lq``, with EMA weights if they exist; pads or tiles it if necessary."""
        net: Any = getattr(self, 'net_g_ema', self.net_g)
        training = net.training
        net.eval()
        with any_size():
            self.output = self._tiling.restore(self.get_bare_model(net), self.lq)
        net.train(training)

    def validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False) -> None:
        """Measure the network on one dataset; after the last dataset, log the table and write it as CSV."""
        if self.is_train:
            self._guard.check()
        self._validation.run(self, dataloader.dataset, current_iter, tb_logger, save_img)

    def watch_for_stop(self, stop_asked: Callable[[], int]) -> None:
        """Interrupt validation with ``ValidationStopped`` as soon as ``stop_asked`` does not return 0."""
        self._validation.stop_asked = stop_asked

    def is_validated(self, iteration: int) -> bool:
        """Whether the validation at an iteration is complete, in this run or in the run that it continues."""
        return self._validation.is_done(iteration)

    # ------------------------------------------------------------------ saving

    def save(self, epoch: int, current_iter: int) -> None:
        """Save weights and training state, unless a loss was not finite.

        Raises:
            RunError: A loss was not finite, or the disk is full; on all ranks.
        """

        def write_all() -> None:
            super(ReflashSRModel, self).save(epoch, current_iter)
            if current_iter != -1:
                prune(self.opt, current_iter)

        self._guard.check()
        self._windows = processes.gather(self._guard.window())
        processes.on_rank_0(write_all)

    @master_only
    def save_network(self, net: Any, net_label: str, current_iter: int, param_key: Any = 'params') -> None:
        """Write ``models/{net_label}_{current_iter}.pth``: weights, their ``network_g`` and how they were trained."""
        nets, keys = ([net], [param_key]) if not isinstance(net, list) else (net, param_key)
        trained = {'experiment': self.opt['name'], 'iter': self._iteration, 'manual_seed': self.opt.get('manual_seed'),
                   'total_iter': self.opt['train']['total_iter'], **self._of_best}
        if self.record is not None:
            trained['options'] = self.record
        content: dict[str, Any] = {'network_g': self._network_g, 'trained': trained}
        for key, network in zip(keys, nets):
            state = self.get_bare_model(network).state_dict()
            content[key] = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        label = 'latest' if current_iter == -1 else current_iter
        write(content, Path(self.opt['path']['models'], f'{net_label}_{label}{weights.suffix_of(self.opt)}'))

    def _save_best(self, label: str, facts: dict[str, Any]) -> None:
        nets = {'params': self.net_g}
        if self.ema_decay > 0:
            nets['params_ema'] = self.net_g_ema
        self._of_best = facts
        self.save_network(list(nets.values()), 'net_g', label, param_key=list(nets))
        self._of_best = {}

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write ``training_states/{current_iter}.state``, from which a run continues."""
        if current_iter == -1:
            return
        samples = {'samples': current_iter * self.stream['batch']} if self.stream.get('batch') else {}
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
            'stream': {**self.stream, **samples},
            'windows': self._windows,
            'best': self._best.values,
            'options': self.record,
            'network_g': self._network_g,
        }
        write(state, Path(self.opt['path']['training_states'], f'{current_iter}.state'))

    def resume_training(self, resume_state: Mapping[str, Any]) -> None:
        """Reload optimisers and schedulers; settings in the option file override those of the state."""
        found, wanted = len(resume_state['optimizers']), len(self.optimizers)
        if found != wanted:
            raise UserError(f'the training state has {found} optimisers, as of a GAN, and {type(self).__name__} has '
                            f'{wanted}; continue with the model that wrote it, or start from its weights')
        as_in_file = [dict(group) for group in self.optimizer_g.param_groups]
        super().resume_training({
            **resume_state, 'schedulers': [one.state_dict() for one in self.schedulers],
            'optimizers': [with_kernels(*pair) for pair in zip(resume_state['optimizers'], self.optimizers)]})
        follow_file(self.optimizer_g, self.opt['train']['optim_g'], as_in_file)
        follow_schedule(self.schedulers[0], resume_state['schedulers'][0], as_in_file)
        iteration = self._iteration = resume_state['iter']
        if resume_state.get('windows'):
            window = shares(resume_state['windows'], self.opt['world_size'])[self.opt['rank']]
            self._guard.continue_window(window, self.device)
        done = self.is_validated(iteration)
        means = self._validation.leave_out(iteration) if done else {}
        self._best.continue_from(resume_state.get('best') or {}, iteration, means)
