"""The update of the weights: the optimiser, its settings in a continued run, and the average (EMA)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from basicsr.utils import get_root_logger

from reflash_sr.errors import UserError, suggest

# Entries of a parameter group: those that a scheduler adds, and those that it changes in every step if it has added
# a momentum.
OF_SCHEDULERS = ('initial_lr', 'max_lr', 'min_lr', 'max_momentum', 'base_momentum')
CYCLED = ('momentum', 'betas')
# Optimisers of which PyTorch has a fused version, and the devices of their weights.
FUSED = {'Adam': {'cpu', 'cuda'}, 'AdamW': {'cpu', 'cuda'}, 'SGD': {'cpu', 'cuda'}, 'Adagrad': {'cpu'}}
KERNELS = ('fused', 'foreach', 'capturable', 'differentiable')  # settings that say how a step is computed


def build_optimiser(kind: str, params: Iterable[Any], **settings: Any) -> torch.optim.Optimizer:
    """Build an optimiser of ``torch.optim``; fused, if there is such a version and ``settings`` do not say how.

    Fused, all weights are updated in one pass over memory; PyTorch's default takes about ten.

    Raises:
        UserError: There is no such optimiser.
    """
    known: list[str] = [name for name in dir(torch.optim) if name[0].isupper() and name != 'Optimizer']
    if kind not in known:
        raise UserError(f"train: optim_g: type: '{kind}' is not known{suggest(kind, known)}")
    build, params = getattr(torch.optim, kind), list(params)
    weights = [weight for one in params for weight in (one['params'] if isinstance(one, dict) else [one])]
    devices = {weight.device.type for weight in weights}
    # PyTorch finds only in the first step that there is no such version.
    if devices <= FUSED.get(kind, set()) and not set(KERNELS) & set(settings):
        with contextlib.suppress(RuntimeError):  # an older PyTorch, or other numbers than floats
            return build([dict(one) if isinstance(one, dict) else one for one in params], fused=True, **settings)
    return build(params, **settings)


def with_kernels(state: Mapping[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """A saved state, to be continued in the way in which ``optimiser`` computes, not in that of the saved run.

    Raises:
        UserError: It is of an optimiser with another number of parameter groups.
    """
    found, wanted = len(state['param_groups']), len(optimiser.param_groups)
    if found != wanted:
        raise UserError(f'the training state has {found} parameter groups, and this optimiser {wanted}; continue with '
                        'the model that wrote it, or start from its weights (path: pretrain_network_g)')
    groups = [{**saved, **{key: group[key] for key in KERNELS if key in group}}
              for saved, group in zip(state['param_groups'], optimiser.param_groups)]
    return {**state, 'param_groups': groups}


class Average:
    """An averaged network (EMA) and the trained one that it follows.

    The weights are looked up once: networks have hundreds of modules, and whatever changes weights keeps the tensors.
    """

    def __init__(self, averaged: torch.nn.Module, trained: torch.nn.Module):
        self._weights = [list(net.parameters()) for net in (averaged, trained)]
        self._nets = (averaged, trained) if any(True for _ in trained.buffers()) else ()

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Move all weights at once; ``decay`` remains of what they were. Buffers, as of BatchNorm, are copied."""
        averaged, trained = self._weights
        torch.optim.swa_utils.get_ema_multi_avg_fn(decay)(averaged, trained, None)
        for kept, fresh in zip(*(net.buffers() for net in self._nets)):
            kept.copy_(fresh)


def follow_file(optimiser: torch.optim.Optimizer, section: Mapping[str, Any],
                as_in_file: Sequence[Mapping[str, Any]]) -> None:
    """Give a reloaded optimiser the settings of the option file, and log what has changed.

    The present learning rate is the scheduler's (:func:`reflash_sr.models.schedulers.follow_schedule`).

    Args:
        optimiser: Optimiser with the state of the continued run.
        section: ``train: optim_g`` of the option file: ``type``, ``lr`` and further settings.
        as_in_file: Parameter groups of the optimiser as the option file builds them, before the state was loaded.
    """
    logger = get_root_logger()
    for group, fresh in zip(optimiser.param_groups, as_in_file):
        cycled = CYCLED if 'max_momentum' in fresh else ()
        for key in dict.fromkeys([*section, *OF_SCHEDULERS, *CYCLED]):
            value, before = _plain(fresh.get(key)), _plain(group.get(key))
            if key not in fresh or key == 'lr' or key in cycled or before == value:
                continue
            name = key.removeprefix('initial_')
            logger.warning('train: optim_g: %s: %s from here on; it was %s.', name, value, before)
            group[key] = value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value  # YAML has lists, torch's defaults are tuples
