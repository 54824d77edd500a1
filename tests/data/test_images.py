"""Finding and reading pictures."""

import numpy as np
import pytest
from PIL import Image

from reflash_sr.data.images import check_all, find_images, image_size, natural_key, read_image
from reflash_sr.data.photos import SETS, photo_paths
from reflash_sr.errors import UserError
from tests.conftest import smooth_picture


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'CMYK', '1', 'LA'])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ('x.tif' if mode == 'CMYK' else 'x.png')
    Image.fromarray(smooth_picture(0, 20, 30)).convert(mode).save(path)
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
    Image.fromarray(smooth_picture(0, 20, 30)).save(tmp_path / 'x.jpg', exif=exif)
    assert read_image(tmp_path / 'x.jpg').shape == (30, 20, 3)
    assert image_size(tmp_path / 'x.jpg') == (30, 20)


@pytest.mark.parametrize('damage', ['cut', 'text', 'empty', 'missing'])
def test_broken_files_are_named(tmp_path, damage):
    path = tmp_path / 'broken.png'
    Image.fromarray(smooth_picture(0, 64, 64)).save(path)
    whole = path.read_bytes()
    {'cut': lambda: path.write_bytes(whole[:len(whole) // 2]), 'text': lambda: path.write_text('not a picture'),
     'empty': lambda: path.write_bytes(b''), 'missing': path.unlink}[damage]()
    with pytest.raises(UserError, match=r'broken\.png: cannot be read as a picture'):
        read_image(path)


def test_folders_are_searched_in_natural_order_without_hidden_files(picture_folder):
    (picture_folder / '.hidden.png').write_bytes(b'')
    (picture_folder / 'Thumbs.db').write_bytes(b'')
    (picture_folder / 'notes.txt').write_text('x')
    images, others = find_images(picture_folder)
    assert [path.name for path in images] == ['a 1.png', 'b 2.png', 'c.jpg', 'd 10.bmp']
    assert [path.name for path in others] == ['notes.txt']
    assert sorted(['img10', 'img2', '1b', 'a'], key=natural_key) == ['1b', 'a', 'img2', 'img10']


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(UserError, match='nowhere: no such folder'):
        find_images(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='no picture in this folder'):
        find_images(tmp_path)


def test_check_all_names_what_is_too_small(tmp_path):
    Image.fromarray(smooth_picture(0, 3, 30)).save(tmp_path / 'x.png')
    with pytest.raises(UserError, match=r'x\.png: 30×3 px is too small: because'):
        check_all([tmp_path / 'x.png'], 4, 'because')


def test_photographs_of_installed_packages_are_there_and_held_out_ones_apart():
    train, val = photo_paths('train'), photo_paths('val')
    assert (len(train), len(val)) == (16, 2)
    assert not set(SETS['train']) & set(SETS['val'])
    assert all(min(read_image(path).shape[:2]) >= 300 for path in train + val)
    with pytest.raises(UserError, match='photos:train or photos:val'):
        photo_paths('test')
