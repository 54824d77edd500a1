"""Reading and writing an image with its bit depth, transparency, colour profile, EXIF data and resolution."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageCms, ImageFile

from reflash_sr.data.images.deep_colour import ORIENTATION, UPRIGHT, has_deep_colour, read_deep_colour
from reflash_sr.data.images.open_image import TooLarge, open_image
from reflash_sr.data.images.read_image import unreadable
from reflash_sr.data.images.write_png_tiff import TIFF_MOST, write_png, write_tiff
from reflash_sr.errors import UserError
from reflash_sr.system.files import check_regular

FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.jpe': 'JPEG', '.jfif': 'JPEG', '.tif': 'TIFF',
           '.tiff': 'TIFF', '.webp': 'WEBP'}
LONGEST = {'JPEG': 65535, 'WEBP': 16383}  # px: longest side that the format allows
MOST_BYTES = 2**31  # more than 178 megapixels of 16 bits need
MOST_WHOLE = 100_000_000  # px: larger PNG files are written strip by strip
ROWS = 64  # rows that are converted to levels at a time
HELD = {'PNG': 6, 'JPEG': 6, 'WEBP': 12}  # bytes of memory per pixel of a file that is not written strip by strip
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
SIZE_TAGS = (0xA002, 0xA003)  # in the EXIF directory: px
_OPTIONS: dict[str, dict[str, Any]] = {'PNG': {}, 'JPEG': {'quality': 95, 'subsampling': 0},
                                       'WEBP': {'quality': 95, 'method': 4}}
# TIFF tags that describe the photograph. Other tags describe the stored pixels, and are not EXIF data.
_TIFF_KEPT = {270, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432, EXIF_IFD, GPS_IFD, *range(40091, 40096)}


Strip = tuple[np.ndarray, np.ndarray | None]  # colour (h, W, 3) and alpha (h, W), float32 in [0, 1]


@dataclass(frozen=True)
class FullImage:
    """An image with its metadata; the EXIF orientation is already applied."""

    colour: np.ndarray  # (H, W, 3) float32 in [0, 1], RGB; the channels of a grey image are equal
    alpha: np.ndarray | None = None  # (H, W) float32 in [0, 1], 1 is opaque; None: opaque everywhere
    depth: int = 8  # bits of a channel, 8 or 16
    grey: bool = False  # whether it is written with one channel
    icc: bytes | None = None  # colour profile
    exif: bytes | None = None  # without orientation and size
    dpi: tuple[float, float] | None = None  # dots per inch, across and down; None if the file names no unit
    notes: tuple[str, ...] = ()  # properties of the file that are lost, for the user


def read_full_image(path: str | os.PathLike) -> FullImage:
    """Read an image of any kind; only the first page or frame of a file with several.

    16 bits are kept in grey images of all formats and in colour images in PNG, TIFF or PPM files. Palettes become RGB,
    with alpha if they have transparency. CMYK becomes sRGB by its colour profile, or RGB if it has none. The EXIF
    orientation is applied and removed.

    Raises:
        UserError: The file is missing, truncated, not an image, too large, or of more than 16 bits.
    """
    check_regular(path, 'image')
    try:
        if os.path.getsize(path) > MOST_BYTES:
            raise UserError(f'has more than {MOST_BYTES:,} bytes')
        data = Path(path).read_bytes()
        with open_image(io.BytesIO(data)) as image:
            return _read(image, data)
    except TooLarge as error:
        raise unreadable(path, error) from error
    except UserError as error:
        raise UserError(f'{path}: {error}') from error
    except Exception as error:  # the decoders of Pillow and OpenCV may raise anything on damaged files
        raise unreadable(path, error) from error


def _read(opened: ImageFile.ImageFile, data: bytes) -> FullImage:
    image: Image.Image = opened
    frames = 1 if image.format == 'MPO' else getattr(image, 'n_frames', 1)  # MPO: a JPEG file and its preview
    notes = [f'first of {frames} frames'] if frames > 1 else []
    is_deep = has_deep_colour(opened)
    image.load()
    icc: bytes | None = image.info.get('icc_profile')
    exif = image.getexif()
    orientation = exif.get(ORIENTATION, 1)
    depth, grey = 8, False
    levels = read_deep_colour(data) if is_deep else None
    if levels is not None:
        depth, grey = 16, image.format == 'PNG' and data[25] == 4  # grey with alpha, which Pillow opens as RGBA
        orientation = 1 if image.format == 'TIFF' else orientation  # OpenCV has already applied it
    elif image.mode.startswith('I'):
        depth, grey, levels = 16, True, np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise UserError('has more than 16 bits; convert it to 16 bits')
    else:
        image, icc = _simple(image, icc, notes)
        grey, levels = image.mode in ('L', 'LA'), np.asarray(image)
    levels = np.atleast_3d(UPRIGHT.get(orientation, np.asarray)(levels)).astype(np.float32)
    levels /= np.float32(2**depth - 1)
    channels = levels.shape[2]
    colour = levels[..., :3] if channels > 2 else np.repeat(levels[..., :1], 3, axis=2)
    dpi = image.info.get('dpi')
    dpi = tuple(map(float, dpi)) if dpi and min(dpi) > 1 else None
    alpha = np.ascontiguousarray(levels[..., -1]) if channels in (2, 4) else None
    exif_bytes = _exif_bytes(exif, image.format == 'TIFF' or data[:2] in (b'II', b'MM'))
    return FullImage(np.ascontiguousarray(colour), alpha, depth, grey, icc, exif_bytes,
                     dpi[::-1] if dpi and orientation >= 5 else dpi, tuple(notes))


def _simple(image: Image.Image, icc: bytes | None, notes: list[str]) -> tuple[Image.Image, bytes | None]:
    """Convert to L, LA, RGB or RGBA; returns also the colour profile if it is still valid."""
    if image.mode == 'F':
        raise UserError('has floating-point values, whose range is not known; convert it to 16 bits')
    info, mode = image.info, image.mode
    if mode == 'CMYK':
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc or b''))
            srgb = ImageCms.createProfile('sRGB')
            image = ImageCms.profileToProfile(image, profile, srgb, outputMode='RGB')  # type: ignore[assignment]
            notes.append('CMYK became sRGB by its colour profile')
        except (OSError, ImageCms.PyCMSError, TypeError):
            image = image.convert('RGB')
            notes.append('CMYK became RGB without a colour profile; colours may differ a little')
        icc = None
    else:
        if mode in ('LAB', 'YCbCr', 'HSV'):
            notes.append(f'{mode} became RGB, without its colour profile')
            icc = None
        has_alpha = image.has_transparency_data if hasattr(image, 'has_transparency_data') else (  # Pillow >= 10.1
            mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa') or 'transparency' in info)
        target = ('L' if mode in ('1', 'L', 'LA', 'La') else 'RGB') + ('A' if has_alpha else '')
        if target == 'LA' != mode:
            image = image.convert('RGBA')  # Pillow turns a transparent grey level into alpha only in this mode
        image = image.convert(target)
    image.info = info
    return image, icc


def _exif_bytes(exif: Image.Exif, tiff: bool) -> bytes | None:
    """EXIF data without orientation and size; for a TIFF file also without the tags that describe its pixels."""
    for tag in [tag for tag in exif if tag == ORIENTATION or (tiff and tag not in _TIFF_KEPT)]:
        del exif[tag]
    try:
        for tag in SIZE_TAGS if EXIF_IFD in exif else ():
            exif.get_ifd(EXIF_IFD).pop(tag, None)
        return exif.tobytes() if len(exif) else None
    except Exception:  # damaged EXIF data may raise anything; the image is kept without them
        return None


def check_format(ending: str, height: int, width: int, channels: int = 3, depth: int = 8) -> None:
    """Raise ``UserError`` if the file format of ``ending`` cannot hold an image of this size, px, and depth, bits."""
    name = FORMATS[ending]
    longest = LONGEST.get(name)
    if longest and max(height, width) > longest:
        raise UserError(f'{width}×{height} px is more than {ending} can hold ({longest}); write --ext png')
    if name == 'TIFF' and height * width * channels * depth // 8 > TIFF_MOST:
        raise UserError(f'{width}×{height} px may be more than {ending} can hold (4 GiB); write --ext png')


def bytes_to_write(full: FullImage, ending: str, height: int, width: int) -> int:
    """Memory that writing an image of this size takes, bytes; only PNG and TIFF files are written strip by strip."""
    return 0 if _in_strips(FORMATS[ending], full.depth, height * width) else height * width * HELD[FORMATS[ending]]


def _in_strips(name: str, depth: int, pixels: int) -> bool:
    return name == 'TIFF' or (name == 'PNG' and (depth == 16 or pixels > MOST_WHOLE))


def write_full_image(full: FullImage, file: IO[bytes], ending: str) -> tuple[str, ...]:
    """Write an image with its bit depth, transparency, profile, EXIF data and resolution, as far as the format allows.

    JPEG has quality 95 without chroma subsampling, and transparent pixels over white; WebP has quality 95.

    Values outside [0, 1] are clipped. ``file`` is seekable; ``ending`` is a key of ``FORMATS``. Returns a message for
    each property that the format cannot hold.

    Raises:
        UserError: The image is too large for the format.
    """
    return write_strips(full, [(full.colour, full.alpha)], full.colour.shape[:2], file, ending)


def write_strips(like: FullImage, strips: Iterable[Strip], size: tuple[int, int], file: IO[bytes],
                 ending: str) -> tuple[str, ...]:
    """Write an image that is made strip by strip, as :func:`write_full_image` does.

    Args:
        like: Has the depth, transparency, profile, EXIF data and resolution; its pixels are not written.
        strips: Colours and transparency, from top to bottom; transparency where ``like`` has it.
        size: Height and width, px.
    """
    name, depth, alpha, lost = FORMATS[ending], like.depth, like.alpha is not None, []
    check_format(ending, *size, depth=depth)
    if alpha and name == 'JPEG':
        alpha = False
        lost.append(f'{ending} has no transparency: put over white; --ext png keeps it')
    if depth == 16 and name not in ('PNG', 'TIFF'):
        depth = 8
        lost.append(f'{ending} has no 16 bits: 8 written; --ext png keeps them')
    icc = like.icc
    if icc and icc[16:20] == b'GRAY' and (not like.grey or name == 'WEBP'):
        icc = None  # WebP has no grey images, and a grey profile is invalid for a colour image
    levels = _levels(strips, like.grey, alpha, depth)
    if _in_strips(name, depth, size[0] * size[1]):
        (write_tiff if name == 'TIFF' else write_png)(levels, size[0], file, icc, like.exif, like.dpi)
        return tuple(lost)
    # Filled, so that it counts as used memory when the size of tiles is chosen, which happens at the first strip.
    image = Image.new(('L' if like.grey else 'RGB') + ('A' if alpha else ''), size[::-1], 'white')
    top = 0
    for strip in levels:
        image.paste(Image.fromarray(strip[..., 0] if strip.shape[2] == 1 else strip), (0, top))
        top += len(strip)
    known = {'icc_profile': icc, 'exif': like.exif, 'dpi': like.dpi}
    image.save(file, name, **_OPTIONS[name], **{key: value for key, value in known.items() if value})
    return tuple(lost)


def _levels(strips: Iterable[Strip], grey: bool, alpha: bool, depth: int) -> Iterator[np.ndarray]:
    """Levels of at most ``ROWS`` rows at a time, (h, W, C) of 8 or 16 bits; without ``alpha`` over white."""
    for all_colour, all_alpha in strips:
        for top in range(0, len(all_colour), ROWS):
            colour = all_colour[top:top + ROWS].clip(0, 1)
            seen = None if all_alpha is None else all_alpha[top:top + ROWS]
            if seen is not None and not alpha:
                colour = colour * seen[..., None] + (1 - seen[..., None])
            levels = to_levels(to_grey(colour)[..., None] if grey else colour, depth)
            yield np.ascontiguousarray(levels if seen is None or not alpha else
                                       np.dstack([levels, to_levels(seen, depth)]))
        del all_colour, all_alpha, colour, seen  # before the next strip is made


def to_levels(values: np.ndarray, depth: int) -> np.ndarray:
    """Convert values in [0, 1] to levels of 8 or 16 bits: clipped, rounded half to even."""
    top = 2**depth - 1
    return np.rint(np.clip(values, 0, 1) * np.float32(top)).astype(np.uint8 if depth == 8 else np.uint16)


def to_grey(colour: np.ndarray) -> np.ndarray:
    """Convert RGB (H, W, 3) to grey (H, W): the luma of BT.601, as in Pillow."""
    return colour @ np.array([0.299, 0.587, 0.114], np.float32)
