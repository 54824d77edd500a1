"""An image with all that a viewer makes use of: depth, transparency, colour profile, EXIF data; read and written."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from PIL import Image, ImageCms

from reflash_sr.data.images.read_image import unreadable
from reflash_sr.data.images.write_16bit import write_png, write_tiff
from reflash_sr.errors import UserError
from reflash_sr.system.files import check_regular

FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.jpe': 'JPEG', '.jfif': 'JPEG', '.tif': 'TIFF',
           '.tiff': 'TIFF', '.webp': 'WEBP'}
LONGEST = {'JPEG': 65535, 'WEBP': 16383}  # px: what the format can hold
_OPTIONS: dict[str, dict[str, Any]] = {
    'PNG': {}, 'JPEG': {'quality': 95, 'subsampling': 0}, 'WEBP': {'quality': 95, 'method': 4},
    'TIFF': {'compression': 'tiff_adobe_deflate'}}  # yapf: disable
_DEEP_WRITERS: dict[str, Callable[..., None]] = {'PNG': write_png, 'TIFF': write_tiff}
MOST_BYTES = 2**31  # 178 megapixels of 16 bits have less
ORIENTATION, EXIF_IFD, GPS_IFD = 0x0112, 0x8769, 0x8825
SIZE_TAGS = (0xA002, 0xA003)  # in the EXIF directory: px
# Of a TIFF file, whose EXIF data lies among the tags that describe its pixels: what describes the photograph instead.
_TIFF_KEPT = {270, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432, EXIF_IFD, GPS_IFD, *range(40091, 40096)}
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1), 7: lambda x: np.rot90(x, 2).swapaxes(0, 1), 8: np.rot90}  # yapf: disable


@dataclass(frozen=True)
class FullImage:
    """An image, upright.

    Attributes:
        colour: (H, W, 3) float32 in [0, 1], RGB; the channels of a grey image are equal.
        alpha: (H, W) float32 in [0, 1], 1 is opaque; None: opaque throughout.
        depth: Bits of a channel, 8 or 16.
        grey: Whether it is written with one channel.
        icc: Colour profile.
        exif: EXIF data, without orientation and size.
        dpi: Dots per inch, across and down; None where there is no unit.
        notes: What could not be kept, for the user.
    """

    colour: np.ndarray
    alpha: np.ndarray | None = None
    depth: int = 8
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def read_full_image(path: str | os.PathLike) -> FullImage:
    """Read an image of any kind; of an animation or a file of several pages, the first.

    16 bits are kept, in grey images of all formats and in colour images that are PNG, TIFF or PPM files. Palettes
    become RGB, with alpha where they have transparency; CMYK becomes sRGB by its profile, plain RGB without one. The
    EXIF orientation is applied and taken out.

    Raises:
        UserError: The file is missing, truncated, not an image, larger than Pillow opens (178 megapixels), or of
            more than 16 bits.
    """
    check_regular(path, 'image')
    try:
        if os.path.getsize(path) > MOST_BYTES:
            raise UserError(f'has more than {MOST_BYTES:,} bytes')
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            return _read(image, data)
    except UserError as error:
        raise UserError(f'{path}: {error}') from error
    except Exception as error:  # the decoders of Pillow and OpenCV raise nearly anything on damaged files
        raise unreadable(path, error) from error


def _read(image: Image.Image, data: bytes) -> FullImage:
    frames = 1 if image.format == 'MPO' else getattr(image, 'n_frames', 1)  # MPO: a JPEG file with its preview
    notes = [f'first of {frames} frames'] if frames > 1 else []
    image.load()
    icc = image.info.get('icc_profile')
    exif = image.getexif()
    orientation = exif.get(ORIENTATION, 1)
    depth, grey, levels = 8, False, None
    if image.format in ('PNG', 'TIFF', 'PPM') and image.mode in ('RGB', 'RGBA', 'LA') and _is_deep(image, data):
        levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if levels is not None and levels.dtype == np.uint16 and levels.ndim == 3:
            depth, grey = 16, image.format == 'PNG' and data[25] == 4  # which Pillow opens as RGBA
            levels = levels[..., [2, 1, 0, 3][:levels.shape[2]]]
            orientation = 1 if image.format == 'TIFF' else orientation  # OpenCV has applied a TIFF file's
        else:
            levels = None
    if levels is None and image.mode.startswith('I'):
        depth, grey, levels = 16, True, _grey16(np.asarray(image))
    elif levels is None:
        image, icc = _simple(image, icc, notes)
        grey = image.mode in ('L', 'LA')
        levels = np.asarray(image)
        levels = levels[..., None] if levels.ndim == 2 else levels
    levels = _UPRIGHT.get(orientation, np.asarray)(levels).astype(np.float32) / np.float32(2**depth - 1)
    channels = levels.shape[2]
    colour = levels[..., :3] if channels > 2 else np.repeat(levels[..., :1], 3, axis=2)
    dpi = image.info.get('dpi')
    dpi = tuple(map(float, dpi)) if dpi and min(dpi) > 1 else None
    alpha = np.ascontiguousarray(levels[..., -1]) if channels in (2, 4) else None
    exif_bytes = _exif_bytes(exif, image.format == 'TIFF' or data[:2] in (b'II', b'MM'))
    return FullImage(np.ascontiguousarray(colour), alpha, depth, grey, icc, exif_bytes,
                     dpi[::-1] if dpi and orientation >= 5 else dpi, tuple(notes))


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether an image that Pillow opens in 8 bits has 16."""
    if image.format == 'PNG':
        return data[24] == 16
    return image.format == 'PPM' or max(image.tag_v2.get(258, (8,))) == 16


