"""PNG and TIFF files of 8 or 16 bits, with colour profile, EXIF data and resolution, written strip by strip.

Own code, because Pillow needs the whole image, writes no 16-bit colour, and no EXIF directories in compressed TIFF
files; tifffile writes no EXIF directories; OpenCV writes no EXIF data in TIFF files, and in PNG files only in its
newest versions.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

INCH = 0.0254  # m
LEVEL = 4  # zlib's compression: three times faster than the usual 6, files 7 % larger
_PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels
_SUB_DIRECTORIES = (0x8769, 0x8825)  # EXIF and GPS
_TIFF_LONG = 4
TIFF_ROWS = 256  # rows of a strip
TIFF_MOST = 2**32 - 1  # bytes


def write_png(strips: Iterable[np.ndarray], height: int, file: IO[bytes], icc: bytes | None = None,
              exif: bytes | None = None, dpi: tuple[float, float] | None = None) -> None:
    """Write a PNG file.

    Args:
        strips: The levels from top to bottom, (h, W, C) uint8 or uint16; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or
            4 (RGBA).
        height: Of all strips together, px.
        exif: As in a JPEG file, with or without the leading ``Exif``.
        dpi: Dots per inch, across and down.
    """

    def chunk(name: bytes, content: bytes) -> None:
        file.write(struct.pack('>I', len(content)) + name + content)
        file.write(struct.pack('>I', zlib.crc32(name + content)))

    packer, above = zlib.compressobj(LEVEL), None
    for strip in strips:
        if above is None:
            width, channels = strip.shape[1:]
            file.write(b'\x89PNG\r\n\x1a\n')
            chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8 * strip.itemsize, _PNG_COLOUR[channels], 0, 0, 0))
            for name, content in ((b'iCCP', icc and b'ICC profile\0\0' + zlib.compress(icc)),
                                  (b'pHYs', dpi and struct.pack('>IIB', *(round(one / INCH) for one in dpi), 1)),
                                  (b'eXIf', exif and exif.removeprefix(b'Exif\0\0'))):
                if content:
                    chunk(name, content)
            above = np.zeros((1, width * channels * strip.itemsize), np.uint8)
        rows = np.ascontiguousarray(strip, strip.dtype.newbyteorder('>')).view(np.uint8).reshape(len(strip), -1)
        filtered = np.full((len(rows), rows.shape[1] + 1), 2, np.uint8)  # filter 2: row differences compress better
        filtered[:, 1:] = np.diff(rows, axis=0, prepend=above)
        above = rows[-1:]
        chunk(b'IDAT', packer.compress(filtered.data))
    chunk(b'IDAT', packer.flush())
    chunk(b'IEND', b'')


def write_tiff(strips: Iterable[np.ndarray], height: int, file: IO[bytes], icc: bytes | None = None,
               exif: bytes | None = None, dpi: tuple[float, float] | None = None) -> None:
    """Write a compressed TIFF file into a seekable file; arguments as for :func:`write_png`.

    16-bit grey with alpha is written as RGBA, because hardly any program reads the former.

    Raises:
        ValueError: It would have more than 4 GiB.
    """
    sizes = [0] * -(-height // TIFF_ROWS)
    for place, levels in enumerate(_of_rows(strips, TIFF_ROWS)):
        if levels.shape[2] == 2 and levels.dtype == np.uint16:
            levels = levels[..., [0, 0, 0, 1]]
        if not place:
            look = (height, *levels.shape[1:]), levels.itemsize, icc, exif, dpi
            file.write(_tiff_header(sizes, *look))  # again below, when the sizes are known
        strip = levels.astype(levels.dtype.newbyteorder('<'))
        strip[:, 1:] -= levels[:, :-1]  # predictor 2: differences from the pixel to the left
        packed = zlib.compress(strip.tobytes(), LEVEL)
        file.write(packed)
        sizes[place] = len(packed)
        if file.tell() > TIFF_MOST:
            raise ValueError('it is larger than 4 GiB')
    file.seek(0)
    file.write(_tiff_header(sizes, *look))


def _of_rows(strips: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """Cut strips of any heights into strips of ``rows`` rows; the last may have less."""
    rest: np.ndarray | None = None
    for strip in strips:
        rest = strip if rest is None else np.concatenate((rest, strip))
        while len(rest) >= rows:
            yield rest[:rows]
            rest = rest[rows:]
    if rest is not None and len(rest):
        yield rest


def _tiff_header(sizes: list[int], shape: tuple[int, ...], itemsize: int, icc: bytes | None, exif: bytes | None,
                 dpi: tuple[float, float] | None) -> bytes:
    """The beginning of a TIFF file, up to its first strip; ``sizes`` are those of the strips, bytes."""
    height, width, channels = shape
    tags: dict[int, Any] = {}
    if exif:
        found = Image.Exif()
        found.load(exif)
        tags = {tag: dict(found.get_ifd(tag)) if tag in _SUB_DIRECTORIES else value for tag, value in found.items()}
    tags |= {256: width, 257: height, 258: (8 * itemsize,) * channels, 259: 8, 262: 2 if channels > 2 else 1,
             273: 0, 274: 1, 277: channels, 278: min(height, TIFF_ROWS), 279: sizes[0], 317: 2, 339: (1,) * channels}
    if channels in (2, 4):
        tags[338] = 2  # alpha that is not premultiplied
    if dpi:
        tags |= {282: dpi[0], 283: dpi[1], 296: 2}
    if icc:
        tags[34675] = icc
    directory = ImageFileDirectory_v2(prefix=b'II')
    directory.tagtype.update(dict.fromkeys((273, 279, *_SUB_DIRECTORIES), _TIFF_LONG))
    for tag, value in tags.items():
        directory[tag] = value
    header = bytearray(struct.pack('<2sHI', b'II', 42, 8) + directory.tobytes(8))  # moves the first offset behind it
    if len(sizes) > 1:  # old versions of Pillow write one strip only: put lists in place of the two numbers
        offsets = itertools.accumulate(sizes[:-1], initial=len(header) + 8 * len(sizes))
        for tag, values in ((273, list(offsets)), (279, sizes)):
            struct.pack_into('<II', header, 8 + 2 + 12 * sorted(tags).index(tag) + 4, len(sizes), len(header))
            header += struct.pack(f'<{len(sizes)}I', *values)
    return bytes(header)
