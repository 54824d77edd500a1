"""A checksum inside the files that this package writes: a changed or missing byte is found before a file is used.

A ``.pth`` or ``.state`` file is a zip archive. Its last field is a comment, which other programs ignore: there stands
the SHA-256 of all bytes before it. A ``.safetensors`` file has it in its metadata, computed as if the digest were 64
zeros. Files without a checksum come from other programs, and pass.
"""

from __future__ import annotations

import hashlib
import os
import struct
from typing import IO

from reflash_sr.errors import UserError

_TAG = b'reflash-sr sha256:'
_DIGITS = 64
_COMMENT = len(_TAG) + _DIGITS
_END = b'PK\x05\x06'  # the last record of a zip archive: 22 bytes, of which the last two are the comment's length
_END_SIZE = 22
_LONGEST_END = _END_SIZE + 65535
_BLOCK = 1 << 20
SIGNED_BY = 'reflash-sr'
BLANK = '0' * _DIGITS
_HEADER_LIMIT = 100_000_000  # bytes: the longest header that the safetensors library reads


def seal_zip(file: IO[bytes]) -> None:
    """Write the checksum of a zip archive into its comment.

    Args:
        file: The archive, without a comment, open for reading and writing.
    """
    size = file.seek(-_END_SIZE, os.SEEK_END) + _END_SIZE
    end = file.read()
    if end[:4] != _END or end[-2:] != b'\0\0':
        raise ValueError('not a zip archive without a comment')
    file.seek(size - 2)
    file.write(struct.pack('<H', _COMMENT) + _TAG)
    file.write(_sha256(file, size + len(_TAG)))


def check_zip(path: str | os.PathLike) -> bool:
    """Compare a ``.pth`` or ``.state`` file with its checksum; False if it has none.

    Raises:
        UserError: Bytes of it were changed, or are missing.
    """
    with open(path, 'rb') as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LONGEST_END))
        tail = file.read()
        file.seek(0)
        sealed = _TAG in tail
        if file.read(4) != b'PK\x03\x04' and not sealed:
            return False  # the format of torch before 1.6, or nothing that torch reads
        place = tail.rfind(_END)
        comment = tail[place + _END_SIZE:]
        # One damage cannot hit both the tag and the length of the comment: either shows that the file was sealed.
        if place < 0 or tail[place + _END_SIZE - 2:place + _END_SIZE] != struct.pack('<H', len(comment)):
            raise UserError(f'{path}: is damaged: its end is cut off or changed; take an earlier file')
        if len(comment) != _COMMENT and not sealed:
            return False
        if tail[-_COMMENT:-_DIGITS] != _TAG or _sha256(file, size - _DIGITS) != tail[-_DIGITS:]:
            raise _mismatch(path)
    return True


def seal_safetensors(data: bytes) -> bytes:
    """Put the checksum into a ``.safetensors`` file whose metadata hold :data:`BLANK` under ``sha256``."""
    place = data.index(BLANK.encode(), 8, 8 + struct.unpack('<Q', data[:8])[0])
    return data[:place] + hashlib.sha256(data).hexdigest().encode() + data[place + _DIGITS:]


def check_safetensors(path: str | os.PathLike, metadata: dict[str, str]) -> None:
    """Compare a ``.safetensors`` file with the checksum in its metadata, if it has one.

    Raises:
        UserError: Bytes of it were changed, or are missing.
    """
    ours = metadata.get('written_by') == SIGNED_BY
    if not ours and 'sha256' not in metadata:
        return
    wanted = metadata.get('sha256', '').encode()
    with open(path, 'rb') as file:
        start = file.read(8)
        header = file.read(min(struct.unpack('<Q', start)[0], _HEADER_LIMIT))
        if not (ours and len(wanted) == _DIGITS and header.count(wanted) == 1):
            raise _mismatch(path)
        blank = start + header.replace(wanted, BLANK.encode())
        if _sha256(file, os.path.getsize(path), len(blank), blank) != wanted:
            raise _mismatch(path)


def _mismatch(path: str | os.PathLike) -> UserError:
    return UserError(f'{path}: is damaged: its content does not match its checksum; take an earlier file')


def _sha256(file: IO[bytes], stop: int, begin: int = 0, before: bytes = b'') -> bytes:
    """Digest of ``before`` and of the bytes from ``begin`` to ``stop``, in hexadecimal; leaves the file at ``stop``."""
    digest = hashlib.sha256(before)
    file.seek(begin)
    while block := file.read(min(_BLOCK, stop - file.tell())):
        digest.update(block)
    return digest.hexdigest().encode()
