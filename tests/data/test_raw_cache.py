"""Samples from decoded images on disk are those from the files, whatever happened to the cache."""

import os
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from reflash_sr.data.raw_cache import RawCache
from reflash_sr.data.seeded_sampler import DrawStream
from reflash_sr.errors import UserError
from tests import forked
from tests.conftest import smooth_image
from tests.data.test_lq_cache import make, samples
from tests.training.test_check_pairs import as_lmdb


def cached(folder, root, **options):
    dataset = make('real', folder, raw_cache=str(root), **options)
    dataset.raw.open()
    return dataset


@pytest.fixture
def decoded(monkeypatch):
    """The indices of the images that are decoded."""
    from reflash_sr.data.images.image_source import ImageSource

    read, found = ImageSource.read, []
    monkeypatch.setattr(ImageSource, 'read', lambda self, index: (found.append(index), read(self, index))[1])
    return found


def assert_same(one, two):
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a['lq'], b['lq']) and torch.equal(a['gt'], b['gt']) and a['gt_path'] == b['gt_path']


def test_each_image_is_decoded_once_by_all_runs(image_folder, tmp_path, decoded):
    plain = samples(make('real', image_folder))
    decoded.clear()
    assert_same(samples(cached(image_folder, tmp_path)), plain)
    assert sorted(decoded) == list(range(len(set(decoded))))
    decoded.clear()
    again = cached(image_folder, tmp_path)
    assert_same(samples(again), plain)
    assert_same(samples(pickle.loads(pickle.dumps(again))), plain)
    assert not decoded
    with pytest.raises(ValueError, match='read-only'):
        again.raw.read(0)[0] = 0


def test_workers_share_it(image_folder, tmp_path):
    dataset = cached(image_folder, tmp_path)
    loader = DataLoader(dataset, 2, sampler=DrawStream(len(dataset), 40, 1, seed=dataset.seed), num_workers=2)
    found = torch.cat([batch['gt'] for batch in loader])
    assert torch.equal(found, torch.stack([one['gt'] for one in samples(make('real', image_folder))]))
    assert all(dataset.raw.read(place) is not None for place in range(len(dataset)))


@pytest.mark.parametrize('damage', ['a byte', 'a mark', 'cut short', 'emptied', 'removed'])
def test_a_damaged_cache_changes_nothing_and_is_mended(image_folder, tmp_path, damage, decoded):
    plain = samples(cached(image_folder, tmp_path))
    raw = cached(image_folder, tmp_path).raw
    content = bytearray(raw.path.read_bytes())
    if damage == 'removed':
        raw.path.unlink()
    else:
        content[{'a byte': raw.start + 10, 'a mark': 0}.get(damage, 1)] ^= 255
        raw.path.write_bytes(content[:{'cut short': raw.start + 20, 'emptied': 0}.get(damage, len(content))])
    decoded.clear()
    assert_same(samples(cached(image_folder, tmp_path)), plain)
    assert 0 in decoded
    decoded.clear()
    assert_same(samples(cached(image_folder, tmp_path)), plain)
    assert not decoded


def test_what_has_no_room_is_decoded_each_time(image_folder, tmp_path, decoded):
    plain = samples(make('real', image_folder))
    whole = cached(image_folder, tmp_path)
    one = whole.raw.start + 3 * int(np.prod(whole.raw.sizes[0]))
    for gigabytes, count in ((1e-9, 0), (one / 1e9, 1), ((one - 1) / 1e9, 0), (20, len(whole))):
        dataset = cached(image_folder, tmp_path / str(gigabytes), raw_cache_gb=gigabytes)
        assert max(dataset.raw.count, 0) == count
        assert_same(samples(dataset), plain)
        decoded.clear()
        assert_same(samples(dataset), plain)
        assert sum(index < count for index in decoded) == 0 and bool(decoded) == (count < len(whole))
        assert dataset.raw.path.stat().st_size <= max(gigabytes * 1e9, dataset.raw.start)


