"""Opening image files with Pillow: which formats are images, and how large an image may be."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from typing import IO, Any

from PIL import Image, ImageFile

from reflash_sr.errors import UserError
from reflash_sr.system.memory import free_on_machine

LIMIT = 'REFLASH_SR_MAX_MEGAPIXELS'  # environment variable
DEFAULT_LIMIT = 1000  # megapixels
LARGE = 50_000_000  # px: from here on, free memory is checked before decoding
NEEDED = 24  # bytes of memory per pixel while an image is decoded, turned upright and converted to float32
NEEDED_ALPHA = 41  # the same with transparency; colours of 16 bits need 36
# Formats that Pillow reads, but that are no raster images: vector graphics, films, containers of metadata.
_OTHERS = frozenset({'EPS', 'MPEG', 'IPTC'})
# Files that took the place of an image, by their beginning.
_OTHER_FILES = {b'version https:/': "a pointer of Git LFS, not the image itself; fetch it with 'git lfs pull'",
                b'<!doctype html': 'a web page: the download failed', b'<html': 'a web page: the download failed'}
_NO_RANGE = '.pfm'  # always floating-point values, such as depth maps beside photographs


class TooLarge(UserError):
    """The image is larger than the limit or the free memory; ``remedy`` is what the user can do."""

    def __init__(self, reason: str, remedy: str):
        super().__init__(f'{reason}; {remedy}')
        self.reason, self.remedy = reason, remedy


def suffixes() -> frozenset[str]:
    """File name endings of images, in lower case with the dot: those that the installed Pillow and its plugins read."""
    formats = {*_formats(), 'MPO'}  # MPO: read by the decoder of JPEG
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats) - {_NO_RANGE}


@contextlib.contextmanager
def open_image(source: str | os.PathLike | IO[bytes]) -> Iterator[ImageFile.ImageFile]:
    """Open an image, without decoding it, for a ``with`` block in which Pillow does not warn.

    Pillow has a limit and warnings of its own, for the whole process. Neither is used or changed here, because other
    code in the process may rely on them.

    Raises:
        TooLarge: It has more pixels than the limit, or needs more memory than is free.
        Exception: Whatever the decoder raises on a damaged file, and ``Image.UnidentifiedImageError``.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_no_warnings_of_pillow())
        file = stack.enter_context(open(source, 'rb')) if isinstance(source, (str, os.PathLike)) else source
        image = stack.enter_context(_identify(file))
        width, height = image.size
        _check_size(width, height, NEEDED_ALPHA if image.mode.upper().endswith('A') else NEEDED)
        yield image


def _formats() -> list[str]:
    """Names of the formats of images, in the order in which Pillow tries them."""
    Image.preinit()
    Image.init()
    return [name for name in Image.ID if name in Image.OPEN and name not in _OTHERS
            and not _is_stub(Image.OPEN[name][0])]


def _is_stub(factory: Any) -> bool:
    """Whether Pillow only identifies a format and needs another program to read it."""
    return isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)


def _identify(file: IO[bytes]) -> ImageFile.ImageFile:
    """What ``Image.open`` does, without its limit."""
    start = file.read(16)
    for name in _formats():
        factory, accepts = Image.OPEN[name]
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):  # not this format
            accepted = accepts(start) if accepts else True
            if accepted and not isinstance(accepted, str):  # a text: the decoder is not installed
                file.seek(0)
                return factory(file, '')
    raise Image.UnidentifiedImageError(next((what for begin, what in _OTHER_FILES.items()
                                             if start.lower().startswith(begin)), 'no known image format'))


def _check_size(width: int, height: int, per_pixel: int) -> None:
    text = os.environ.get(LIMIT, '')
    try:
        limit = float(text or DEFAULT_LIMIT)
    except ValueError:
        limit = 0
    if not limit > 0:
        raise TooLarge(f"the environment variable {LIMIT} is '{text}'", 'write a number of megapixels above 0')
    pixels = width * height
    if pixels > limit * 1e6:
        raise TooLarge(f'{width}×{height} px are more than the limit of {limit:g} megapixels',
                       f'to read it, set the environment variable {LIMIT}={-(-pixels // 10**6)}')
    free = free_on_machine() if pixels > LARGE else None
    if free is not None and per_pixel * pixels > free:
        raise TooLarge(f'{width}×{height} px need {per_pixel * pixels / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are '
                       'free', 'end other programs, or cut it into parts')


class _OwnReading(threading.local):
    """Stands in a warning filter for the name of a module: fits modules of Pillow while this thread reads an image."""

    depth = 0

    def match(self, module: str) -> bool:
        return self.depth > 0 and module.startswith(('PIL.', __name__))


_own_reading = _OwnReading()
_FILTER: Any = ('ignore', None, Warning, _own_reading, 0)


@contextlib.contextmanager
def _no_warnings_of_pillow() -> Iterator[None]:
    """Ignore Pillow's warnings, such as those of damaged EXIF data, in this thread alone.

    ``warnings.catch_warnings`` changes the filters of all threads.
    """
    if not any(entry is _FILTER for entry in warnings.filters):
        warnings.filters.insert(0, _FILTER)  # type: ignore[attr-defined]  # a list
    _own_reading.depth += 1
    try:
        yield
    finally:
        _own_reading.depth -= 1
