"""An image that is read and written keeps its depth, transparency, profile, EXIF data and resolution."""

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from reflash_sr.data.images import image_with_metadata, write_png_tiff
from reflash_sr.data.images.image_with_metadata import (
    EXIF_IFD,
    GPS_IFD,
    FullImage,
    bytes_to_write,
    check_format,
    read_full_image,
    to_grey,
    write_full_image,
    write_strips,
)
from reflash_sr.data.images.write_png_tiff import write_tiff
from reflash_sr.errors import UserError
from tests.conftest import smooth_image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def rewritten(path, ending=None):
    """Read an image, write it as it is, read that; both, and the second file."""
    full = read_full_image(path)
    target = path.with_name(f'again{ending or path.suffix}')
    with target.open('wb') as file:
        write_full_image(full, file, target.suffix)
    return full, read_full_image(target), target


def deep_levels(rng, channels):
    return rng.integers(0, 65536, (300, 7, channels), dtype=np.uint16)


@pytest.mark.parametrize('ending', ['.png', '.tif'])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_sixteen_bits_survive(tmp_path, rng, channels, ending):
    levels = deep_levels(rng, channels)
    path = tmp_path / f'x{ending}'
    cv2.imwrite(str(path), levels)
    full, again, target = rewritten(path)
    assert full.depth == again.depth == 16
    assert full.grey == again.grey == (channels == 1)
    assert (full.alpha is not None) == (channels == 4)
    written = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16
    # Grey goes through a luma whose weights add up to 1 but for rounding.
    assert np.abs(written.reshape(levels.shape).astype(int) - levels).max() <= (1 if channels == 1 else 0)
    with Image.open(target) as image:
        image.load()  # Pillow agrees that the file is whole
        assert image.size == (7, 300)


@pytest.mark.parametrize('ending', ['.png', '.tif'])
@pytest.mark.parametrize('depth', [8, 16])
@pytest.mark.parametrize('alpha', [False, True])
def test_profile_exif_position_and_resolution_are_kept(tmp_path, ending, depth, alpha):
    source = tmp_path / 'source.png'
    exif = Image.Exif()
    exif[271] = 'Maker'
    exif.get_ifd(EXIF_IFD)[0x9003] = '2020:01:01 00:00:00'
    exif.get_ifd(GPS_IFD).update({1: 'N', 2: (48.0, 51.0, 29.5)})
    image = Image.fromarray(smooth_image(0, 20, 30))
    if alpha:
        image.putalpha(Image.linear_gradient('L').resize((30, 20)))
    image.save(source, exif=exif, icc_profile=SRGB, dpi=(300, 300))
    full = read_full_image(source)
    target = tmp_path / f'again{ending}'
    with target.open('wb') as file:
        assert write_full_image(replace(full, depth=depth), file, ending) == ()
    again = read_full_image(target)
    assert again.depth == depth
    assert again.icc == SRGB
    assert again.dpi == pytest.approx((300, 300), abs=0.1)
    assert np.abs(again.colour - full.colour).max() < 1e-4
    assert again.alpha is None if not alpha else np.abs(again.alpha - full.alpha).max() < 1e-4
    with Image.open(target) as image:
        image.load()
        found = image.getexif()
        assert found[271] == 'Maker'
        assert found.get_ifd(EXIF_IFD)[0x9003] == '2020:01:01 00:00:00'
        assert found.get_ifd(GPS_IFD) == {1: 'N', 2: (48.0, 51.0, 29.5)}


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_other_programs_read_our_tiff_files(tmp_path, rng, channels, dtype):
    levels = rng.integers(0, np.iinfo(dtype).max + 1, (30, 7, channels)).astype(dtype)
    levels[..., 3:] = np.iinfo(dtype).max  # OpenCV multiplies 8-bit colours with alpha
    with (tmp_path / 'x.tif').open('wb') as file:
        write_tiff([levels], 30, file)
    by_opencv = cv2.imread(str(tmp_path / 'x.tif'), cv2.IMREAD_UNCHANGED).reshape(levels.shape)
    assert by_opencv.dtype == dtype
    assert np.array_equal(by_opencv[..., [2, 1, 0, 3][:channels] if channels > 1 else [0]], levels)
    by_tifffile = tifffile.imread(tmp_path / 'x.tif')
    assert by_tifffile.dtype == dtype
    assert np.array_equal(by_tifffile.reshape(levels.shape), levels)


@pytest.mark.parametrize('mode, grey, alpha', [('1', True, False), ('L', True, False), ('LA', True, True),
                                               ('RGB', False, False), ('RGBA', False, True), ('P', False, False)])
