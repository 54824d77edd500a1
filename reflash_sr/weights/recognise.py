"""What network a weights file holds, when it does not say: found by the names and shapes of its weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from reflash_sr.errors import UserError
from reflash_sr.weights import spandrel_networks
from reflash_sr.weights.key_names import other_layout
from reflash_sr.weights.state_dict import Weights

Section = dict[str, Any]
Shapes = Mapping[str, tuple[int, ...]]


def recognise(loaded: Weights, fits: Callable[[Section, Weights], bool]) -> tuple[Section, Weights]:
    """Infer the options of a network: one of BasicSR's (:data:`FAMILIES`) of any size, else one that spandrel knows.

    Args:
        loaded: The weights.
        fits: Whether the weights fit the network with these options.

    Returns:
        ``network_g``, and the weights by the names that this network gives them.

    Raises:
        UserError: The network is not known.
    """
    shapes = {name: tuple(value.shape) for name, value in loaded.state_dict.items()}
    try:
        other = other_layout(shapes)  # a network of a family below, but not as BasicSR has it
        section = None if other else next(filter(None, (options_of(shapes) for options_of in FAMILIES.values())), None)
    except UserError as error:
        raise UserError(f'{loaded.path}: {error}') from error
    if section is not None and (fits(section, loaded) or not spandrel_networks.available()):
        return section, loaded
    known = spandrel_networks.recognise(loaded) if spandrel_networks.available() else None
    if known is not None:
        return known
    if section is not None:
        return section, loaded  # what does not fit is said when the weights are loaded
    others = ('spandrel does not know it' if spandrel_networks.available() else
              f'networks of other projects need {spandrel_networks.INSTALL}')
    if other:
        raise UserError(f'{loaded.path}: {other}; {others}')
    raise UserError(f"{loaded.path}: does not say what network it holds, and is none of {', '.join(FAMILIES)}; "
                    f'{others}; give its option file with --opt, or its class with --arch')


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
