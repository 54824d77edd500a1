"""Channel saliency of a network over images (paper Sec. 6.1, Fig. 6 and 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from tqdm import tqdm

from reflash_sr.analysis.ablation import Ablation, drop
from reflash_sr.analysis.image_pairs import Pair
from reflash_sr.analysis.on_device import CPU, on_device
from reflash_sr.analysis.saliency import Saliency, channel_saliency
from reflash_sr.weights.network_from_file import TrainedNetwork

HINT = 'give a smaller --crop'


def saliency_by_image(network: TrainedNetwork, pairs: Sequence[Pair], layers: Sequence[str], correlate: bool = False,
                      device: torch.device = CPU, amp: bool = False) -> Iterator[dict[str, Saliency]]:
    """Compute the saliency maps of layers, image by image, so that only the maps of one image are in memory.

    Args:
        pairs: Images of sizes that the network accepts.
        layers: As in :func:`reflash_sr.analysis.features.find_layer`.
        correlate: Whether to ablate every channel as well, which fills :attr:`Saliency.drops`.
        amp: Whether to run in bfloat16 mixed precision.

    Yields:
        Saliency by layer, for each image in turn.

    Raises:
        UserError: As for :func:`reflash_sr.analysis.saliency.channel_saliency`.
        RunError: Memory ran out.
    """
    bar = tqdm(total=len(pairs) * len(layers), desc=network.label, disable=None, unit='layer')
    with on_device(network.net, device, amp, HINT), bar:
        for pair in (pair.seen_by(network) for pair in pairs):
            lq = pair.lq.to(device, memory_format=torch.channels_last)
            found = channel_saliency(network.net, lq, layers)
            for layer in layers:
                if correlate:
                    ablation = Ablation(network.net, lq, pair.gt, layer)
                    found[layer] = replace(found[layer], drops=drop(ablation.psnr, ablation.single()))
                bar.update()
            yield found
