"""Image files with damages: read, or refused in one line; nothing hangs, nothing else is raised."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reflash_sr.data.images.image_with_metadata import read_full_image
from reflash_sr.data.images.read_image import image_size, read_image
from reflash_sr.errors import UserError
from tests.conftest import smooth_image
from tests.fuzz.strategies import damages, examples, is_one_line

KINDS = {
    'rgb.png': ('RGB', {}), 'rgba.png': ('RGBA', {}), 'palette.png': ('P', {}), 'grey.png': ('L', {}),
    'rgb.jpg': ('RGB', {}), 'cmyk.jpg': ('CMYK', {}), 'progressive.jpg': ('RGB', {'progressive': True}),
    'raw.tif': ('RGB', {}), 'lzw.tif': ('RGB', {'compression': 'tiff_lzw'}),
    'deflate.tif': ('RGBA', {'compression': 'tiff_adobe_deflate'}), 'jpeg.tif': ('RGB', {'compression': 'jpeg'}),
    'rgb.webp': ('RGB', {}), 'lossless.webp': ('RGBA', {'lossless': True}), 'rgb.bmp': ('RGB', {}),
    'palette.gif': ('P', {}), 'rgb.ppm': ('RGB', {}), 'rgb.tga': ('RGB', {}), 'rgb.jp2': ('RGB', {}),
}  # yapf: disable
DEEP = ('deep.png', 'deep.tif')


def encoded(name):
    """A valid file, with EXIF data where the format has them."""
    buffer = io.BytesIO()
    if name in DEEP:
        levels = np.arange(24 * 20, dtype=np.uint16).reshape(24, 20) * 100
        Image.fromarray(levels).save(buffer, {'deep.png': 'PNG', 'deep.tif': 'TIFF'}[name])
        return buffer.getvalue()
    mode, more = KINDS[name]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, 'a photograph'
    image = Image.fromarray(smooth_image(0, 24, 20)).convert(mode)
    suffix = '.' + name.split('.')[1]
    if suffix in ('.png', '.jpg', '.webp', '.tif'):
        more = {**more, 'exif': exif}
    image.save(buffer, Image.registered_extensions()[suffix], **more)
    return buffer.getvalue()


@pytest.fixture(scope='module')
def files():
    return {name: encoded(name) for name in (*KINDS, *DEEP)}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('damaged')


@examples(150)
@given(data=st.data(), name=st.sampled_from((*KINDS, *DEEP)))
def test_a_damaged_image_is_read_or_refused(files, folder, data, name):
    path = folder / name
    path.write_bytes(data.draw(damages(files[name])))
    for read in (read_image, read_full_image, image_size):
        try:
            result = read(path)
        except UserError as error:
            assert is_one_line(error, str(path))
            continue
        if read is read_image:
            assert result.ndim == 3 and result.shape[2] == 3 and result.dtype == np.uint8 and result.size
        elif read is read_full_image:
            assert result.colour.ndim == 3 and result.colour.dtype == np.float32
            assert result.colour.min() >= 0 and result.colour.max() <= 1
            assert result.alpha is None or result.alpha.shape == result.colour.shape[:2]


@examples(20)
@given(content=st.binary(max_size=200),
       start=st.sampled_from((b'', b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff', b'II*\0', b'BM', b'GIF89a',
                              b'RIFF\0\0\0\0WEBPVP8 ', b'P6\n')))
def test_junk_is_read_or_refused(folder, content, start):
    path = folder / 'junk.png'
    path.write_bytes(start + content)
    for read in (read_image, read_full_image, image_size):
        try:
            read(path)
        except UserError as error:
            assert is_one_line(error, str(path))
