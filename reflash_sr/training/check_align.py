"""Checks of what needs two views of every image: ``second_lq`` of the training set, and ``train: align_opt``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY
from torch import nn

from reflash_sr.errors import UserError
from reflash_sr.models import ReflashSRModel
from reflash_sr.models.training_losses import alignment, run_network
from reflash_sr.options.registry import registered
from reflash_sr.system.devices import keep_rng
from reflash_sr.training.attempt import attempt

WHERE = 'train: align_opt'


def check_views(opt: Mapping[str, Any], sample: Any) -> None:
    """Raise ``UserError`` if a second view is needed and not there, or there and not read."""
    has_two = isinstance(sample, Mapping) and 'lq_2' in sample
    if opt['train'].get('align_opt') and not has_two:
        raise UserError(f'{WHERE}: needs a second LQ of every image; write second_lq: true under datasets: train '
                        '(RealDegradationDataset)')
    if has_two and not issubclass(registered(MODEL_REGISTRY, opt['model_type'], 'model_type'), ReflashSRModel):
        raise UserError(f"datasets: train: second_lq: {opt['model_type']} does not read the second LQ; write "
                        'model_type: ReflashSRModel, or remove second_lq')


def check_align(opt: Mapping[str, Any], net: nn.Module, lq: torch.Tensor) -> None:
    """Run the loss once on ``lq``, (2, C, H, W).

    Raises:
        UserError: It cannot be built, the network has no such layer, or it does not go with other keys.
    """
    section = opt['train'].get('align_opt')
    if not section:
        return
    for key, value in (('accumulate', opt['train'].get('accumulate', 1) > 1), ('compile', opt.get('compile'))):
        if value:
            why = 'the statistics are those of the whole batch' if key == 'accumulate' else 'the layer is not seen then'
            raise UserError(f'{WHERE}: is not possible with {key}: {why}; remove one of them')
    cls = registered(LOSS_REGISTRY, section['type'], f'{WHERE}: type')
    with keep_rng(), torch.no_grad():
        attempt(WHERE, cls, run_network, net, lq, attempt(WHERE, cls, alignment, opt['train'], net))
