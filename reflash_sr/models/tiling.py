"""Images of any size in validation and test: whole, or in tiles as the tools use them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils import get_root_logger

from reflash_sr.evaluation.tiled_inference import OVERLAP, Restorer
from reflash_sr.weights.network_from_file import size_multiple


class Tiling:
    """Restores images with a network that is being trained or tested.

    Args:
        opt: The run's options. ``val: tile`` is the side of a tile, px of the LQ image (``~``, the default: tiles only
            if the whole image does not fit into memory; 0: never), ``val: tile_overlap`` the context around it.
            ``val: amp: bf16`` is faster on GPUs; what it changes in the first image is logged.
        memory_format: Of the network's weights, which are not changed.
    """

    def __init__(self, opt: Mapping[str, Any], memory_format: torch.memory_format):
        self.opt = opt
        self.memory_format = memory_format
        self._restorer: Restorer | None = None
        self._was_told = self._was_compared = False

    def restore(self, net: torch.nn.Module, lq: torch.Tensor) -> torch.Tensor:
        """Restore (1, C, H, W) in [0, 1]; returns (1, C, H · scale, W · scale) float32, not clipped."""
        if self._restorer is None or self._restorer.net is not net or self._restorer.channels != lq.shape[1]:
            val = self.opt.get('val') or {}
            self._restorer = Restorer(net, self.opt.get('scale', 1), size_multiple(self.opt['network_g']), lq.device,
                                      bool(val.get('amp')), val.get('tile'), val.get('tile_overlap', OVERLAP),
                                      lq.shape[1], self.memory_format)
            if val.get('amp') and not self._was_compared:
                self._was_compared = True
                get_root_logger().info('val: amp: bf16: the first image differs from float32 by %.3f grey levels of '
                                       '255 (root mean square)', self._restorer.error_of_amp(lq))
        sr = self._restorer(lq)
        if self._restorer.forced_tile and not self._was_told:
            self._was_told = True
            get_root_logger().warning(
                'An image of %d×%d px does not fit into memory, so it is restored in tiles of %d px. If the receptive '
                'field is larger than val: tile_overlap, %d px, numbers differ slightly from those of whole images',
                lq.shape[3], lq.shape[2], self._restorer.forced_tile, self._restorer.overlap)
        return sr
