"""Reading and writing weights files. Files may be malicious: no code in them runs, and sizes are checked first."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from reflash_sr.errors import UserError
from reflash_sr.system.files import atomic_write, check_regular
from reflash_sr.weights import checksums
from reflash_sr.weights.bundled import check_name
from reflash_sr.weights.file_kinds import TORCH, is_safetensors, other_kind
from reflash_sr.weights.safe_pickle import load, not_allowed

KEYS = ('params_ema', 'params')
SAFETENSORS = '.safetensors'
MOST_VALUES = 1_000_000  # entries of all lists and dicts; the training state of an RRDBNet has about 10,000
MOST_LEVELS = 50
_HEAD = 256  # bytes that tell the kind of a file
_PLAIN = (str, bytes, int, float, bool, complex, type(None), torch.dtype, torch.device)


def suffix_of(opt: Mapping[str, Any]) -> str:
    """Suffix of the weights files of a run: that of ``logger: save_format``, by default ``'.pth'``."""
    section = opt.get('logger')
    return '.' + ((section.get('save_format') if isinstance(section, Mapping) else None) or 'pth')


def load_file(path: str | os.PathLike) -> Any:
    """Read a file of ``torch.save`` or safetensors, whatever its ending, onto the CPU, without running any code in it.

    A safetensors file is returned in the layout of a ``.pth`` file: ``params`` and ``params_ema`` with ``network_g``
    and ``trained``, or a bare state dict if its metadata do not name the weights. NumPy scalars become plain numbers.

    Raises:
        UserError: The file is missing, not a regular file, of another kind or damaged; it contains anything but weights
            and plain values; or a tensor is larger than the file.
    """
    check_name(path)
    check_regular(path, 'weights file')
    try:
        with open(path, 'rb') as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror})') from error
    is_st = is_safetensors(head, os.path.getsize(path))
    if not is_st and (what := other_kind(path, head)):
        raise UserError(f'{path}: {what}')
    is_torch = head.startswith(TORCH) or not (is_st or Path(path).suffix.lower() == SAFETENSORS)
    try:
        return _read_torch(path) if is_torch else _read_safetensors(path)
    except UserError:
        raise
    except Exception as error:  # torch may raise anything on a file that it did not write
        raise UserError(f'{path}: {_reason(path, error)}') from error


def _reason(path: str | os.PathLike, error: Exception) -> str:
    what = 'not a weights file that can be read safely'
    again = "; where it was made, save the weights alone: torch.save(net.state_dict(), 'weights.pth')"
    objects = not_allowed(path)
    if objects:
        more = f' and {len(objects) - 4} more' if len(objects) > 4 else ''
        return (f'{what}: it holds Python objects ({", ".join(name[:80] for name in objects[:4])}{more}), which may '
                f'run code{again}')
    if isinstance(error, pickle.UnpicklingError):  # torch's text is advice for programmers, in several lines
        return f'{what}, or damaged{again}'
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f'{what}, or damaged ({reason[:200]})'


def save(content: Any, path: str | os.PathLike) -> None:
    """Write a file atomically, with its checksum inside; ``torch.load`` or safetensors can read it.

    Args:
        content: As for ``torch.save``. If ``path`` ends in ``.safetensors``: a dict with ``params``, ``params_ema`` or
            both; its other values must be plain, and become metadata.
        path: The file.

    Raises:
        OSError: The disk is full or the folder is not writable; the earlier file is not changed.
    """
    with atomic_write(path, 'w+b') as file:
        if Path(path).suffix.lower() == SAFETENSORS:
            file.write(_safetensors_bytes(content))
        else:
            torch.save(content, file)
            checksums.seal_zip(file)


# ---------------------------------------------------------------------- torch


def _read_torch(path: str | os.PathLike) -> Any:
    if not checksums.check_zip(path) and zipfile.is_zipfile(path):
        _check_archive(path)
    # First load without memory for values: the shapes in the file may be false.
    _check_claims(path, load(path, 'meta'), os.path.getsize(path))
    return load(path, 'cpu')


def _check_archive(path: str | os.PathLike) -> None:
    """Refuse compressed or overlapping entries, which fill the memory, and damaged ones, which torch would load."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise UserError(f'{path}: is compressed inside, which torch.save never does; unpack it and save it again')
        if sum(entry.file_size for entry in entries) > os.path.getsize(path):
            raise UserError(f'{path}: claims to hold more than its size; it is damaged or malicious')
        damaged = archive.testzip()
        if damaged:
            raise UserError(f'{path}: is damaged ({damaged} does not match its checksum); take an earlier file')