def test_modes_keep_grey_and_alpha(tmp_path, mode, grey, alpha):
    image = Image.fromarray(smooth_image(0, 20, 30)).convert(mode)
    if alpha:
        image.putalpha(Image.linear_gradient('L').resize((30, 20)))
    image.save(tmp_path / 'x.png')
    full, again, target = rewritten(tmp_path / 'x.png')
    assert (full.grey, full.alpha is not None) == (grey, alpha)
    assert np.array_equal(full.colour, again.colour)
    assert np.array_equal(np.asarray(Image.open(target).convert('RGBA')),
                          np.asarray(Image.open(tmp_path / 'x.png').convert('RGBA')))
    if grey:
        assert Image.open(target).mode == ('LA' if alpha else 'L')


@pytest.mark.parametrize('mode', ['P', 'L', 'RGB'])
def test_a_transparent_colour_becomes_alpha(tmp_path, mode):
    image = Image.fromarray(smooth_image(0, 20, 30)).convert(mode)
    image.save(tmp_path / 'x.png', transparency=image.getpixel((0, 0)))
    full = read_full_image(tmp_path / 'x.png')
    assert full.alpha[0, 0] == 0
    assert full.alpha.max() == 1
    assert full.grey == (mode == 'L')


def test_deep_grey_with_alpha_is_grey_and_deep(tmp_path, rng):
    levels = deep_levels(rng, 3)
    levels[..., 1:2] = levels[..., :1]
    cv2.imwrite(str(tmp_path / 'x.png'), levels[..., [0, 0, 0, 2]])
    full = read_full_image(tmp_path / 'x.png')
    with (tmp_path / 'la.png').open('wb') as file:
        write_full_image(replace(full, grey=True), file, '.png')
    again = read_full_image(tmp_path / 'la.png')
    assert (again.grey, again.depth) == (True, 16)
    assert np.abs(again.colour - full.colour).max() < 2e-5
    assert np.array_equal(again.alpha, full.alpha)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('ending', ['.png', '.tif'])
