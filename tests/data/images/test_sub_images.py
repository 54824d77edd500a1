"""Cutting photographs into sub-images."""

import sys

import numpy as np
import pytest
from PIL import Image

from reflash_sr.data.images.read_image import read_image
from reflash_sr.data.images.sub_images import cut_folder, starts
from reflash_sr.errors import UserError
from tests.conftest import smooth_image


@pytest.mark.parametrize(('side', 'size', 'step'), [(480, 480, 240), (500, 480, 240), (1356, 480, 240), (97, 32, 20)])
def test_sub_images_cover_every_pixel_and_end_at_the_border(side, size, step):
    places = starts(side, size, step)
    covered = np.zeros(side, bool)
    for place in places:
        assert 0 <= place <= side - size
        covered[place:place + size] = True
    assert covered.all()
    assert len(set(places)) == len(places)


def test_a_small_remainder_may_be_left_out():
    assert starts(100, 32, 32, threshold=4) == [0, 32, 64]
    assert starts(100, 32, 32, threshold=3) == [0, 32, 64, 68]


def test_pixels_are_those_of_the_photograph_and_a_second_run_goes_on(image_folder, tmp_path):
    out = tmp_path / 'out'
    (image_folder / 'bad.png').write_text('no image')
    Image.fromarray(smooth_image(9, 20, 20)).save(image_folder / 'small.png')
    summary = cut_folder(image_folder, out, size=48, step=24, workers=2)
    assert (summary.cut, summary.kept) == (4, 0)
    assert 'bad.png' in str(summary) and 'small.png: 20×20 px' in str(summary)
    assert len(list(out.glob('*.png'))) == 4 * 2 * 3
    photo = read_image(image_folder / 'a 1.png')
    assert np.array_equal(read_image(out / 'a 1_s006.png'), photo[24:72, 48:96])
    assert (out / 'inner folder_d 10_s001.png').is_file()

    (out / '.c.done').unlink()
    (out / 'c_s002.png').unlink()
    again = cut_folder(image_folder, out, size=48, step=24, workers=1)
    assert (again.cut, again.kept) == (1, 3)
    assert (out / 'c_s002.png').is_file()


def test_lost_sub_images_and_changed_photographs_are_cut_again(image_folder, tmp_path):
    out = tmp_path / 'out'
    cut_folder(image_folder, out, size=48, step=24, workers=1)
    (out / 'c_s002.png').unlink()
    (out / '.b 2.done').write_text('junk')
    Image.fromarray(smooth_image(9, 48, 72)).save(image_folder / 'a 1.png')
    again = cut_folder(image_folder, out, size=48, step=24, workers=1)
    assert (again.cut, again.kept) == (3, 1)
    assert len(list(out.glob('*.png'))) == 3 * 2 * 3 + 2
    assert np.array_equal(read_image(out / 'a 1_s001.png'), read_image(image_folder / 'a 1.png')[:48, :48])


def test_folders_are_not_mixed(image_folder, tmp_path):
    cut_folder(image_folder, tmp_path / 'out', size=48, step=24)
    with pytest.raises(UserError, match=r"was cut with .*'step': 24"):
        cut_folder(image_folder, tmp_path / 'out', size=48, step=12)
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'x').touch()
    with pytest.raises(UserError, match='is not empty'):
        cut_folder(image_folder, tmp_path / 'mine')
    with pytest.raises(UserError, match='is inside'):
        cut_folder(image_folder, image_folder / 'out')


@pytest.mark.parametrize(('kwargs', 'word'), [({'size': 0}, '--size'), ({'step': 0}, '--step'),
                                              ({'compression': 12}, '--compression'), ({'workers': 0}, '--workers')])
def test_wrong_numbers_are_named(image_folder, tmp_path, kwargs, word):
    with pytest.raises(UserError, match=word):
        cut_folder(image_folder, tmp_path / 'out', **kwargs)


def test_more_processes_than_windows_allows_are_named(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'platform', 'win32')
    with pytest.raises(UserError, match=r'--workers: 62 is out of range .*61'):
        cut_folder(image_folder, tmp_path / 'out', workers=62)


def test_sub_images_of_photographs_that_went_away_are_named(image_folder, tmp_path):
    out = tmp_path / 'out'
    assert 'also there' not in str(cut_folder(image_folder, out, size=48, step=24, workers=1))
    (image_folder / 'c.jpg').unlink()
    summary = cut_folder(image_folder, out, size=48, step=24, workers=1)
    assert summary.others == ('c',) and (out / 'c_s001.png').is_file()
    assert 'sub-images of 1 photographs that are not in the input now (c)' in str(summary)
