"""One set of names for the weights of a network, whatever wrapped it, and whichever layout it was written in.

The same function gives the names in a file and the names of a network one form, so that the two can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# What wraps a whole network: torch's DataParallel and AveragedModel, Lightning modules, training frameworks.
WRAPPERS = ('module.', 'net_g.', 'netG.', 'net_g_ema.', 'netG_ema.', 'generator.', 'generator_ema.', 'g_ema.',
            'ema_model.', 'online_model.', 'model.', 'net.', 'network.')  # yapf: disable
# What torch.compile and FSDP put before any module inside.
_INSIDE = re.compile(r'(?<![^.])(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.')
# No weights of the network: AveragedModel's number of updates, and what thop adds when it counts operations.
COUNTERS = ('n_averaged', 'total_ops', 'total_params')
_AUTHORS_BLOCK = re.compile(r'^body(?P<number>[1-9]\d*)\.0\.(?=conv[12]\.|rdb[123]\.)')

# Old layouts of BasicSR's RRDBNet and MSRResNet: a name that shows the layout, and what becomes of its names. The
# second is that of xinntao/ESRGAN and cszn/BSRGAN, the third that of xinntao/BasicSR before 2020 and of cszn/KAIR.
_OLD = (
    (re.compile(r'recon_trunk\.\d+\.conv1\.weight'), ((r'recon_trunk\.', 'body.'), (r'HRconv\.', 'conv_hr.'))),
    (re.compile(r'RRDB_trunk\.\d+\.RDB1\.conv1\.weight'), (
        (r'RRDB_trunk\.(\d+)\.RDB(\d)\.', r'body.\1.rdb\2.'), (r'trunk_conv\.', 'conv_body.'),
        (r'upconv(\d)\.', r'conv_up\1.'), (r'HRconv\.', 'conv_hr.'))),
    (re.compile(r'model\.1\.sub\.\d+\.RDB1\.conv1(?:\.0)?\.weight'), (
        (r'model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.(?:0\.)?', r'body.\1.rdb\2.conv\3.'),
        (r'model\.1\.sub\.\d+\.(?=weight|bias)', 'conv_body.'), (r'model\.0\.', 'conv_first.'),
        (r'model\.3\.', 'conv_up1.'), (r'model\.6\.', 'conv_up2.'), (r'model\.8\.', 'conv_hr.'),
        (r'model\.10\.', 'conv_last.'))),
)  # yapf: disable
_RRDB_BLOCK = re.compile(r'(?:body|RRDB_trunk|model\.1\.sub)\.\d+\.(?:rdb|RDB)1\.conv1(?:\.0)?\.weight')
_STEP = re.compile(r'(?:conv_up|upconv)\d+\.weight')
_OLDEST_TOP = re.compile(r'model\.(\d+)\.weight')
_OLD_ROOT = re.compile(r'model\.|RRDB_trunk\.|trunk_conv\.|recon_trunk\.')
STEPS = 2  # of upsampling in BasicSR's RRDBNet, each by 2


def plain_names(names: Sequence[str]) -> list[str]:
    """Names without what wrappers leave, in the layout of BasicSR's current networks; in the order given."""
    return translate_keys(unwrapped(names))


def unwrapped(names: Sequence[str]) -> list[str]:
    """Names without the prefixes of wrappers, in any nesting: ``module._orig_mod.net_g.conv.weight`` becomes
    ``conv.weight``.

    A prefix goes if all names have it, and if what remains does not begin with a number, as in the oldest layout of
    ESRGAN (``model.0.weight``). ``module.`` goes from single names, too, as in BasicSR.
    """
    names = [_INSIDE.sub('', name) for name in names]
    while names and (prefix := next((one for one in WRAPPERS if all(name.startswith(one) for name in names)), None)):
        shorter = [name.removeprefix(prefix) for name in names]
        if any(not name or name[0].isdigit() for name in shorter):
            break
        names = shorter
    return [name.removeprefix('module.') for name in names]


def translate_keys(names: Sequence[str]) -> list[str]:
    """Translate the layout of the paper's authors and the old layouts of ESRGAN, BSRGAN and MSRResNet, in order.

    ``body1.0.conv1.weight``, ``recon_trunk.0.conv1.weight`` become ``body.0.conv1.weight``;
    ``RRDB_trunk.0.RDB1.conv1.weight``, ``model.1.sub.0.RDB1.conv1.0.weight`` become ``body.0.rdb1.conv1.weight``.

    All names stay as they are if any ``body1``, ``body2``, … contains anything but one residual block, or if the
    network of an old layout is not BasicSR's: it has another number of upsampling steps, or more layers.
    """
    table = next((table for sign, table in _OLD if any(map(sign.fullmatch, names))), ())
    if table:
        new = [_substituted(name, table) for name in names]
        is_same = upsampling_steps(names) in (None, STEPS) and not any(map(_OLD_ROOT.match, new))
        return new if is_same else [*names]
    if not all(_AUTHORS_BLOCK.match(name) for name in names if re.match(r'body\d+\.', name)):
        return [*names]
    return [_AUTHORS_BLOCK.sub(lambda match: f"body.{int(match['number']) - 1}.", name) for name in names]


def upsampling_steps(names: Iterable[str]) -> int | None:
    """Number of upsampling steps of a network of RRDBs, in any of its layouts.

    Returns:
        None for other networks; -1 if its layers are not a known sequence.
    """
    names = [*names]
    if not any(map(_RRDB_BLOCK.fullmatch, names)):
        return None
    if not any(name.startswith('model.1.sub.') for name in names):
        return sum(bool(_STEP.fullmatch(name)) for name in names)
    layers = sorted(int(match[1]) for name in names if (match := _OLDEST_TOP.fullmatch(name)))
    steps = len(layers) - 3  # beside the first convolution and the last two
    last = 3 * steps + 2  # a step is an interpolation, a convolution and an activation
    return steps if layers == [0, *range(3, last, 3), last, last + 2] else -1


def other_layout(names: Iterable[str]) -> str:
    """Say why a network of RRDBs, by its plain names, is not BasicSR's ``RRDBNet``; empty if it is, or is no such."""
    names = [*names]
    steps = upsampling_steps(names)
    if steps is None or (steps == STEPS and not any(map(_OLD_ROOT.match, names))):
        return ''
    count = f'{steps} upsampling step{"" if steps == 1 else "s"}'
    what = f"{count}, and BasicSR's RRDBNet always has {STEPS}" if steps not in (-1, STEPS) else \
        "layers that BasicSR's RRDBNet does not have"
    return f'it is an ESRGAN network with {what}'


def _substituted(name: str, table: Iterable[tuple[str, str]]) -> str:
    for pattern, new in table:
        found, count = re.subn(f'^{pattern}', new, name)
        if count:
            return found
    return name