def test_a_full_disk_ends_the_filling_and_nothing_else(image_folder, tmp_path, monkeypatch):
    plain, dataset = samples(make('real', image_folder)), cached(image_folder, tmp_path)
    assert dataset.raw.read(0) is None
    there = dataset.source.read(2)
    dataset.raw.save(2, there)

    def full(*args, **kwargs):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('builtins.open', full)
    dataset.raw.save(0, np.zeros((*dataset.raw.sizes[0], 3), np.uint8))
    dataset.raw.save(1, np.zeros((*dataset.raw.sizes[1], 3), np.uint8))
    monkeypatch.undo()
    assert_same(samples(dataset), plain)
    assert [dataset.raw.read(place) is None for place in range(2)] == [True, True]
    assert np.array_equal(dataset.raw.read(2), there)


def test_another_content_is_another_cache(image_folder, tmp_path):
    before = cached(image_folder, tmp_path).raw.folder
    path = sorted(image_folder.iterdir())[0]
    assert cached(image_folder, tmp_path).raw.folder == before
    size = Image.open(path).size
    Image.fromarray(smooth_image(99, size[1], size[0])).save(path)
    os.utime(path, ns=(1, 1))
    dataset = cached(image_folder, tmp_path)
    assert dataset.raw.folder != before
    assert_same(samples(dataset), samples(make('real', image_folder)))
    copied = shutil.copytree(image_folder, tmp_path / 'another set')  # with the same names, sizes and times
    assert cached(copied, tmp_path).raw.folder != dataset.raw.folder


def test_an_image_that_is_not_as_its_header_says_is_not_kept(tmp_path):
    raw = RawCache(tmp_path, [], [(4, 5)])
    raw.open()
    raw.save(0, np.ones((5, 4, 3), np.uint8))
    assert raw.read(0) is None and raw.read(1) is None
    raw.save(0, np.zeros((4, 5, 3), np.uint8))
    assert raw.read(0).shape == (4, 5, 3)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_one_line(training_options, tmp_path):
    (tmp_path / 'file').touch()
    training_options['datasets']['train']['raw_cache'] = str(tmp_path / 'file')
    status, said = forked.train(forked.write(tmp_path / 'run', training_options))
    assert status == 2
    assert re.search(r'basicsr: error: run.yml: raw_cache: .*cannot be written \(.*\); make room, remove', said)
    assert 'Traceback' not in said and not (tmp_path / 'run/experiments').exists()
    training_options['datasets']['train']['raw_cache'] = str(tmp_path / 'raw')
    status, said = forked.train(forked.write(tmp_path / 'run', training_options))
    assert status == 0, said
    assert re.search(r'Decoded GT images: .*raw.*; (\d+) of \1 have room', said)


def test_what_it_is_not_for(tmp_path):
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    Image.fromarray(smooth_image(0, 64, 64)).save(pictures / 'a.png')
    lmdb = as_lmdb(pictures, str(tmp_path / 'gt.lmdb'))
    with pytest.raises(UserError, match='raw_cache: is for image files, not for an LMDB; write ~'):
        make('real', lmdb, raw_cache=str(tmp_path), io_backend={'type': 'lmdb'})
    with pytest.raises(UserError, match='raw_cache: ~nobody-of-this-name/x: there is no such user'):
        RawCache('~nobody-of-this-name/x', [], [])


@pytest.mark.parametrize(('ranks', 'workers', 'share'), [('1', 0, 1), ('1', 4, 4), ('2', 4, 8)])
def test_what_workers_keep_in_memory_is_bounded_for_all_of_them(image_folder, tmp_path, monkeypatch, ranks, workers,
                                                                share):
    from reflash_sr.data import training_dataset

    monkeypatch.setenv('LOCAL_WORLD_SIZE', ranks)
    dataset = make('real', image_folder, tmp_path)
    info = type('Info', (), {'num_workers': workers})() if workers else None
    monkeypatch.setattr(training_dataset, 'get_worker_info', lambda: info)
    size = dataset.source.read(0).nbytes
    monkeypatch.setattr(training_dataset, 'MOST_KEPT', share * size)
    for place in range(2):
        dataset._keep(place, dataset.source.read(place))
    assert list(dataset._kept) == [0]
