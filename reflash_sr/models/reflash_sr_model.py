"""BasicSR's ``SRModel`` for any device, with mixed precision, safe checkpoints and one table of validation."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from reflash_sr import weights
from reflash_sr.devices import select_device
from reflash_sr.errors import RunError, UserError, suggest
from reflash_sr.models.loss_guard import LossGuard
from reflash_sr.models.validation import Validation
from reflash_sr.rules import BOOL, TEXT, one_of


@MODEL_REGISTRY.register()
class ReflashSRModel(SRModel):
    """Trains and tests one SR network.

    Args:
        opt: A BasicSR option file, expanded. Beyond ``SRModel``'s keys: ``device`` (``auto cpu cuda mps``), ``amp``
            (``bf16`` trains in mixed precision; weights and loss stay float32), ``channels_last``, ``compile``.
            ``train: optim_g: type`` may be any optimiser of ``torch.optim``.
    """

    OPTIONS = {'device': TEXT, 'amp': one_of('bf16', None), 'channels_last': BOOL, 'compile': BOOL}

    def __init__(self, opt: dict[str, Any]):
        self._memory_format = torch.channels_last if opt.get('channels_last') else torch.contiguous_format
        self._validation = Validation(opt)
        super().__init__(opt)

    # ------------------------------------------------------------------ building

    def model_to_device(self, net: torch.nn.Module) -> torch.nn.Module:
        """Move a network to the device that the options ask for, and wrap it for several processes."""
        self.device = select_device(self.opt)
        net = net.to(self.device, memory_format=self._memory_format)
        if self.opt.get('compile'):
            net.compile()
        if not self.opt['dist']:
            return net
        unused = self.opt.get('find_unused_parameters', False)
        return DistributedDataParallel(
            net, device_ids=[self.device] if self.device.type == 'cuda' else None, find_unused_parameters=unused)

    def init_training_settings(self) -> None:
        super().init_training_settings()
        if self.ema_decay > 0:
            self.net_g_ema.to(memory_format=self._memory_format)
        logger = self.opt['logger']
        self._guard = LossGuard(remembered=max(logger.get('print_freq', 100), 1))

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """Build any optimiser of ``torch.optim`` by its name."""
        known = [name for name in dir(torch.optim) if name[0].isupper() and name != 'Optimizer']
        if optim_type not in known:
            raise UserError(f"train: optim_g: type: '{optim_type}' is not known{suggest(optim_type, known)}")
        return getattr(torch.optim, optim_type)(params, lr=lr, **kwargs)

    def load_network(self,
                     net: torch.nn.Module,
                     load_path: str,
                     strict: bool = True,
                     param_key: str | None = 'params') -> None:
        """Load weights from a BasicSR, Real-ESRGAN or bare file; says which of its keys was taken.

        Raises:
            UserError: ``strict`` and the weights do not fit, key for key.
        """
        net = self.get_bare_model(net)
        loaded = weights.load_weights(load_path, param_key)
        logger = get_root_logger()
        logger.info('Loading %s from %s, key [%s].', type(net).__name__, load_path, loaded.key)
        if strict:
            weights.check_fit(net, loaded)
        for difference in weights.differences(net.state_dict(), loaded.state_dict):
            logger.warning('strict_load_g is off: %s', difference)
        own = net.state_dict()
        fitting = {k: v for k, v in loaded.state_dict.items() if k in own and own[k].shape == v.shape}
        net.load_state_dict(fitting, strict=strict)

    # ------------------------------------------------------------------ one step

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch: ``lq`` (B, 3, H, W) and, where there is one, ``gt`` (B, 3, H · scale, W · scale)."""
        self.lq = data['lq'].to(self.device, memory_format=self._memory_format, non_blocking=True)
        if 'gt' in data:
            self.gt = data['gt'].to(self.device, memory_format=self._memory_format, non_blocking=True)
        self._paths = data.get('gt_path', data.get('lq_path', []))

    def optimize_parameters(self, current_iter: int) -> None:
        """Do one step. The dropout mask depends on ``manual_seed``, iteration and rank alone."""
        torch.manual_seed(_step_seed(self.opt.get('manual_seed') or 0, current_iter, self.opt['rank']))
        self.optimizer_g.zero_grad()
        with self._autocast():
            self.output = self.net_g(self.lq)
        losses = self._losses(self.output.float())
        sum(losses.values()).backward()
        self.optimizer_g.step()
        self._guard.add(losses, current_iter, self._paths)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def _losses(self, output: torch.Tensor) -> dict[str, torch.Tensor]:
        losses = {}
        if self.cri_pix:
            losses['l_pix'] = self.cri_pix(output, self.gt)
        if self.cri_perceptual:
            losses['l_percep'], losses['l_style'] = self.cri_perceptual(output, self.gt)
        return {name: loss for name, loss in losses.items() if loss is not None}

    def _autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, torch.bfloat16) if self.opt.get('amp') else nullcontext()

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
        """Restore ``lq`` in float32, with EMA weights where there are any; pads for networks with a ``window_size``."""
        net = getattr(self, 'net_g_ema', self.net_g)
        training = net.training
        net.eval()
        lq, scale = self.lq, self.opt.get('scale', 1)
        height, width = lq.shape[-2:]
        network = self.opt['network_g']
        window = network.get('base', network).get('window_size', 1)
        lq = F.pad(lq, (0, -width % window, 0, -height % window), mode='reflect' if window > 1 else 'constant')
        self.output = self.get_bare_model(net)(lq)[..., :height * scale, :width * scale]
        net.train(training)

    def validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False) -> None:
        """Measure the network on one set; after the last set of a round, log the table and write it as CSV."""
        if self.is_train:
            self._guard.check()
        self._validation.run(self, dataloader.dataset, current_iter, tb_logger, save_img)

    # ------------------------------------------------------------------ saving

    def save(self, epoch: int, current_iter: int) -> None:
        """Save weights and training state, unless a loss was not finite."""
        self._guard.check()
        super().save(epoch, current_iter)

    @master_only
    def save_network(self, net: Any, net_label: str, current_iter: int, param_key: Any = 'params') -> None:
        """Write ``models/{net_label}_{current_iter}.pth``: weights, and ``network_g``, so that it says what it is."""
        nets, keys = ([net], [param_key]) if not isinstance(net, list) else (net, param_key)
        content: dict[str, Any] = {'network_g': dict(self.opt['network_g'])}
        for key, one in zip(keys, nets):
            state = self.get_bare_model(one).state_dict()
            content[key] = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        label = 'latest' if current_iter == -1 else current_iter
        self._write(content, Path(self.opt['path']['models'], f'{net_label}_{label}.pth'))

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write ``training_states/{current_iter}.state``, from which a run continues."""
        if current_iter == -1:
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
        }
        self._write(state, Path(self.opt['path']['training_states'], f'{current_iter}.state'))

    def resume_training(self, resume_state: Mapping[str, Any]) -> None:
        """Reload optimisers and schedulers. What the option file says of a scheduler is the option file's to say."""
        section = self.opt['train']['scheduler']
        schedulers = [{k: v for k, v in state.items() if k not in section and k != 'cumulative_period'}
                      for state in resume_state['schedulers']]
        super().resume_training({**resume_state, 'schedulers': schedulers})

    @staticmethod
    def _write(content: Any, path: Path) -> None:
        try:
            weights.save(content, path)
        except OSError as error:
            raise RunError(f'{path}: cannot be written ({error.strerror}); earlier checkpoints are whole. Make room '
                           'and continue with --auto_resume') from error


def _step_seed(seed: int, iteration: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, iteration, rank]).generate_state(1, np.uint64)[0] >> 1)
