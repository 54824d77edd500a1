"""BasicSR's networks, of any size: their options by the names and shapes of their weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from reflash_sr.errors import UserError

Section = dict[str, Any]
Shapes = Mapping[str, tuple[int, ...]]


def _msrresnet(shapes: Shapes) -> Section | None:
    if not _are_convolutions(shapes, 'conv_first', 'upconv1', 'conv_last'):
        return None
    found = _sizes(shapes)
    upscale = 4 if 'upconv2.weight' in shapes else 3 if shapes['upconv1.weight'][0] == 9 * found['num_feat'] else 2
    return {'type': 'MSRResNet', **found, 'upscale': upscale}


def _rrdbnet(shapes: Shapes) -> Section | None:
    if not _are_convolutions(shapes, 'conv_first', 'body.0.rdb1.conv1', 'conv_last'):
        return None
    found = _sizes(shapes)
    folded = found['num_in_ch'] // found['num_out_ch']  # below ×4, pixels are folded into channels
    scale = {1: 4, 4: 2, 16: 1}.get(folded, 4)
    return {'type': 'RRDBNet', **found, 'num_in_ch': found['num_out_ch'] if scale < 4 else found['num_in_ch'],
            'num_grow_ch': shapes['body.0.rdb1.conv1.weight'][0], 'scale': scale}


def _srvggnetcompact(shapes: Shapes) -> Section | None:
    """Convolutions with activations between them: body.0, body.2, …; the last has C · upscale² channels."""
    layers = {int(match[1]): len(shape) for name, shape in shapes.items()
              if (match := re.fullmatch(r'body\.(\d+)\.weight', name))}
    last = max(layers, default=0)
    kinds = {(layers.get(place), layers.get(place + 1)) for place in range(0, last, 2)}
    if len(kinds) != 1 or any(not re.fullmatch(r'body\.\d+\.(weight|bias)', name) for name in shapes):
        return None
    [(convolution, activation)] = kinds
    if convolution != 4 or activation not in (1, None) or not _are_convolutions(shapes, 'body.0', f'body.{last}'):
        return None
    num_feat, channels = shapes['body.0.weight'][:2]
    found = {'num_in_ch': channels, 'num_out_ch': channels, 'num_feat': num_feat, 'num_conv': last // 2 - 1,
             'upscale': math.isqrt(shapes[f'body.{last}.weight'][0] // channels)}
    if activation is None:
        words = ','.join(f'{key}={value}' for key, value in found.items())
        raise UserError('holds an SRVGGNetCompact whose activation, relu or leakyrelu, its weights do not tell; '
                        f'give --arch SRVGGNetCompact:{words},act_type=relu')
    return {'type': 'SRVGGNetCompact', **found, 'act_type': 'prelu'}


def _are_convolutions(shapes: Shapes, *names: str) -> bool:
    found = [shapes.get(f'{name}.weight', ()) for name in names]
    return all(len(shape) == 4 and all(shape) for shape in found)


def _sizes(shapes: Shapes) -> Section:
    num_feat, num_in_ch = shapes['conv_first.weight'][:2]
    blocks = [int(name.split('.')[1]) for name in shapes if re.match(r'body\.\d+\.', name)]
    return {'num_in_ch': num_in_ch, 'num_out_ch': shapes['conv_last.weight'][0], 'num_feat': num_feat,
            'num_block': 1 + max(blocks, default=0)}


# BasicSR's classes: their options by the shapes of their weights, or None for another network.
FAMILIES: dict[str, Callable[[Shapes], Section | None]] = {
    'RRDBNet': _rrdbnet, 'MSRResNet': _msrresnet, 'SRVGGNetCompact': _srvggnetcompact}


def other_options(wanted: Shapes, given: Shapes) -> str:
    """Say which network a file holds, or which options it has, if the shapes of its weights tell that.

    Args:
        wanted: Shapes of the network that the weights should fit.
        given: Shapes of the weights.

    Returns:
        Such as ``'its network has num_block: 6'``; empty if its network is not known, or not another one.
    """
    own, held = _known(wanted), _known(given)
    if held is None or held == own:
        return ''
    kind = held.pop('type')
    if own is None or own['type'] != kind:
        return f"it holds {kind} with {', '.join(f'{key}: {value}' for key, value in held.items())}"
    return f"its network has {', '.join(f'{key}: {value}' for key, value in held.items() if value != own[key])}"


def _known(shapes: Shapes) -> Section | None:
    try:
        return next(filter(None, (options_of(shapes) for options_of in FAMILIES.values())), None)
    except UserError:  # an option of it is not in its weights
        return None
