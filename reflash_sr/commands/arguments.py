"""Shared command-line arguments: networks, device, folder for the results."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import torch

from reflash_sr.commands.network_names import short_names
from reflash_sr.errors import UserError
from reflash_sr.options import option_file as options
from reflash_sr.system import processes
from reflash_sr.system.devices import NAMES, allow_tf32, bf16_warning, keep_freed_memory, select_device
from reflash_sr.weights.network_from_file import TrainedNetwork, build_network, open_network
from reflash_sr.weights.state_dict import Weights, load_into

KEYS: dict[str, tuple[str | None, ...]] = {'auto': (None,), 'both': ('params', 'params_ema')}


def add_network_arguments(parser: argparse.ArgumentParser, several: bool = True) -> None:
    """Add ``--weights --labels --opt --arch --param_key``; for a single network, without ``--labels``."""
    count = '+' if several else 1
    group = parser.add_argument_group('networks' if several else 'network')
    group.add_argument('--weights', nargs=count, required=True, metavar='FILE',
                       help='weights files' if several else 'weights file')
    if several:
        group.add_argument('--labels', nargs='+', metavar='TEXT',
                           help='names of the networks in the results (default: p = 0, p = 0.7, … if they differ in '
                           'dropout alone; else the name of the experiment or the file)')
    group.add_argument('--opt', nargs=count, metavar='FILE',
                       help='option file that describes the network of the weights' +
                       (': one for all weights files without a description, or one for each file' if several else ''))
    group.add_argument('--arch', nargs=count, metavar='CLASS[:KEY=VALUE,…]',
                       help='instead of --opt: the class and its arguments, as in MSRResNet:num_feat=32,num_block=8; '
                       'not needed for networks that are recognised: MSRResNet, RRDBNet, SRVGGNetCompact, and with '
                       'spandrel those that it knows' +
                       ('' if several else '; WithDropout:dropout_p=0.5 puts dropout into any network'))
    group.add_argument('--param_key', default='auto', metavar='KEY',
                       help='key of the weights in a file: params, params_ema, state_dict, … (default: auto, averaged '
                       'weights if there are any' + ('; both: params, params_ema as two networks)' if several else ')'))


def add_run_arguments(parser: argparse.ArgumentParser, amp: bool = True) -> None:
    """Add ``--out --overwrite --device --amp --seed``."""
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the results, used by this run only')
    parser.add_argument('--overwrite', action='store_true',
                        help='rename an existing folder to DIR_archived_TIME')
    add_device_arguments(parser, amp)
    parser.add_argument('--seed', type=count, default=0, metavar='N', help='seed of all random numbers (default: 0)')


def add_device_arguments(parser: argparse.ArgumentParser, amp: bool = True) -> None:
    """Add ``--device --allow_tf32 --amp``."""
    parser.add_argument('--device', choices=NAMES, default='auto', help='default: a GPU if there is one')
    parser.add_argument('--allow_tf32', action='store_true',
                        help='on a GPU: faster convolutions of 10 instead of 23 bits; default: exact float32')
    if amp:
        parser.add_argument('--amp', choices=['bf16'],
                            help='mixed precision; faster on GPUs and on CPUs with bfloat16 instructions')


def open_networks(args: argparse.Namespace) -> list[TrainedNetwork]:
    """Open the networks selected by the arguments; labels are unique.

    A single ``--opt`` or ``--arch`` is used for all files that do not describe their network. One for each file
    overrides the description in the file, as in :func:`open_network_of`.

    Raises:
        UserError: As for :func:`reflash_sr.weights.network_from_file.open_network`, or a wrong number of labels or
            descriptions.
    """
    described = _descriptions(args)
    one_each = len(args.opt or args.arch or ()) == len(args.weights)
    if args.labels and len(args.labels) != len(args.weights):
        raise UserError(f'--labels: {len(args.labels)} for {len(args.weights)} weights files; give one for each file')
    if args.labels and not all(label.isprintable() and label.strip() for label in args.labels):
        raise UserError('--labels: a label is empty or has characters that cannot be printed')
    if args.labels and len(set(args.labels)) < len(args.labels):
        raise UserError('--labels: a label occurs twice; give each network its own')
    found = []
    for place, path in enumerate(args.weights):
        for key in KEYS.get(args.param_key, (args.param_key,)):
            network = (_open_as if one_each else open_network)(path, key, described[place])
            label = args.labels[place] if args.labels else network.label
            found.append(replace(network, label=f'{label} [{key}]' if args.param_key == 'both' else label))
    labels = (None if args.labels else short_names(found)) or _unique(
        [network.label for network in found], [str(network.trained.get('iter') or network.key) for network in found])
    return [replace(network, label=label) for network, label in zip(found, labels)]


def open_network_of(args: argparse.Namespace) -> TrainedNetwork:
    """Open the single network selected by the arguments (``several=False``).

    ``--opt`` or ``--arch`` overrides the description in the file, so dropout can differ from that in training.
    ``WithDropout`` without a ``base`` wraps the network of the file.

    Raises:
        UserError: As for :func:`reflash_sr.weights.network_from_file.open_network`.
    """
    if args.param_key == 'both':
        raise UserError('--param_key: both is for tools that compare networks; name one key')
    [path], [described] = args.weights, _descriptions(args)
    [key] = KEYS.get(args.param_key, (args.param_key,))
    return _open_as(path, key, described)


def _open_as(path: str, key: str | None, described: Mapping[str, Any] | None) -> TrainedNetwork:
    """Open a network; its description, if given, overrides that of the file."""
    if described is None:
        return open_network(path, key)
    try:
        network = open_network(path, key)
    except UserError:  # the file has no description, and its network is not recognised
        if described['type'] == 'WithDropout' and 'base' not in described:
            raise  # there is no other description
        return open_network(path, key, described)
    if network.network_g['type'] == 'SpandrelNetwork' and described['type'] != 'SpandrelNetwork' and (
            described['type'] != 'WithDropout' or 'base' in described):
        return open_network(path, key, described)  # another class for the same weights, by the names in the file
    wanted, found = (str(section['type']).removeprefix('Dropout') for section in (described, network.network_g))
    own = network.network_g
    if described['type'] == wanted:  # the class without dropout
        own = {key: value for key, value in own.items() if not key.startswith('dropout_')}
    section = {**own, **described} if wanted == found else dict(described)
    if wanted == 'WithDropout' != found:
        without = {'dropout_p': 0} if network.dropout_p else {}  # the new dropout replaces the old one
        section = {'base': {**network.network_g, **without}, **described}
    if section == network.network_g:
        return network
    net = build_network(section)
    load_into(net, Weights(str(path), network.key, network.net.state_dict(), section))
    net.eval().requires_grad_(False)
    return replace(network, net=net, network_g=section)


def add_launcher_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``."""
    parser.add_argument('--launcher', choices=processes.LAUNCHERS, default='none',
                        help='how several processes were started (default: none)')


