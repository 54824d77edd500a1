"""Which of the state dicts in a weights file is the network's: the file may hold several, and much beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from reflash_sr.errors import UserError
from reflash_sr.weights.file_formats import KEYS
from reflash_sr.weights.key_names import COUNTERS, unwrapped

BARE = 'bare'
State = dict[str, torch.Tensor]
_MOST_LEVELS = 4
# What files of other projects call the weights of a generator, and a part of a Lightning module that is one.
_AVERAGED = re.compile(r'(?:.+[_-])?ema(?:[_-].+)?', re.IGNORECASE)  # model_ema, ema_model, params-ema, state_dict_ema
_GENERATOR = ('net_g', 'netG', 'generator')
_USUAL = (BARE, 'state_dict', 'model_state_dict', 'model', 'net', 'network', 'weights', 'module', 'online_model', 'G',
          'g')
# What stands beside a generator, and is none.
_COMPANION = re.compile(r'net_?d\w*|discriminator\w*|d|cri_\w+|criteri\w+|loss\w*|\w+_loss\w*|vgg\w*|lpips\w*|'
                        r'percep\w*|optim\w*|sched\w*|lr_sched\w*|metrics?|\w+_metrics?|psnr\w*|ssim\w*|initted|step',
                        re.IGNORECASE)


def choose(path: str | os.PathLike, content: Mapping[Any, Any], keys: Iterable[str] = (),
           named: str | None = None) -> tuple[str, State]:
    """Choose the state dict of a network.

    Args:
        path: The file, for messages.
        content: What the file holds.
        keys: Preferred keys, which need not exist.
        named: Key that must exist if none of ``keys`` does: ``'params'``, ``'state_dict'``, ``'state_dict.net_g'``, …,
            or ``'bare'``. Default: averaged weights if there are any, else the generator's, else the only ones.

    Returns:
        The key that was taken, with dots between its levels, and the weights by name.

    Raises:
        UserError: There are no weights, none of that name, or several and no name.
    """
    found = dict(_states(content))
    for key in (*keys, named):
        if key in found:
            return str(key), found[str(key)]
    if named is not None and found:
        inside = [name for name in found if name.startswith(f'{named}.')] or \
            [name for name in found if name.endswith(f'.{named}')]
        if not inside:
            raise UserError(f"{path}: has no '{named}' weights, only {_listed(found)}")
        found = {name: found[name] for name in inside}
    ranks = {name: rank for name, state in found.items() if (rank := _rank(name, state)) is not None}
    best = [name for name, rank in ranks.items() if rank == min(ranks.values())]
    if not best:
        raise UserError(_nothing(path, content))
    if len(best) > 1:
        raise UserError(f'{path}: holds the weights of several networks: {_listed(best)}; say which one, with '
                        'param_key_g in an option file or --param_key on the command line')
    return best[0], found[best[0]]


def _states(content: Mapping[Any, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[str, State]]:
    """Yield every dict of tensors in nested dicts, and every part of one that is a module of its own."""
    state = {str(name): value for name, value in content.items()
             if isinstance(value, torch.Tensor) and str(name).split('.')[-1] not in COUNTERS}
    if state:
        key = '.'.join(place) or BARE
        parts = {} if place and place[-1] in KEYS else _modules(state)  # BasicSR writes each network on its own
        yield from ((f'{key}.{name}', part) for name, part in parts.items())
        if not parts:
            yield key, state
    for name, value in content.items() if len(place) < _MOST_LEVELS else ():
        if isinstance(value, Mapping):
            yield from _states(value, (*place, str(name)))


def _modules(state: State) -> dict[str, State]:
    """Split the state dict of a training module, which holds a generator beside losses and others; {} if it is none."""
    names = unwrapped([*state])
    parts: dict[str, State] = {}
    for name, value in zip(names, state.values()):
        first, _, rest = name.partition('.')
        parts.setdefault(first, {})[rest] = value
    sure = [name for name in parts if _AVERAGED.fullmatch(name) or name in _GENERATOR]
    likely = [name for name in parts if name in _USUAL]
    others = [name for name in parts if name not in (*sure, *likely) and not _COMPANION.fullmatch(name)]
    is_module = len(parts) > 1 and (sure or (likely and not others)) and len({*names}) == len(names)
    return {name: part for name, part in parts.items() if '' not in part} if is_module else {}


def _rank(key: str, state: State) -> int | None:
    """Place of a key in the order of choice; None if it is not the weights of a generator."""
    levels = key.split('.')
    if any(map(_COMPANION.fullmatch, levels)):
        return None
    averaged, trained = KEYS
    if levels[-1] == averaged:
        return 0
    if levels[-1] != trained and key != BARE and not any('.' in name for name in state):  # such as of an optimiser
        return None
    if _AVERAGED.fullmatch(levels[-1]):
        return 1  # neosr writes 'params-ema' beside 'params'
    return next((rank for rank, names in enumerate(((trained,), _GENERATOR, _USUAL), 2) if levels[-1] in names), 5)


def _nothing(path: str | os.PathLike, content: Mapping[Any, Any]) -> str:
    if 'optimizers' in content and 'iter' in content:
        return f'{path}: is a training state, without weights; name the net_g file of the same iteration in models/'
    return (f'{path}: no weights found: neither {" nor ".join(KEYS)} nor a state dict; it holds '
            f'{", ".join(str(name)[:40] for name in [*content][:6]) or "nothing"}')


def _listed(names: Iterable[str]) -> str:
    quoted = [f"'{name[:60]}'" for name in names]
    return ', '.join(quoted[:8]) + (f' and {len(quoted) - 8} more' if len(quoted) > 8 else '')
