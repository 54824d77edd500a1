"""The losses of a training step: of the images, and of features (:mod:`reflash_sr.models.align_loss`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from reflash_sr.analysis.features import check_features, find_layer
from reflash_sr.errors import UserError
from reflash_sr.options.registry import registered


class Alignment(NamedTuple):
    """A loss on the features of a layer."""

    loss: Callable[[torch.Tensor], torch.Tensor]
    layer: str
    module: nn.Module  # at whose input or output the features are
    side: str


def alignment(train: Mapping[str, Any], net: nn.Module) -> Alignment | None:
    """The loss of ``train: align_opt``, if there is one. Raises ``UserError`` if it has no layer of this network."""
    section = dict(train.get('align_opt') or {})
    if not section:
        return None
    # Not BasicSR's build_loss, which would configure the logger before the log file is known.
    loss = registered(LOSS_REGISTRY, section.pop('type', None), 'type')(**section)
    if not hasattr(loss, 'layer'):
        raise UserError(f'type: {type(loss).__name__} is not a loss of features; write AlignLoss')
    site = find_layer(net, loss.layer)  # once: in a network of another project, it has to be looked for
    return Alignment(loss, loss.layer, net.get_submodule(site.module), site.side)


def run_network(net: Callable[[torch.Tensor], torch.Tensor], lq: torch.Tensor,
                aligned: Alignment | None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The output of a network, and the loss of its features, if there is one."""
    if aligned is None:
        return net(lq), {}
    loss, layer, module, side = aligned
    found: list[torch.Tensor] = []

    def see(_: nn.Module, args: tuple, *output: object) -> None:
        """At once, since the network may change features in place; copies would take a tenth of the step."""
        if not found:
            found.append(loss(check_features(layer, module, output[0] if output else args[0], side)))

    register = module.register_forward_pre_hook if side == 'input' else module.register_forward_hook
    with register(see):
        output = net(lq)
    if not found:
        raise UserError(f'layer: {layer}: the network does not run it; choose another layer')
    return output, {'l_align': found[0]}


def image_losses(model: Any, output: torch.Tensor, gt: torch.Tensor, parts: int) -> dict[str, torch.Tensor]:
    """The pixel loss and the perceptual loss of a model for one of ``parts`` equal parts of a batch."""
    losses = {}
    if model.cri_pix:
        summed = model.opt['train']['pixel_opt'].get('reduction') == 'sum'
        losses['l_pix'] = model.cri_pix(output, gt) / (1 if summed else parts)
    if model.cri_perceptual:
        perceptual = zip(('l_percep', 'l_style'), model.cri_perceptual(output, gt))
        losses.update({name: loss / parts for name, loss in perceptual if loss is not None})
    return losses
