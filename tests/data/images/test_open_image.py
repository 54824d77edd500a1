"""Opening images: which files are images, how large they may be, and what other code in the process keeps."""

import subprocess
import sys
import threading
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from reflash_sr.data.images import open_image as opening
from reflash_sr.data.images.image_with_metadata import read_full_image
from reflash_sr.data.images.open_image import LIMIT, open_image, suffixes
from reflash_sr.data.images.read_image import depth_note, find_images, image_size, read_header, read_image
from reflash_sr.errors import UserError
from tests.conftest import smooth_image
from tests.data.images.test_read_image import png_header


@pytest.mark.filterwarnings('ignore:IM image format')
def test_whatever_pillow_writes_and_reads_counts_as_an_image_in_a_folder(tmp_path):
    Image.init()
    written = set()
    for ending, name in Image.registered_extensions().items():
        if name in Image.SAVE and ending in suffixes():
            for mode in ('RGB', 'L', '1'):
                try:
                    Image.fromarray(smooth_image(0, 32, 32)).convert(mode).save(tmp_path / f'x{ending}')
                    written.add(f'x{ending}')
                    break
                except (OSError, KeyError, ValueError):  # the format has no such mode
                    (tmp_path / f'x{ending}').unlink(missing_ok=True)
    assert {'x.png', 'x.jpg', 'x.webp', 'x.tif', 'x.ppm', 'x.tga'} <= written
    images, others = find_images(tmp_path)
    assert ({path.name for path in images}, others) == (written, [])
    assert all(read_image(path).shape[2] == 3 for path in images)  # icons come in sizes of their own


@pytest.mark.skipif('.avif' not in suffixes(), reason='this Pillow reads no AVIF')
def test_a_folder_of_avif_is_a_folder_of_images(tmp_path):
    Image.fromarray(smooth_image(0, 32, 48)).save(tmp_path / 'x.avif')
    assert [path.name for path in find_images(tmp_path)[0]] == ['x.avif']
    assert image_size(tmp_path / 'x.avif') == (32, 48)


def test_what_pillow_only_identifies_and_what_is_no_picture_is_no_image():
    assert not suffixes() & {'.eps', '.pdf', '.wmf', '.h5', '.grib', '.mpg', '.pfm', '.iim', '.txt'}


def test_a_format_that_a_plugin_registers_counts_too(tmp_path, monkeypatch):
    class Own(Image.Image):
        pass

    monkeypatch.setattr(Image, 'ID', [*Image.ID, 'OWN'])
    monkeypatch.setitem(Image.OPEN, 'OWN', (Own, None))
    monkeypatch.setitem(Image.EXTENSION, '.own', 'OWN')
    assert '.own' in suffixes()


def test_pictures_above_the_limit_of_pillow_are_opened_and_the_limit_stays_for_others(tmp_path):
    path = tmp_path / 'x.png'
    path.write_bytes(png_header(14_000))  # 196 megapixels
    assert image_size(path) == (14_000, 14_000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)


@pytest.mark.parametrize('read', [read_image, read_full_image, image_size])
def test_the_limit_is_said_with_the_way_to_raise_it(tmp_path, monkeypatch, read):
    path = tmp_path / 'x.png'
    path.write_bytes(png_header(40_000))
    with pytest.raises(UserError) as caught:
        read(path)
    assert '40000×40000 px are more than the limit of 1000 megapixels' in str(caught.value)
    assert f'set the environment variable {LIMIT}=1600' in str(caught.value)
    assert 'attack' not in str(caught.value)
    monkeypatch.setenv(LIMIT, '1600')
    monkeypatch.setattr(opening, 'free_on_machine', lambda: None)
    assert image_size(path) == (40_000, 40_000)
    monkeypatch.setenv(LIMIT, 'many')
    with pytest.raises(UserError, match=f"{LIMIT} is 'many'"):
        read(path)


