"""Writing 16-bit PNG and TIFF files with colour profile and EXIF data: Pillow lacks the depth, OpenCV the rest."""

from __future__ import annotations

import struct
import zlib
from typing import IO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

INCH = 0.0254  # m
_PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}
_SUB_DIRECTORIES = (0x8769, 0x8825)  # EXIF and GPS
_TIFF_LONG = 4


def write_png(levels: np.ndarray, file: IO[bytes], icc: bytes | None = None, exif: bytes | None = None,
              dpi: tuple[float, float] | None = None) -> None:
    """Write a PNG file of 16 bits.

    Args:
        levels: (H, W, C) uint16; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
        file: Open for writing.
        icc: Colour profile.
        exif: EXIF data as in a JPEG file, with or without the leading ``Exif``.
        dpi: Dots per inch, across and down.
    """
    height, width, channels = levels.shape
    file.write(b'\x89PNG\r\n\x1a\n')
    header = struct.pack('>IIBBBBB', width, height, 16, _PNG_COLOUR[channels], 0, 0, 0)
    for name, content in ((b'IHDR', header), (b'iCCP', icc and b'ICC profile\0\0' + zlib.compress(icc)),
                          (b'pHYs', dpi and struct.pack('>IIB', *(round(one / INCH) for one in dpi), 1)),
                          (b'eXIf', exif and exif.removeprefix(b'Exif\0\0')),
                          (b'IDAT', zlib.compress(_filtered(levels))), (b'IEND', b'')):
        if content or name == b'IEND':
            file.write(struct.pack('>I', len(content)) + name + content)
            file.write(struct.pack('>I', zlib.crc32(name + content)))


def _filtered(levels: np.ndarray) -> bytes:
    """Rows as differences from the row above (PNG's filter 2), which compress better."""
    rows = np.ascontiguousarray(levels, '>u2').view(np.uint8).reshape(len(levels), -1)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    return np.hstack([np.full((len(rows), 1), 2, np.uint8), rows - above]).tobytes()


def write_tiff(levels: np.ndarray, file: IO[bytes], icc: bytes | None = None, exif: bytes | None = None,
               dpi: tuple[float, float] | None = None) -> None:
    """Write a TIFF file of 16 bits, compressed; arguments as for :func:`write_png`.

    Grey with alpha is written as RGBA, since hardly any program reads the former.
    """
    if levels.shape[2] == 2:
        levels = levels[..., [0, 0, 0, 1]]
    height, width, channels = levels.shape
    strip = _strip(levels)
    tags = _exif_tags(exif)
    tags.update({256: width, 257: height, 258: (16,) * channels, 259: 8, 262: 2 if channels > 1 else 1, 273: 0, 274: 1,
                 277: channels, 278: height, 279: len(strip), 317: 2, 339: (1,) * channels})
    if channels == 4:
        tags[338] = 2  # alpha that the colours are not multiplied with
    if dpi:
        tags.update({282: dpi[0], 283: dpi[1], 296: 2})
    if icc:
        tags[34675] = icc
    directory = ImageFileDirectory_v2(prefix=b'II')
    for tag in (273, 279, *_SUB_DIRECTORIES):
        directory.tagtype[tag] = _TIFF_LONG
    for tag, value in tags.items():
        directory[tag] = value
    file.write(struct.pack('<2sHI', b'II', 42, 8))
    file.write(directory.tobytes(8))  # which moves the strip's offset, 0, to its own end
    file.write(strip)


def _strip(levels: np.ndarray) -> bytes:
    """Differences from the pixel to the left (TIFF's predictor 2), compressed."""
    strip = levels.astype('<u2')
    strip[:, 1:] -= levels[:, :-1].astype('<u2')
    return zlib.compress(strip.tobytes())


def _exif_tags(exif: bytes | None) -> dict:
    if not exif:
        return {}
    found = Image.Exif()
    found.load(exif)
    return {tag: dict(found.get_ifd(tag)) if tag in _SUB_DIRECTORIES else value for tag, value in found.items()}