def _check_claims(path: str | os.PathLike, content: Any, size: int) -> None:
    """Check the shapes and types of a content, loaded without values, against the size of the file."""
    total = 0
    for value in _leaves(path, content):
        if isinstance(value, torch.Tensor):
            if value.layout is not torch.strided or value.is_quantized:
                raise UserError(f'{path}: holds a sparse or quantised tensor; save plain weights')
            needed = value.numel() * value.element_size()
            total += needed
            # The sum may exceed the size because weights may share memory.
            if max(needed, value.untyped_storage().nbytes()) > size or total > 16 * size:
                raise UserError(f'{path}: claims a tensor of shape {tuple(value.shape)}, which does not fit into a '
                                f'file of {size:,} bytes; it is damaged or malicious')
        elif not isinstance(value, _PLAIN):
            raise UserError(f'{path}: holds a {type(value).__name__}; only weights and plain values are allowed')


def _leaves(path: str | os.PathLike, content: Any) -> Iterator[Any]:
    """Yield the values in nested lists and dicts; refuse too many, and lists that contain themselves."""
    waiting, seen = [(content, 0)], 0
    while waiting:
        value, level = waiting.pop()
        seen += 1
        if seen > MOST_VALUES or level > MOST_LEVELS:
            raise UserError(f'{path}: holds more than {MOST_VALUES:,} values or {MOST_LEVELS} levels; it is not a '
                            'weights file, or malicious')
        if isinstance(value, Mapping):
            waiting += [(item, level + 1) for pair in value.items() for item in pair]
        elif isinstance(value, (list, tuple, set)):
            waiting += [(item, level + 1) for item in value]
        else:
            yield value


# ---------------------------------------------------------------------- safetensors


def _read_safetensors(path: str | os.PathLike) -> dict[str, Any]:
    with safetensors.safe_open(path, framework='pt') as file:  # checks shapes against the file's size
        metadata = file.metadata() or {}
        checksums.check_safetensors(path, metadata)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    content = {key: value for key in ('network_g', 'trained')
               if isinstance(value := _plain(metadata.get(key)), dict)}
    if metadata.get('key') in KEYS:
        return {**content, metadata['key']: tensors}
    split = {key: {name[len(key) + 1:]: value for name, value in tensors.items() if name.startswith(f'{key}.')}
             for key in KEYS}
    if tensors and sum(map(len, split.values())) == len(tensors):
        return {**content, **{key: part for key, part in split.items() if part}}
    return tensors


def _plain(text: str | None) -> Any:
    try:
        return json.loads(text) if text and len(text) < MOST_VALUES else None
    except (ValueError, RecursionError):
        return None


def _safetensors_bytes(content: Mapping[str, Any]) -> bytes:
    states = {key: content[key] for key in KEYS if key in content}
    if not states:
        raise ValueError(f'neither {" nor ".join(KEYS)} to write')
    metadata = {'format': 'pt', 'written_by': checksums.SIGNED_BY, 'sha256': checksums.BLANK}
    metadata |= {name: json.dumps(value) for name, value in content.items() if name not in KEYS}
    if len(states) == 1:  # without a prefix, for programs that do not know the keys
        metadata['key'], tensors = next(iter(states.items()))
    else:
        tensors = {f'{key}.{name}': value for key, state in states.items() for name, value in state.items()}
    # Copies: the format does not allow tensors that share memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    return checksums.seal_safetensors(safetensors.torch.save(tensors, metadata))
