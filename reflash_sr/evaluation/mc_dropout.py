"""Monte-Carlo dropout: dropout stays on at test time; mean and standard deviation of several passes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from reflash_sr.dropout import DropoutHook, FeatureDropout
from reflash_sr.errors import UserError
from reflash_sr.evaluation.tiled_inference import Restorer
from reflash_sr.system.devices import keep_rng

_LAYERS = (FeatureDropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def has_dropout(net: nn.Module) -> bool:
    """Whether a network has dropout with p > 0, from this package or PyTorch. Stochastic depth does not count."""
    return bool(_hooks(net)) or any(isinstance(module, _LAYERS) and module.p > 0 for module in net.modules())


def mc_dropout(restorer: Restorer, lq: torch.Tensor, passes: int, seed: int = 0,
               name: str = '') -> tuple[torch.Tensor, torch.Tensor]:
    """Restore an image several times with dropout on.

    The masks depend only on ``seed``, ``name`` and the number of the pass. All tiles of a pass have the same masks, so
    that channel dropout leaves no seams. PyTorch's random state and the network are restored afterwards.

    Args:
        lq: RGB or RGBA, (1, C, H, W) in [0, 1], as for the restorer.
        passes: Number of passes, at least 2.
        seed: Seed of the masks.
        name: Name of the image.

    Returns:
        The mean of the clipped results, (1, C, H · scale, W · scale) in [0, 1], and their standard deviation (n - 1),
        (H · scale, W · scale) in [0, 0.71], root mean square over R, G and B. Both float32, on the device.

    Raises:
        UserError: Fewer than 2 passes, or a result that is not finite.
    """
    if passes < 2:
        raise UserError(f'--mc: {passes} passes have no standard deviation; write 2 or more')
    mean, squares = (torch.zeros((), device=restorer.device) for _ in range(2))
    with _forked_rng(restorer.device), dropout_on(restorer.net):
        for number in range(passes):
            with _seeded(restorer.net, restorer.device, _seed(seed, name, number)):
                sr = restorer(lq)
            if not sr.isfinite().all():
                raise UserError('the network gave values that are not finite; do not use --amp, or check the weights')
            sr = sr.clamp(0, 1)
            difference = sr - mean  # Welford's algorithm: no cancellation for any number of passes
            mean = mean + difference / (number + 1)
            squares = squares + difference * (sr - mean)
    return mean.clamp(0, 1), (squares / (passes - 1))[:, :3].mean(1)[0].clamp(min=0).sqrt()


@contextlib.contextmanager
def dropout_on(net: nn.Module) -> Iterator[None]:
    """Put a network into eval mode except for its dropout; restored at the end.

    BatchNorm keeps its statistics, and stochastic depth (DropPath) stays off. Modules with a dropout hook of this
    package also stay in eval mode; a second hook applies the dropout.
    """
    modes = [(module, module.training) for module in net.modules()]
    handles: list[RemovableHandle] = []
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
def _forked_rng(device: torch.device) -> Iterator[None]:
    """Restore PyTorch's random state of the CPU and of a device at the end."""
    mps = torch.mps.get_rng_state() if device.type == 'mps' else None
    try:
        with keep_rng(device):
            yield
    finally:
        if mps is not None:
            torch.mps.set_rng_state(mps)


def _hooks(net: nn.Module) -> list[tuple[nn.Module, DropoutHook, bool]]:
    """Dropout hooks with p > 0: the module, the hook, and whether the hook acts on the module's input."""
    return [(module, hook, before) for module in net.modules()
            for before, hooks in ((True, module._forward_pre_hooks), (False, module._forward_hooks))
            for hook in hooks.values() if isinstance(hook, DropoutHook) and hook.p > 0]


def _always(hook: DropoutHook) -> Callable[..., object]:
    """A hook that drops as ``hook`` does in training mode."""
    trains = nn.Identity().train()
    return lambda module, *given: hook(trains, *given)


@contextlib.contextmanager
def _seeded(net: nn.Module, device: torch.device, seed: int) -> Iterator[None]:
    """Seed before every forward pass, so that the number of tiles and memory estimates do not change the masks."""

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
