"""PNG files of 16 bits and TIFF files of 8 or 16 bits, with colour profile, EXIF data and resolution.

Own code, because Pillow writes no 16-bit colour, and no EXIF directories in compressed TIFF files; tifffile writes no
EXIF directories; OpenCV writes no EXIF data in TIFF files, and in PNG files only in its newest versions.
"""

from __future__ import annotations

import struct
import zlib
from typing import IO, Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

INCH = 0.0254  # m
LEVEL = 4  # zlib's compression: three times faster than the usual 6, files 7 % larger
_PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels
_SUB_DIRECTORIES = (0x8769, 0x8825)  # EXIF and GPS
_TIFF_LONG = 4


def write_png(levels: np.ndarray, file: IO[bytes], icc: bytes | None = None, exif: bytes | None = None,
              dpi: tuple[float, float] | None = None) -> None:
    """Write a PNG file; ``levels`` are (H, W, C) uint16; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).

    ``exif`` is as in a JPEG file, with or without the leading ``Exif``; ``dpi`` is (across, down).
    """
    height, width, channels = levels.shape
    rows = np.ascontiguousarray(levels, '>u2').view(np.uint8).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), 2, np.uint8)  # filter 2: row differences, which compress better
    filtered[:, 1:] = np.diff(rows, axis=0, prepend=np.uint8(0))
    header = struct.pack('>IIBBBBB', width, height, 16, _PNG_COLOUR[channels], 0, 0, 0)
    file.write(b'\x89PNG\r\n\x1a\n')
    for name, content in ((b'IHDR', header), (b'iCCP', icc and b'ICC profile\0\0' + zlib.compress(icc)),
                          (b'pHYs', dpi and struct.pack('>IIB', *(round(one / INCH) for one in dpi), 1)),
                          (b'eXIf', exif and exif.removeprefix(b'Exif\0\0')),
                          (b'IDAT', zlib.compress(filtered.tobytes(), LEVEL)), (b'IEND', b'')):
        if content or name == b'IEND':
            content = content or b''
            file.write(struct.pack('>I', len(content)) + name + content)
            file.write(struct.pack('>I', zlib.crc32(name + content)))


def write_tiff(levels: np.ndarray, file: IO[bytes], icc: bytes | None = None, exif: bytes | None = None,
               dpi: tuple[float, float] | None = None) -> None:
    """Write a compressed TIFF file; ``levels`` are uint8 or uint16, other arguments as for :func:`write_png`.

    16-bit grey with alpha is written as RGBA, because hardly any program reads the former.
    """
    if levels.shape[2] == 2 and levels.dtype == np.uint16:
        levels = levels[..., [0, 0, 0, 1]]
    height, width, channels = levels.shape
    strip = levels.astype(levels.dtype.newbyteorder('<'))
    strip[:, 1:] -= levels[:, :-1]  # predictor 2: differences from the pixel to the left
    packed = zlib.compress(strip.tobytes(), LEVEL)
    tags: dict[int, Any] = {}
    if exif:
        found = Image.Exif()
        found.load(exif)
        tags = {tag: dict(found.get_ifd(tag)) if tag in _SUB_DIRECTORIES else value for tag, value in found.items()}
    tags |= {256: width, 257: height, 258: (8 * levels.itemsize,) * channels, 259: 8, 262: 2 if channels > 2 else 1,
             273: 0, 274: 1, 277: channels, 278: height, 279: len(packed), 317: 2, 339: (1,) * channels}
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
    file.write(struct.pack('<2sHI', b'II', 42, 8))
    file.write(directory.tobytes(8))  # moves the strip's offset, 0, to the end of the directory
    file.write(packed)