def _grey16(levels: np.ndarray) -> np.ndarray:
    if levels.min() < 0 or levels.max() > 65535:
        raise UserError('has more than 16 bits; convert it to 16 bits')
    return levels[..., None]


def _simple(image: Image.Image, icc: bytes | None, notes: list[str]) -> tuple[Image.Image, bytes | None]:
    """Convert to L, LA, RGB or RGBA; the second is the profile that still holds."""
    if image.mode == 'F':
        raise UserError('has floating-point values, whose range is not known; convert it to 16 bits')
    if image.mode == 'CMYK':
        return _from_cmyk(image, icc, notes), None
    see_through = image.has_transparency_data if hasattr(image, 'has_transparency_data') else (
        image.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa') or 'transparency' in image.info)
    mode = 'L' if image.mode in ('1', 'L', 'LA', 'La') else 'RGB'
    mode += ('A' if see_through else '')
    if image.mode in ('LAB', 'YCbCr', 'HSV'):
        notes.append(f'{image.mode} became RGB, without its colour profile')
        icc = None
    info = image.info
    if mode == 'LA' and image.mode != mode:
        image = image.convert('RGBA')  # which alone knows of a transparent level
    image = image.convert(mode)
    image.info = info
    return image, icc


def _from_cmyk(image: Image.Image, icc: bytes | None, notes: list[str]) -> Image.Image:
    info = image.info
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc or b''))
        image = ImageCms.profileToProfile(image, profile, ImageCms.createProfile('sRGB'), outputMode='RGB')
        notes.append('CMYK became sRGB by its colour profile')
    except (OSError, ImageCms.PyCMSError, TypeError):
        image = image.convert('RGB')
        notes.append('CMYK became RGB without a colour profile; colours may differ a little')
    image.info = info
    return image


def _exif_bytes(exif: Image.Exif, tiff: bool) -> bytes | None:
    """EXIF data without orientation and size and, of a TIFF file, without what describes its pixels."""
    for tag in [tag for tag in exif if tag == ORIENTATION or (tiff and tag not in _TIFF_KEPT)]:
        del exif[tag]
    try:
        for tag in SIZE_TAGS if EXIF_IFD in exif else ():
            exif.get_ifd(EXIF_IFD).pop(tag, None)
        return exif.tobytes() if len(exif) else None
    except Exception:  # damaged in one of many ways: not worth the image
        return None


def check_format(ending: str, height: int, width: int) -> None:
    """Refuse sides that a format cannot hold; raises ``UserError``."""
    longest = LONGEST.get(FORMATS[ending])
    if longest and max(height, width) > longest:
        raise UserError(f'{width}×{height} px is more than {ending} can hold ({longest}); write --ext png')


def write_full_image(full: FullImage, file: IO[bytes], ending: str) -> tuple[str, ...]:
    """Write an image with its depth, transparency, profile, EXIF data and resolution, where the format has them.

    JPEG is written with quality 95 and full colour resolution, transparent pixels over white; WebP with quality 95.

    Args:
        image: The image; values outside [0, 1] are clipped.
        file: Open for writing; the position can be set.
        ending: One of ``FORMATS``.

    Returns:
        What the format could not keep.

    Raises:
        UserError: The image is too large for the format.
    """
    name, lost = FORMATS[ending], []
    check_format(ending, *full.colour.shape[:2])
    colour, alpha, depth = full.colour, full.alpha, full.depth
    if alpha is not None and name == 'JPEG':
        colour, alpha = colour.clip(0, 1) * alpha[..., None] + (1 - alpha[..., None]), None
        lost.append(f'{ending} has no transparency: put over white; --ext png keeps it')
    if depth == 16 and name not in _DEEP_WRITERS:
        depth = 8
        lost.append(f'{ending} has no 16 bits: 8 written; --ext png keeps them')
    levels = to_levels(to_grey(colour)[..., None] if full.grey else colour, depth)
    if alpha is not None:
        levels = np.dstack([levels, to_levels(alpha, depth)])
    icc = full.icc
    if icc and icc[16:20] == b'GRAY' and (not full.grey or name == 'WEBP'):
        icc = None  # WebP has no grey images, and a profile must be one of its image's kind
    if depth == 16:
        _DEEP_WRITERS[name](levels, file, icc, full.exif, full.dpi)
        return tuple(lost)
    known = {'icc_profile': icc, 'exif': full.exif, 'dpi': full.dpi}
    image = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else np.ascontiguousarray(levels))
    image.save(file, name, **_OPTIONS[name], **{key: value for key, value in known.items() if value})
    return tuple(lost)


def to_levels(values: np.ndarray, depth: int) -> np.ndarray:
    """Values in [0, 1] to levels of 8 or 16 bits: clipped, rounded half to even."""
    top = 2**depth - 1
    return np.rint(np.clip(values, 0, 1) * np.float32(top)).astype(np.uint8 if depth == 8 else np.uint16)


def to_grey(colour: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB to (H, W): the luma of BT.601, as Pillow takes it."""
    return colour @ np.array([0.299, 0.587, 0.114], np.float32)
