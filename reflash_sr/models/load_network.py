"""Loading pretrained weights into the networks of any model of BasicSR."""

from __future__ import annotations

from typing import Any

import torch
from basicsr.utils import get_root_logger

from reflash_sr.weights import state_dict as weights

_SHOWN = 20  # differences in the log


def load_network(model: Any, net: torch.nn.Module, load_path: str, strict: bool = True,
                 param_key: str | None = 'params') -> list[str]:
    """Load weights in any layout that :mod:`reflash_sr.weights` reads, and log which of the file were taken.

    Stands in for ``load_network`` of BasicSR's models, with its arguments.

    Args:
        model: The model; ``model.opt['path']`` says whether a key was named.
        net: The network, wrapped or not.
        load_path: The weights file.
        strict: All weights must fit; else those that do are loaded.
        param_key: The preferred key of the file.

    Returns:
        The names of the network's tensors that were not loaded; none if ``strict``.

    Raises:
        UserError: The file cannot be used, or the weights do not fit; if not ``strict``, none of them fits.
    """
    net, logger, section = model.get_bare_model(net), get_root_logger(), model.opt['path']
    label = next((key.removeprefix('pretrain_network_') for key, value in section.items()
                  if key.startswith('pretrain_network_') and value == load_path), None)
    loaded = weights.load_weights(load_path, param_key) if label is None else \
        weights.load_pretrained(section, label, param_key)
    found, missing = weights.load_into(net, loaded, strict)
    logger.info('Loading %s from %s, key [%s].', type(net).__name__, loaded.path, loaded.key)
    if not strict:
        logger.warning('strict_load_%s: false: %d of %d tensors loaded.', label or 'g', len(found),
                       len(found) + len(missing))
        differences = weights.unlike(net, loaded)
        for difference in differences[:_SHOWN]:
            logger.warning('strict_load_%s: false: %s', label or 'g', difference)
        if len(differences) > _SHOWN:
            logger.warning('strict_load_%s: false: and %d more.', label or 'g', len(differences) - _SHOWN)
    return missing
