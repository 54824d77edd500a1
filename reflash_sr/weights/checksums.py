"""Checksums inside the files that this package writes, so that a damaged file is found before it is used.

A ``.pth`` or ``.state`` file is a zip archive. Its comment, the last field, holds the SHA-256 of all bytes before the
digest; other programs ignore the comment. A ``.safetensors`` file holds the SHA-256 in its metadata, computed with 64
zeros in place of the digest. Files of other programs have no checksum, and are accepted.
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
_END = b'PK\x05\x06'  # begins the last record of a zip archive: 22 bytes, the last two hold the comment's length
_END_SIZE = 22
_LONGEST_END = _END_SIZE + 65535
_BLOCK = 1 << 20
SIGNED_BY = 'reflash-sr'
BLANK = '0' * _DIGITS
_HEADER_LIMIT = 100_000_000  # bytes: the longest header that the safetensors library reads


def seal_zip(file: IO[bytes]) -> None:
    """Write the checksum of a zip archive into its comment; the file is open for reading and writing.

    Raises:
        ValueError: The archive has a comment already, or is none.
    """
    size = file.seek(-_END_SIZE, os.SEEK_END) + _END_SIZE
    end = file.read()
    if end[:4] != _END or end[-2:] != b'\0\0':
        raise ValueError('not a zip archive without a comment')
    file.seek(size - 2)
    file.write(struct.pack('<H', _COMMENT) + _TAG)
    file.write(_sha256(file, size + len(_TAG)))


def check_zip(path: str | os.PathLike) -> bool:
    """Verify the checksum of a ``.pth`` or ``.state`` file; returns False if the file has none.

    Raises:
        UserError: The file is damaged or truncated.
    """
    with open(path, 'rb') as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LONGEST_END))
        tail = file.read()
        file.seek(0)
        sealed = _TAG in tail
        if file.read(4) != b'PK\x03\x04' and not sealed:
            return False  # the format of torch before 1.6, or no torch file
        place = tail.rfind(_END)
        comment = tail[place + _END_SIZE:]
        # A single damaged place cannot change both the tag and the length of the comment: one of them still shows
        # that the file had a checksum.
        if place < 0 or tail[place + _END_SIZE - 2:place + _END_SIZE] != struct.pack('<H', len(comment)):
            raise UserError(f'{path}: is damaged: its end is cut off or changed; take an earlier file')
        if len(comment) != _COMMENT and not sealed:
            return False
        if tail[-_COMMENT:-_DIGITS] != _TAG or _sha256(file, size - _DIGITS) != tail[-_DIGITS:]:
            raise _mismatch(path)
    return True


def seal_safetensors(data: bytes) -> bytes:
    """Write the checksum into the bytes of a ``.safetensors`` file, in place of :data:`BLANK` in its metadata."""
    place = data.index(BLANK.encode(), 8, 8 + struct.unpack('<Q', data[:8])[0])
    return data[:place] + hashlib.sha256(data).hexdigest().encode() + data[place + _DIGITS:]


def check_safetensors(path: str | os.PathLike, metadata: dict[str, str]) -> None:
    """Verify the checksum of a ``.safetensors`` file, if its metadata have one.

    Raises:
        UserError: The file is damaged or truncated.
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
    """SHA-256 of ``before`` + ``file[begin:stop]``, in hexadecimal; leaves the file position at ``stop``."""
    digest = hashlib.sha256(before)
    file.seek(begin)
    while block := file.read(min(_BLOCK, stop - file.tell())):
        digest.update(block)
    return digest.hexdigest().encode()
