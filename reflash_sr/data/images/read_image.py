"""Finding, reading and checking image files."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from reflash_sr.data.images.deep_colour import (
    IMAGE_WIDTH,
    ORIENTATION,
    UPRIGHT,
    has_deep_colour,
    read_deep_colour,
    to_eight_bits,
)
from reflash_sr.data.images.open_image import TooLarge, open_image, suffixes
from reflash_sr.errors import UserError
from reflash_sr.system.files import check_regular

_IGNORED = frozenset({'thumbs.db', 'desktop.ini'})  # written by file managers, not by the user
_SIXTEEN_BIT = ('I', 'I;16', 'I;16B', 'I;16L', 'I;16N')


def read_image(source: str | os.PathLike | bytes, name: str | None = None) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB.

    Grey and palette images become RGB; 16 bits are rounded to 8; transparency is dropped; the EXIF orientation is
    applied.

    Args:
        source: A path, or the bytes of a file.
        name: Name of the image in an error. Default: the path.

    Raises:
        UserError: The file is missing, truncated, not an image, too large, or of more than 16 bits.
    """
    name = name or ('image' if isinstance(source, bytes) else str(source))
    if not isinstance(source, bytes):
        check_regular(source, 'image')
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        with open_image(io.BytesIO(data)) as image:
            is_deep = has_deep_colour(image)
            image.load()
            if image.mode == 'F':
                raise ValueError('floating-point values, whose range is not known; convert it to 16 bits')
            deep = read_deep_colour(data) if is_deep else None
            if deep is not None:  # in TIFF files OpenCV has already applied the orientation
                orientation = 1 if image.format == 'TIFF' else image.getexif().get(ORIENTATION, 1)
                return to_eight_bits(UPRIGHT.get(orientation, np.asarray)(deep[..., :3]))
            upright = ImageOps.exif_transpose(image)
            if upright.mode not in _SIXTEEN_BIT:
                return np.asarray(upright.convert('RGB'))
            levels = np.asarray(upright)
            if levels.min() < 0 or levels.max() > 65535:
                raise ValueError('more than 16 bits; convert it to 16 bits')
            return np.repeat(to_eight_bits(levels)[..., None], 3, axis=2)
    except Exception as error:  # Pillow's decoders may raise anything on damaged files
        raise unreadable(name, error) from error


def unreadable(name: object, error: Exception) -> UserError:
    """Convert the error of a decoder to the ``UserError`` for an image that cannot be read."""
    if isinstance(error, TooLarge):
        return UserError(f'{name}: cannot be read as an image ({error.reason}); {error.remedy}')
    if isinstance(error, Image.DecompressionBombError):  # some of Pillow's decoders have its limit built in
        return UserError(f'{name}: cannot be read as an image (Pillow reads no files of this format above 178 '
                         'megapixels); convert it to PNG')
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return UserError(f'{name}: cannot be read as an image ({reason}); replace or remove it')


def find_images(root: str | os.PathLike) -> tuple[list[Path], list[Path]]:
    """List the images in a folder and its subfolders; a folder that several links lead to is listed once.

    Returns:
        The files with the suffix of an image that Pillow reads, and the other files, both in natural order (``img2``
        before ``img10``); without hidden files and files of file managers, such as ``Thumbs.db``.

    Raises:
        UserError: The folder does not exist, a subfolder cannot be read, there is no image, or the name of an image is
            not UTF-8.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f'{error.filename}: this folder cannot be read ({error.strerror}); change its permissions or '
                        'remove it') from error

    root = Path(root).expanduser()
    if not root.is_dir():
        raise UserError(f'{root}: no such folder; write the folder that holds the images')
    files: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=refuse):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:  # a link may lead back up
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        files += [Path(folder, name) for name in names if not name.startswith('.') and name.lower() not in _IGNORED]
    files.sort(key=lambda path: natural_key(path.relative_to(root).as_posix()))
    known = suffixes()
    images = [path for path in files if path.suffix.lower() in known]
    if not images:
        others = f'{len(files)} other files, such as {files[0].name}' if files else 'it is empty'
        raise UserError(f'{root}: no image in this folder ({others}); an image is a file that Pillow reads, such as '
                        '.png, .jpg, .tif, .webp or .avif')
    for path in images:
        if not str(path).isprintable() and any('\ud800' <= letter <= '\udfff' for letter in str(path)):
            raise UserError(f'{path}: its name is not UTF-8, and could not be written into a table; rename it')
    return images, [path for path in files if path.suffix.lower() not in known]


def natural_key(text: str) -> list:
    """Sort key that compares digits as numbers: ``img2`` before ``img10``."""
    return [(0, int(part), '') if part.isdecimal() else (1, 0, part) for part in re.split(r'(\d+)', text) if part]


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Read height and width of an image, px, from its header; the EXIF orientation is applied.

    Raises:
        UserError: The header cannot be read.
    """
    return read_header(path)[:2]


def read_header(path: str | os.PathLike) -> tuple[int, int, bool]:
    """Read height and width of an image, as :func:`image_size` does, and whether :func:`read_image` rounds 16 bits."""
    check_regular(path, 'image')
    try:
        with open_image(path) as image:
            width, height = image.size
            # EXIF orientations 5 to 8 swap the sides; new versions of Pillow do so themselves in TIFF files.
            is_deep = image.mode in _SIXTEEN_BIT or has_deep_colour(image)
            turned = _orientation(image) >= 5
            if image.format == 'TIFF':
                turned &= width == image.tag_v2[IMAGE_WIDTH]  # type: ignore[attr-defined]  # TiffImageFile
    except Exception as error:  # as in read_image
        raise unreadable(path, error) from error
    return (width, height, is_deep) if turned else (height, width, is_deep)


def orientation_of(path: str | os.PathLike) -> int:
    """The EXIF orientation in the header of an image, 1 to 8; 1: upright, or none. Raises ``UserError`` as above."""
    check_regular(path, 'image')
    try:
        with open_image(path) as image:
            return _orientation(image)
    except Exception as error:  # as in read_image
        raise unreadable(path, error) from error


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, without decoding: EXIF data after the pixels of a PNG file are not found."""
    return image.getexif().get(ORIENTATION, 1) if image.format != 'PNG' or 'exif' in image.info else 1


def depth_note(deep: Sequence[bool]) -> str:
    """A note for the user if images have 16 bits, else ''; ``deep`` has the third result of :func:`read_header`."""
    return f'{sum(deep)} of {len(deep)} images have 16 bits per channel; they are rounded to 8 bits' * any(deep)


def check_all(paths: Sequence[Path], min_size: int, why: str) -> None:
    """Decode every image once, so that a broken image is found before the run and not during it.

    Raises:
        UserError: An image is broken or has a side below ``min_size`` px; the message gives ``why`` as the reason.
    """

    def check(path: Path) -> None:
        height, width = read_image(path).shape[:2]
        if min(height, width) < min_size:
            raise UserError(f'{path}: {width}×{height} px is too small: {why}')

    with ThreadPoolExecutor() as pool:
        list(pool.map(check, paths))
