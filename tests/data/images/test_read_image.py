"""Finding and reading images."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reflash_sr.data.images.bundled_photos import SETS, photo_paths
from reflash_sr.data.images.image_with_metadata import read_full_image
from reflash_sr.data.images.read_image import check_all, find_images, image_size, natural_key, read_image
from reflash_sr.errors import UserError
from tests.conftest import smooth_image


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'CMYK', '1', 'LA'])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ('x.tif' if mode == 'CMYK' else 'x.png')
    Image.fromarray(smooth_image(0, 20, 30)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8


def test_sixteen_bits_are_rounded_not_cut(tmp_path):
    grey = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    Image.fromarray(grey).save(tmp_path / 'x.png')
    assert np.array_equal(read_image(tmp_path / 'x.png')[..., 1], np.rint(grey / 257).astype(np.uint8))


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth_image(0, 20, 30)).save(tmp_path / 'x.jpg', exif=exif)
    assert read_image(tmp_path / 'x.jpg').shape == (30, 20, 3)
    assert image_size(tmp_path / 'x.jpg') == (30, 20)


@pytest.mark.parametrize('damage', ['cut', 'text', 'empty', 'missing'])
def test_broken_files_are_named(tmp_path, damage):
    path = tmp_path / 'broken.png'
    Image.fromarray(smooth_image(0, 64, 64)).save(path)
    whole = path.read_bytes()
    {'cut': lambda: path.write_bytes(whole[:len(whole) // 2]), 'text': lambda: path.write_text('not an image'),
     'empty': lambda: path.write_bytes(b''), 'missing': path.unlink}[damage]()
    with pytest.raises(UserError, match=r'broken\.png: (cannot be read as an image|no such image)'):
        read_image(path)


@pytest.mark.parametrize('read', [read_image, read_full_image, image_size])
@pytest.mark.parametrize(('content', 'what'), [
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n', "Git LFS.*'git lfs pull'"),
    (b'<!DOCTYPE html><html>404</html>', 'a web page: the download failed')])
def test_what_took_the_place_of_an_image_is_named(tmp_path, read, content, what):
    (tmp_path / 'x.png').write_bytes(content)
    with pytest.raises(UserError, match=rf'x\.png: .*{what}'):
        read(tmp_path / 'x.png')


@pytest.mark.parametrize('path', ['https://example.org/x.png', 'http://example.org/x.png'])
def test_a_web_address_is_said_to_be_one(path):
    for given in (path, Path(path)):
        with pytest.raises(UserError, match='is a web address; download the image, and give its path'):
            read_image(given)


def test_folders_are_searched_in_natural_order_without_hidden_files(image_folder):
    (image_folder / '.hidden.png').write_bytes(b'')
    (image_folder / 'Thumbs.db').write_bytes(b'')
    (image_folder / 'notes.txt').write_text('x')
    images, others = find_images(image_folder)
    assert [path.name for path in images] == ['a 1.png', 'b 2.png', 'c.jpg', 'd 10.bmp']
    assert [path.name for path in others] == ['notes.txt']
    assert sorted(['img10', 'img2', '1b', 'a'], key=natural_key) == ['1b', 'a', 'img2', 'img10']


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(UserError, match='nowhere: no such folder'):
        find_images(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='no image in this folder'):
        find_images(tmp_path)


def test_check_all_names_what_is_too_small(tmp_path):
    Image.fromarray(smooth_image(0, 3, 30)).save(tmp_path / 'x.png')
    with pytest.raises(UserError, match=r'x\.png: 30×3 px is too small: because'):
        check_all([tmp_path / 'x.png'], 4, 'because')


def test_photographs_of_installed_packages_are_there_and_held_out_ones_apart():
    train, val = photo_paths('train'), photo_paths('val')
    assert (len(train), len(val)) == (16, 2)
    assert not set(SETS['train']) & set(SETS['val'])
    assert all(min(read_image(path).shape[:2]) >= 300 for path in train + val)
    with pytest.raises(UserError, match='photos:train or photos:val'):
        photo_paths('test')


def png_header(side, kind=2):
    """A PNG file of about 100 bytes that claims to be ``side`` × ``side`` px, RGB (2) or RGBA (6)."""

    def chunk(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, kind, 0, 0, 0)) +
            chunk(b'IDAT', zlib.compress(b'\0' * 99)) + chunk(b'IEND', b''))


@pytest.mark.parametrize('side', [12_000, 30_000])
@pytest.mark.parametrize('read', [read_image, read_full_image])
def test_a_small_file_that_claims_to_be_large_is_refused(tmp_path, read, side):
    (tmp_path / 'x.png').write_bytes(png_header(side))
    with pytest.raises(UserError, match=r'x\.png: cannot be read as an image'):
        read(tmp_path / 'x.png')


@pytest.mark.parametrize('read', [read_image, read_full_image, image_size])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, read):
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'folder.png').mkdir()
    (tmp_path / 'link.png').symlink_to(tmp_path / 'nowhere')
    (tmp_path / 'device.png').symlink_to('/dev/zero')
    for name, message in (('pipe', 'a pipe'), ('folder', 'a folder'), ('link', 'a link to nothing'),
                          ('device', 'a device')):
        with pytest.raises(UserError, match=rf'{name}\.png: .*{message}'):
            read(tmp_path / f'{name}.png')


@pytest.mark.parametrize('read', [read_image, lambda path: read_full_image(path).colour])
def test_one_pixel_and_a_wrong_ending_are_read(tmp_path, read):
    Image.fromarray(smooth_image(0, 1, 1)).save(tmp_path / 'x.jpg', format='PNG')
    assert read(tmp_path / 'x.jpg').shape == (1, 1, 3)


def test_values_without_a_range_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / 'x.tif')
    with pytest.raises(UserError, match='floating-point'):
        read_image(tmp_path / 'x.tif')


def test_links_that_lead_round_and_round_repeat_no_image(image_folder):
    (image_folder / 'inner folder' / 'up').symlink_to(image_folder)
    (image_folder / 'again').symlink_to(image_folder / 'inner folder')
    images, _ = find_images(image_folder)
    assert len({path.resolve() for path in images}) == len(images) == 4


def test_a_folder_inside_that_cannot_be_read_is_named(image_folder, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith('inner folder'):
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refusing)
    with pytest.raises(UserError, match='inner folder: this folder cannot be read'):
        find_images(image_folder)


NAMES = ('-rf.png', ' a.png', 'x²1.png', 'x2²10.png', 'é 猫.png', 'two\nlines.png', '١٢.png', '%s{}.png', "q'\".png")


def test_any_name_is_found_and_read(tmp_path):
    for name in NAMES:
        Image.fromarray(smooth_image(0, 8, 8)).save(tmp_path / name)
    images, _ = find_images(tmp_path)
    assert {path.name for path in images} == set(NAMES)
    assert all(read_image(path).shape == (8, 8, 3) for path in images)


def test_names_that_no_table_can_hold_and_broken_files_are_named_in_one_line(tmp_path):
    (tmp_path / 'two\nlines \x1b[2J.png').write_bytes(b'')
    with pytest.raises(UserError) as caught:
        read_image(tmp_path / 'two\nlines \x1b[2J.png')
    assert str(caught.value).isprintable()
    with open(os.fsencode(tmp_path) + b'/\xff.png', 'wb'):
        pass
    with pytest.raises(UserError, match='its name is not UTF-8'):
        find_images(tmp_path)


@pytest.mark.parametrize('level', [65536, -1])
def test_more_than_sixteen_bits_are_refused(tmp_path, level):
    levels = np.zeros((8, 8), np.int32)
    levels[0, 0] = level
    Image.fromarray(levels, mode='I').save(tmp_path / 'x.tif')
    with pytest.raises(UserError, match='more than 16 bits; convert it to 16 bits'):
        read_image(tmp_path / 'x.tif')