@pytest.mark.parametrize(('kind', 'needed'), [(2, '4.7'), (6, '8.0')])
def test_an_image_that_needs_more_than_the_free_memory_is_refused(tmp_path, monkeypatch, kind, needed):
    path = tmp_path / 'x.png'
    path.write_bytes(png_header(14_000, kind))
    monkeypatch.setattr(opening, 'free_on_machine', lambda: 10**9)
    with pytest.raises(UserError, match=rf'x\.png: .*14000×14000 px need {needed} GB of memory, 1\.0 GB are free'):
        read_image(path)


def test_warnings_are_ignored_in_the_reading_thread_alone(tmp_path):
    Image.fromarray(smooth_image(0, 8, 8)).save(tmp_path / 'x.png')

    def warn():
        warnings.warn_explicit('damaged', UserWarning, 'x.py', 1, module='PIL.TiffImagePlugin', registry={})

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        with open_image(tmp_path / 'x.png'):
            warn()
            assert not caught
            other = threading.Thread(target=warn)
            other.start()
            other.join()
            assert len(caught) == 1
        warn()
        assert len(caught) == 2


def test_the_import_silences_nothing():
    code = ('import warnings, reflash_sr; '
            "warnings.warn_explicit('seen', UserWarning, 'x.py', 1, module='PIL.Image', registry={})")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=300)
    assert 'UserWarning: seen' in done.stderr


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('ending', ['.png', '.tif', '.jpg'])
def test_the_size_in_the_header_is_that_of_the_upright_image(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new('RGB', (20, 30)).save(tmp_path / f'x{ending}', exif=exif)
    assert image_size(tmp_path / f'x{ending}') == read_image(tmp_path / f'x{ending}').shape[:2]


def test_a_file_of_a_format_with_a_limit_of_its_own_is_refused_in_plain_words(tmp_path, monkeypatch):
    Image.fromarray(smooth_image(0, 64, 64)).save(tmp_path / 'x.png')

    def refuse(_):
        raise Image.DecompressionBombError('could be decompression bomb DOS attack')

    monkeypatch.setattr(opening, '_identify', refuse)
    with pytest.raises(UserError, match='convert it to PNG') as caught:
        read_image(tmp_path / 'x.png')
    assert 'attack' not in str(caught.value)


def test_sixteen_bit_colours_are_rounded_like_grey_levels(tmp_path, rng):
    levels = rng.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    for ending in ('png', 'tif', 'ppm'):
        cv2.imwrite(str(tmp_path / f'x.{ending}'), levels[..., ::-1])
        assert np.array_equal(read_image(tmp_path / f'x.{ending}'), np.rint(levels / 257).astype(np.uint8)), ending


def test_images_of_more_than_eight_bits_are_known_by_their_header(tmp_path, rng):
    levels = rng.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    deep = [tmp_path / name for name in ('rgb.png', 'rgb.tif', 'rgb.ppm', 'grey.png', 'grey.tif')]
    for path in deep:
        cv2.imwrite(str(path), levels if path.stem == 'rgb' else levels[..., 0])
    plain = [tmp_path / name for name in ('x.png', 'x.tif', 'x.ppm', 'x.jpg', 'x.gif')]
    for path in plain:
        Image.fromarray(smooth_image(0, 20, 30)).save(path)
    assert [read_header(path) for path in deep] == [(20, 30, True)] * 5
    assert [read_header(path) for path in plain] == [(20, 30, False)] * 5
    assert depth_note([True, False, True]) == '2 of 3 images have 16 bits per channel; they are rounded to 8 bits'
    assert depth_note([False]) == depth_note([]) == ''


@pytest.mark.parametrize('content', [b'', b'x', b'\x89PNG', b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n'])
def test_what_is_no_image_is_said_to_be_none(tmp_path, content):
    (tmp_path / 'x.png').write_bytes(content)
    with pytest.raises(UserError, match='no known image format'):
        read_image(tmp_path / 'x.png')
