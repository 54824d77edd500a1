"""Monte-Carlo dropout: dropout left on at test time; the mean of several passes, and how far they are apart."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator

import torch
from torch import nn

from reflash_sr.dropout import DropoutHook, FeatureDropout
from reflash_sr.errors import UserError
from reflash_sr.evaluation.inference import Restorer
from reflash_sr.system.devices import keep_rng

_LAYERS = (FeatureDropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def has_dropout(net: nn.Module) -> bool:
    """Whether a network has dropout with p > 0: ours, or PyTorch's layers. Stochastic depth does not count."""
    return bool(_hooks(net)) or any(isinstance(module, _LAYERS) and module.p > 0 for module in net.modules())


def mc_dropout(restorer: Restorer, lq: torch.Tensor, passes: int, seed: int = 0,
               name: str = '') -> tuple[torch.Tensor, torch.Tensor]:
    """Restore an image several times with dropout on.

    The masks depend on ``seed``, ``name`` and the number of the pass alone. All tiles of a pass have the masks of its
    first: channel dropout leaves no seams. PyTorch's random numbers and the network are left as they were found.

    Args:
        restorer: Holds the network.
        lq: (1, 3, H, W) in [0, 1].
        passes: How many, at least 2.
        seed: Of the masks.
        name: Of the image.

    Returns:
        The mean of the passes, (1, 3, H · scale, W · scale) in [0, 1], each clipped before; and their standard
        deviation (n - 1), (H · scale, W · scale) in [0, 0.71]: of the three channels, the root of the mean square.
        Both float32 and on the device.

    Raises:
        UserError: Fewer than 2 passes, or a result that is not finite.
    """
    if passes < 2:
        raise UserError(f'--mc: {passes} passes have no standard deviation; write 2 or more')
    mean = squares = None
    with forked_rng(restorer.device), dropout_on(restorer.net):
        for number in range(passes):
            with _seeded(restorer.net, restorer.device, _seed(seed, name, number)):
                sr = restorer(lq)
            if not sr.isfinite().all():
                raise UserError('the network gave values that are not finite; leave --amp away, or check the weights')
            sr = sr.clamp(0, 1)
            if mean is None:
                mean, squares = sr.clone(), torch.zeros_like(sr)
                continue
            apart = sr - mean  # Welford: no cancellation, whatever the number of passes
            mean += apart / (number + 1)
            squares += apart * (sr - mean)
    return mean.clamp(0, 1), (squares / (passes - 1)).mean(1)[0].clamp(min=0).sqrt()


@contextlib.contextmanager
def dropout_on(net: nn.Module) -> Iterator[None]:
    """Put a network into eval mode but for its dropout; at the end it is as it was.

    BatchNorm keeps its statistics, and stochastic depth (DropPath) stays off. Modules with a hook of ours stay in eval
    mode too: a second hook drops in its place.
    """
    modes = [(module, module.training) for module in net.modules()]
    handles = []
    try:
        net.eval()
        for module, hook, before in _hooks(net):
            register = module.register_forward_pre_hook if before else module.register_forward_hook
            handles.append(register(_always(hook)))
        for module, _ in modes:
            if isinstance(module, _LAYERS):
                module.training = True
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def forked_rng(device: torch.device) -> Iterator[None]:
    """Leave PyTorch's random numbers, of the CPU and of a device, as they were found."""
    mps = torch.mps.get_rng_state() if device.type == 'mps' else None
    try:
        with keep_rng(device):
            yield
    finally:
        if mps is not None:
            torch.mps.set_rng_state(mps)


def _hooks(net: nn.Module) -> list[tuple[nn.Module, DropoutHook, bool]]:
    """Our hooks in a network with p > 0: the module, the hook, and whether it drops in front of the module."""
    return [(module, hook, before) for module in net.modules()
            for before, hooks in ((True, module._forward_pre_hooks), (False, module._forward_hooks))
            for hook in hooks.values() if isinstance(hook, DropoutHook) and hook.p > 0]


def _always(hook: DropoutHook) -> Callable[..., object]:
    """A hook that drops what another would if its module trained."""
    trains = nn.Identity().train()
    return lambda module, *given: hook(trains, *given)


@contextlib.contextmanager
def _seeded(net: nn.Module, device: torch.device, seed: int) -> Iterator[None]:
    """Seed in front of every forward pass: a tile, or an estimate of memory, changes nothing for the next."""

    def start(*_: object) -> None:
        torch.random.default_generator.manual_seed(seed)
        if device.type == 'cuda':
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device.type == 'mps':
            torch.mps.manual_seed(seed)

    handle = net.register_forward_pre_hook(start, prepend=True)
    try:
        yield
    finally:
        handle.remove()


def _seed(seed: int, name: str, number: int) -> int:
    digest = hashlib.sha256(f'{seed}:{number}:{name}'.encode(errors='surrogateescape')).digest()
    return int.from_bytes(digest[:7], 'big')
