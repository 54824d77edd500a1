"""Where the images of a dataset come from."""

from pathlib import Path

import pytest

from reflash_sr.data import DegradationTestDataset, SingleDegradationDataset
from reflash_sr.data.images.image_source import ImageSource
from reflash_sr.errors import UserError
from tests.image_sets import save_images

pytestmark = pytest.mark.usefixtures('in_tmp_path')


def source(*folders, **more):
    return ImageSource({'dataroot_gt': list(folders), **more})


def test_several_folders_are_one_set_with_a_name_for_every_image():
    save_images('first', [(32, 32)] * 2)
    save_images('second', [(32, 32)] * 3, ['1.png', '2.png', 'a.png'])
    photos = ImageSource({'dataroot_gt': 'photos:val'})
    both = source('first', 'second', 'photos:val')
    assert both.paths == [Path('first/0.png'), Path('first/1.png'), *(Path('second', f'{name}.png') for name in '12a'),
                          *photos.paths]
    assert both.names == ['0', 'first_1', 'second_1', '2', 'a', *photos.names]
    assert len(set(source('first', 'first').names)) == 4


@pytest.mark.parametrize('root', ['first', ['first']])
def test_one_folder_is_the_same_in_a_list(root):
    save_images('first', [(32, 32)] * 2)
    one = ImageSource({'dataroot_gt': root})
    assert (one.root, one.names, len(one.paths)) == ('first', ['0', '1'], 2)


def test_the_folder_that_is_missing_or_empty_is_named():
    save_images('first', [(32, 32)])
    with pytest.raises(UserError, match=r'^second: no such folder'):
        source('first', 'second')
    Path('second').mkdir()
    with pytest.raises(UserError, match=r'^second: no image in this folder'):
        source('first', 'second')


def test_each_folder_has_a_list_of_its_own():
    for folder in ('first', 'second'):
        save_images(folder, [(32, 32)] * 3)
    Path('1.txt').write_text('2.png (32,32,3) 1\n', encoding='utf-8')
    Path('2.txt').write_text('0.png\n1.png\n', encoding='utf-8')
    both = source('first', 'second', meta_info=['1.txt', '2.txt'])
    assert [str(path) for path in both.paths] == ['first/2.png', 'second/0.png', 'second/1.png']
    with pytest.raises(UserError, match='meta_info: 1 for 2 folders in dataroot_gt; write one file for each'):
        source('first', 'second', meta_info='1.txt')
    with pytest.raises(UserError, match='2 LMDBs; write one LMDB, or folders of images'):
        source('a.lmdb', 'b.lmdb', io_backend={'type': 'lmdb'})


def test_datasets_take_several_folders():
    save_images('first', [(32, 32)])
    save_images('second', [(64, 48)])
    opt = {'name': 'x', 'dataroot_gt': ['first', 'second'], 'scale': 4, 'gt_size': 32}
    assert len(SingleDegradationDataset(opt)) == 2
    pairs = DegradationTestDataset({**opt, 'degradations': ['clean', 'jpeg']})
    assert [pairs[i]['lq'].shape[1:] for i in range(4)] == [(8, 8), (8, 8), (16, 12), (16, 12)]
    assert len({pairs[i]['lq_path'] for i in range(4)}) == 4