@contextlib.contextmanager
def launched(args: argparse.Namespace, script: str) -> Iterator[None]:
    """Join the processes that ``--launcher`` has started, and leave them at the end."""
    processes.start(args.launcher, command=script, cuda=args.device in ('auto', 'cuda'))
    try:
        with processes.named_losses('repeat the command to continue'):
            yield
    except BaseException:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # without waiting for the others, which the launcher stops
        raise
    processes.stop()


def count(text: str) -> int:
    """Type of an integer argument, 0 or above."""
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number, 0 or above")
    return int(text)


def pairs_of(entries: Sequence[str], labels: Set[str], option: str) -> dict[str, str]:
    """Parse ``A=B`` entries, split where both sides are labels (which may contain ``=``); raises ``UserError``."""
    found: dict[str, str] = {}
    for entry in entries:
        splits = [(entry[:place], entry[place + 1:]) for place, letter in enumerate(entry) if letter == '=']
        left, right = next((one for one in splits if labels >= set(one)), splits[0] if splits else ('', ''))
        if not (left and right) or left == right:
            raise UserError(f"{option}: '{entry}' must be LABEL=LABEL, two different labels")
        if left in found:
            raise UserError(f"{option}: '{left}' occurs twice; give it one baseline")
        found[left] = right
    return found


def open_device(args: argparse.Namespace) -> torch.device:
    """Choose the device. On a CPU, the process keeps freed memory, which is faster; on a GPU, float32 is exact."""
    device = select_device({'device': args.device, 'dist': torch.distributed.is_initialized()})
    allow_tf32(args.allow_tf32)
    if device.type == 'cpu':
        keep_freed_memory()
    warning = bf16_warning(device) if getattr(args, 'amp', None) else None
    if warning:
        print(f'warning: --amp bf16: {warning}', file=sys.stderr)
    return device


def _descriptions(args: argparse.Namespace) -> list[Mapping[str, Any] | None]:
    """One ``network_g`` for each weights file, or None."""
    if args.opt and args.arch:
        raise UserError('--opt, --arch: give only one of them')
    given: list[Mapping[str, Any] | None] = [*map(_from_file, args.opt or ()), *map(_from_text, args.arch or ())]
    if len(given) > 1 and len(given) != len(args.weights):
        raise UserError(f"--{'opt' if args.opt else 'arch'}: {len(given)} for {len(args.weights)} weights files; "
                        'give one for all, or one for each file')
    return (given or [None]) * (len(args.weights) if len(given) < 2 else 1)


def _from_file(path: str) -> Mapping[str, Any]:
    section = options.load(path).get('network_g')
    if not isinstance(section, dict) or 'type' not in section:
        raise UserError(f"{path}: network_g: is missing; write the section with the network's type and arguments")
    return section


def _from_text(text: str) -> Mapping[str, Any]:
    name, _, rest = text.partition(':')
    section: dict[str, Any] = {'type': name}
    for entry in re.split(r',(?![^\[]*\])', rest) if rest else ():  # not inside a list, as in depths=[6,6]
        if '=' not in entry:
            raise UserError(f"--arch: {text}: '{entry}' must be KEY=VALUE, as in MSRResNet:num_feat=32,num_block=8")
        options.force(section, [entry], '--arch')
    return section


def _unique(labels: list[str], details: list[str]) -> list[str]:
    """Make labels unique: append the iteration or the key, then a number."""
    labels = [f'{label} @{detail}' if labels.count(label) > 1 else label for label, detail in zip(labels, details)]
    return [label if labels.count(label) == 1 else f'{label} ({labels[:place].count(label) + 1})'
            for place, label in enumerate(labels)]