def test_orientation_is_applied_once_and_the_rest_of_exif_kept(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[272] = 'Model'
    path = tmp_path / f'x{ending}'
    Image.fromarray(smooth_image(0, 20, 30)).save(path, exif=exif)
    with Image.open(path) as image:
        image.load()
        upright = np.asarray(ImageOps.exif_transpose(image))
    full, again, target = rewritten(path)
    assert np.array_equal(np.rint(full.colour * 255).astype(np.uint8), upright)
    assert np.array_equal(again.colour, full.colour)
    with Image.open(target) as image:
        image.load()
        assert image.getexif()[272] == 'Model'
        assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize('ending', ['.png', '.jpg', '.tif', '.webp'])
def test_profile_is_kept_in_every_format(tmp_path, ending):
    Image.fromarray(smooth_image(0, 20, 30)).save(tmp_path / 'x.png', icc_profile=SRGB)
    _, again, _ = rewritten(tmp_path / 'x.png', ending)
    assert again.icc == SRGB


def test_cmyk_becomes_rgb_without_its_profile(tmp_path):
    Image.fromarray(smooth_image(0, 20, 30)).convert('CMYK').save(tmp_path / 'x.jpg', icc_profile=SRGB)
    full = read_full_image(tmp_path / 'x.jpg')
    assert full.icc is None
    assert 'CMYK' in full.notes[0]
    assert full.colour.shape == (20, 30, 3)


def test_first_frame_of_an_animation_with_a_note(tmp_path):
    frames = [Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue')]
    frames[0].save(tmp_path / 'x.gif', save_all=True, append_images=frames[1:])
    full = read_full_image(tmp_path / 'x.gif')
    assert full.colour[0, 0].tolist() == [1, 0, 0]
    assert full.notes == ('first of 2 frames',)


def test_jpeg_shows_transparent_pixels_white_and_says_so(tmp_path):
    Image.new('RGBA', (8, 8), (255, 0, 0, 0)).save(tmp_path / 'x.png')
    file = io.BytesIO()
    assert 'transparency' in write_full_image(read_full_image(tmp_path / 'x.png'), file, '.jpg')[0]
    assert np.asarray(Image.open(file)).min() == 255


def test_what_cannot_be_read_is_named_in_one_line(tmp_path):
    Image.fromarray(smooth_image(0, 64, 64)).save(tmp_path / 'cut.png')
    (tmp_path / 'cut.png').write_bytes((tmp_path / 'cut.png').read_bytes()[:900])
    (tmp_path / 'text.png').write_text('not an image')
    Image.fromarray(np.ones((3, 3), np.float32)).save(tmp_path / 'float.tif')
    for name in ('cut.png', 'text.png', 'float.tif', 'missing.png'):
        with pytest.raises(UserError, match=name) as caught:
            read_full_image(tmp_path / name)
        assert '\n' not in str(caught.value)


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    Image.fromarray(smooth_image(0, 64, 64)).save(tmp_path / 'x.png')
    monkeypatch.setenv('REFLASH_SR_MAX_MEGAPIXELS', '0.001')
    with pytest.raises(UserError, match=r'more than the limit of 0\.001 megapixels'):
        read_full_image(tmp_path / 'x.png')


def test_grey_of_equal_channels_is_the_channel(rng):
    grey = rng.random((5, 6, 1), dtype=np.float32)
    assert np.allclose(to_grey(np.repeat(grey, 3, axis=2)), grey[..., 0], atol=1e-6)


def test_exif_does_not_keep_a_size_that_no_longer_holds(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0xA002: 30, 0xA003: 20, 0x9003: '2020:01:01 00:00:00'})
    Image.fromarray(smooth_image(0, 20, 30)).save(tmp_path / 'x.jpg', exif=exif)
    _, _, target = rewritten(tmp_path / 'x.jpg')
    with Image.open(target) as image:
        assert dict(image.getexif().get_ifd(0x8769)) == {0x9003: '2020:01:01 00:00:00'}


@pytest.mark.parametrize('ending', ['.png', '.tif', '.jpg', '.webp'])
@pytest.mark.parametrize('depth', [8, 16])
@pytest.mark.parametrize('grey, alpha', [(False, False), (False, True), (True, False), (True, True)])
def test_strips_of_any_height_are_the_image(tmp_path, monkeypatch, rng, ending, depth, grey, alpha):
    monkeypatch.setattr(image_with_metadata, 'MOST_WHOLE', 1000)  # px: this image counts as large
    monkeypatch.setattr(write_png_tiff, 'TIFF_ROWS', 40)
    colour = rng.random((211, 30, 3), dtype=np.float32)
    colour = np.repeat(colour[..., :1], 3, axis=2) if grey else colour
    full = FullImage(colour, rng.random((211, 30), dtype=np.float32) if alpha else None, depth, grey, SRGB, None,
                     (300, 300))
    files = [io.BytesIO(), io.BytesIO()]
    strips = [(full.colour[top:bottom], None if full.alpha is None else full.alpha[top:bottom])
              for top, bottom in ((0, 1), (1, 70), (70, 200), (200, 211))]
    write_full_image(full, files[0], ending)
    write_strips(full, strips, (211, 30), files[1], ending)
    for place, file in enumerate(files):
        (tmp_path / f'{place}{ending}').write_bytes(file.getvalue())
    whole, again = (read_full_image(tmp_path / f'{place}{ending}') for place in range(2))
    assert np.array_equal(whole.colour, again.colour)
    assert (whole.alpha is None) == (again.alpha is None) and np.array_equal(whole.alpha, again.alpha)
    assert again.colour.shape == (211, 30, 3)
    if ending in ('.png', '.tif'):
        assert np.abs(again.colour - full.colour).max() < 0.6 / (2**depth - 1)
        assert again.icc == SRGB and again.dpi == pytest.approx((300, 300), abs=0.1)
        levels = cv2.imread(str(tmp_path / f'1{ending}'), cv2.IMREAD_UNCHANGED)
        assert levels.shape[:2] == (211, 30)
        assert levels.dtype == (np.uint8 if depth == 8 else np.uint16)
    if ending == '.tif':
        assert tifffile.imread(tmp_path / '1.tif').shape[:2] == (211, 30)


def test_only_what_pillow_writes_whole_takes_memory():
    full = FullImage(np.zeros((1, 1, 3), np.float32))
    taken = {ending: bytes_to_write(full, ending, 12_000, 16_000) for ending in ('.png', '.tif', '.jpg', '.webp')}
    assert taken['.png'] == taken['.tif'] == 0
    assert min(taken['.jpg'], taken['.webp']) > 12_000 * 16_000 * 4


def test_a_tiff_file_above_its_limit_is_refused_beforehand():
    check_format('.tif', 30_000, 40_000)
    with pytest.raises(UserError, match='--ext png'):
        check_format('.tif', 30_000, 40_000, depth=16)
