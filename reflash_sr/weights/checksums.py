"""A checksum inside the files that we write, so that a flipped or missing byte is found before anything is believed.

A ``.pth`` or ``.state`` file is a zip archive, whose last field is a comment: there the SHA-256 of all bytes before it
stands, and whoever does not know of it reads the file as any other. A ``.safetensors`` file has it in its metadata,
computed as if the digest were 64 zeros. Files without a checksum are other people's, and pass.
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
_END = b'PK\x05\x06'  # the zip archive's last record: 22 bytes, of which the last two are the comment's length
_END_SIZE = 22
_LONGEST_COMMENT = 65535
_ZIP = b'PK\x03\x04'
_BLOCK = 1 << 20
SIGNED_BY = 'reflash-sr'
BLANK = '0' * _DIGITS
_HEADER_LIMIT = 100_000_000  # bytes: what the safetensors library reads as a header at most


class SealedWriter:
    """Passes a zip archive on to a file and puts its checksum into its comment.

    Args:
        file: Open for writing; gets every byte once and in order.
    """

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._held = b''  # the last record, whose comment length is still to change
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Take the next bytes of the archive."""
        data = bytes(data)
        held = self._held + data
        self._put(held[:-_END_SIZE])
        self._held = held[-_END_SIZE:]
        return len(data)

    def flush(self) -> None:
        """Do nothing: the end of the archive is known only at :meth:`seal`."""

    def seal(self) -> None:
        """Write the last record with its comment; the archive is whole."""
        if self._held[:4] != _END or self._held[-2:] != b'\0\0':
            raise ValueError('not a zip archive without a comment')
        self._put(self._held[:-2] + struct.pack('<H', _COMMENT) + _TAG)
        self._file.write(self._digest.hexdigest().encode())

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


def check_zip(path: str | os.PathLike) -> bool:
    """Hold a ``.pth`` or ``.state`` file against its checksum.

    Returns:
        Whether it has one.

    Raises:
        UserError: Bytes of it were changed, or are missing.
    """
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        begins = file.read(4)
        file.seek(max(0, size - _LONGEST_COMMENT - _END_SIZE))
        tail = file.read()
    sealed = _TAG in tail
    if begins != _ZIP and not sealed:
        return False  # the format of torch before 1.6, or nothing that torch reads
    place = tail.rfind(_END)
    comment = tail[place + _END_SIZE:]
    # One damage cannot hit both the tag and the length of the comment: either tells that the file was sealed.
    if place < 0 or tail[place + _END_SIZE - 2:place + _END_SIZE] != struct.pack('<H', len(comment)):
        raise UserError(f'{path}: is damaged: its end is cut off or changed; take an earlier file')
    if len(comment) != _COMMENT and not sealed:
        return False
    if tail[-_COMMENT:-_DIGITS] != _TAG or _sha256(path, size - _DIGITS) != tail[-_DIGITS:]:
        raise UserError(f'{path}: is damaged: its content does not match its checksum; take an earlier file')
    return True


def seal_safetensors(data: bytes) -> bytes:
    """Put the checksum into a ``.safetensors`` file whose metadata hold ``sha256`` with :data:`BLANK` digits."""
    place = data.index(BLANK.encode(), 8, 8 + struct.unpack('<Q', data[:8])[0])
    return data[:place] + hashlib.sha256(data).hexdigest().encode() + data[place + _DIGITS:]


def check_safetensors(path: str | os.PathLike, metadata: dict[str, str]) -> bool:
    """Hold a ``.safetensors`` file against its checksum.

    Args:
        path: The file.
        metadata: Its metadata, as read.

    Returns:
        Whether it has one.

    Raises:
        UserError: Bytes of it were changed, or are missing.
    """
    stated = metadata.get('sha256')
    if stated is None and metadata.get('written_by') != SIGNED_BY:
        return False
    with open(path, 'rb') as file:
        start = file.read(8)
        header = file.read(min(struct.unpack('<Q', start)[0], _HEADER_LIMIT))
    wanted = str(stated).encode()
    found = ''
    if len(wanted) == _DIGITS and header.count(wanted) == 1 and metadata.get('written_by') == SIGNED_BY:
        found = _sha256(path, os.path.getsize(path), 8 + len(header),
                        start + header.replace(wanted, BLANK.encode())).decode()
    if stated is None or found != stated:
        raise UserError(f'{path}: is damaged: its content does not match its checksum; take an earlier file')
    return True


def _sha256(path: str | os.PathLike, stop: int, begin: int = 0, before: bytes = b'') -> bytes:
    """Digest of ``before`` and of the file's bytes from ``begin`` to ``stop``, in hexadecimal."""
    digest = hashlib.sha256(before)
    with open(path, 'rb') as file:
        file.seek(begin)
        left = stop - begin
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest().encode()
