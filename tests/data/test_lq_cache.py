"""Pairs that were degraded before are those that would be degraded now."""

import json
import os
import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from reflash_sr.data.lq_cache import BLOCK, KEY
from reflash_sr.data.real_degradation_dataset import RealDegradationDataset
from reflash_sr.data.seeded_sampler import DrawStream
from reflash_sr.data.single_degradation_dataset import SingleDegradationDataset
from reflash_sr.errors import UserError
from reflash_sr.system import locks
from reflash_sr.training.fill_lq_cache import make_pairs
from tests.conftest import smooth_image

SETS = {
    'real': (RealDegradationDataset, {'crop_pad_size': 64}),
    'real without USM': (RealDegradationDataset, {'crop_pad_size': 64, 'gt_usm': False}),
    'real, two views': (RealDegradationDataset, {'crop_pad_size': 64, 'second_lq': True}),
    'single': (SingleDegradationDataset, {'degradation': 'n+j'}),
}


def make(kind, folder, cache=None, **options):
    cls, own = SETS[kind]
    opt = {'dataroot_gt': str(folder), 'scale': 4, 'gt_size': 32, 'manual_seed': 2, 'use_rot': True, **own, **options}
    return cls({**opt, 'pairs_cache': str(cache)} if cache else opt)


def samples(dataset, count=40):
    return [dataset[draw] for draw in DrawStream(len(dataset), count, 1, seed=dataset.seed)]


@pytest.mark.parametrize('kind', SETS)
@pytest.mark.parametrize('workers', [0, 2])
def test_pairs_from_the_cache_are_those_without(kind, workers, image_folder, tmp_path):
    plain = samples(make(kind, image_folder))
    empty = samples(make(kind, image_folder, tmp_path / 'cache'))
    make_pairs(make(kind, image_folder, tmp_path / 'cache'), 40, workers)
    dataset = make(kind, image_folder, tmp_path / 'cache')
    assert dataset.pairs.load(0) is not None
    for without, unfilled, cached in zip(plain, empty, samples(dataset)):
        assert cached.keys() == without.keys() and ('lq_2' in cached) == ('two views' in kind)
        for key in [key for key in cached if key in ('lq', 'lq_2')]:
            assert torch.equal(cached[key], without[key])
            assert torch.equal(cached[key], unfilled[key])
        assert torch.equal(cached['gt'], unfilled['gt'])  # a run does not depend on what was in the cache
        assert torch.allclose(cached['gt'], without['gt'], rtol=0, atol=2e-7)
        assert cached['gt_path'] == without['gt_path']


@pytest.mark.parametrize('kind', SETS)
def test_the_cache_is_of_rgb_for_y_too(kind, image_folder, tmp_path):
    cache = tmp_path / 'cache'
    make_pairs(make(kind, image_folder, cache, color='y'), 20, 0)
    rgb, grey = make(kind, image_folder, cache), make(kind, image_folder, cache, color='y')
    assert rgb.pairs.folder == grey.pairs.folder and rgb.pairs.load(0) is not None
    for cached, without in zip(samples(grey, 20), samples(make(kind, image_folder, color='y'), 20)):
        assert cached['lq'].shape == (1, 8, 8) and torch.equal(cached['lq'], without['lq'])
        torch.testing.assert_close(cached['gt'], without['gt'], rtol=0, atol=2e-7)
    for cached, without in zip(samples(rgb, 20), samples(make(kind, image_folder), 20)):
        assert torch.equal(cached['lq'], without['lq'])


def test_patches_are_read_and_not_made(image_folder, tmp_path):
    dataset = make('real', image_folder, tmp_path / 'cache')
    dataset.pairs.save(0, np.full((BLOCK, 8, 8, 3), 51, np.uint8))
    with dataset.pairs.making(0) as mine:
        assert not mine  # it is there
    assert all((sample['lq'] == 51 / np.float32(255)).all() for sample in samples(dataset, 5))


@pytest.mark.parametrize('damage', [
    lambda data: data[:-1],
    lambda data: b'',
    lambda data: data[:900] + bytes([data[900] ^ 1]) + data[901:],
])
def test_a_damaged_file_is_made_anew(damage, image_folder, tmp_path):
    dataset = make('real', image_folder, tmp_path / 'cache')
    make_pairs(dataset, BLOCK, 0)
    path = dataset.pairs.folder / '000000.lq'
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    again = make('real', image_folder, tmp_path / 'cache')
    assert torch.equal(samples(again, 3)[2]['lq'], samples(dataset, 3)[2]['lq'])  # not believed
    make_pairs(again, BLOCK, 0)
    assert path.read_bytes() == whole


def test_whatever_shapes_the_patches_has_its_own_folder(image_folder, tmp_path):
    cache = tmp_path / 'cache'
    kinds = [make(kind, image_folder, cache) for kind in SETS]
    kinds += [make('real', image_folder, cache, **change) for change in (
        {'manual_seed': 3}, {'gt_size': 48}, {'crop_pad_size': 48}, {'use_hflip': False}, {'noise_range': [1, 9]})]
    copy = shutil.copytree(image_folder, tmp_path / 'copy')
    assert make('real', copy, cache).pairs.folder == kinds[0].pairs.folder  # the same images in another place
    Image.fromarray(smooth_image(9, 72, 96)).save(copy / 'a 1.png')
    kinds.append(make('real', copy, cache))
    assert len({dataset.pairs.folder for dataset in kinds}) == len(kinds)
    make_pairs(kinds[0], 1, 0)
    assert json.loads((kinds[0].pairs.folder / KEY).read_text())['seed'] == 2


def test_runs_that_start_together_share_the_work(image_folder, tmp_path):
    made = []

    class Counted(RealDegradationDataset):

        def draw(self, index):
            made.append(index.number)
            return super().draw(index)

    opt = {'dataroot_gt': str(image_folder), 'scale': 4, 'gt_size': 32, 'crop_pad_size': 64,
           'pairs_cache': str(tmp_path / 'cache')}
    runs = [threading.Thread(target=make_pairs, args=(Counted(opt), 3 * BLOCK, 0)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sorted(made) == list(range(3 * BLOCK))
    assert sorted(path.name for path in Counted(opt).pairs.folder.iterdir()) == [
        '000000.lq', '000001.lq', '000002.lq', 'key.json']


def test_without_file_locks_no_file_is_held_open(monkeypatch, image_folder, tmp_path):
    """On Windows an open file cannot be deleted."""
    monkeypatch.setattr(locks, 'fcntl', None)
    monkeypatch.setattr(os, 'open', lambda path, *rest: pytest.fail(f'{path} was opened to be locked'))
    dataset = make('single', image_folder, tmp_path / 'cache')
    make_pairs(dataset, 1, 0)
    assert sorted(path.name for path in dataset.pairs.folder.iterdir()) == ['000000.lq', 'key.json']
    assert dataset.pairs.read(0) is not None


def test_a_folder_that_cannot_be_written_is_one_line(image_folder, tmp_path):
    (tmp_path / 'file').write_text('')
    for workers in (0, 1):
        with pytest.raises(UserError, match=r'^pairs_cache: .*file.*: cannot be written \(.*name another folder$'):
            make_pairs(make('real', image_folder, tmp_path / 'file'), 1, workers)
    with pytest.raises(UserError, match='pairs_cache: ~nobody-of-this-name/x: there is no such user'):
        make('real', image_folder, '~nobody-of-this-name/x')


def test_what_is_no_file_is_not_waited_for(image_folder, tmp_path):
    dataset = make('real', image_folder, tmp_path / 'cache')
    dataset.pairs.open()
    os.mkfifo(dataset.pairs.folder / '000000.lq')
    (dataset.pairs.folder / '000001.lq').mkdir()
    assert dataset.pairs.load(0) is dataset.pairs.load(1) is None
    make_pairs(dataset, BLOCK, 0)
    assert dataset.pairs.load(0) is not None
    with pytest.raises(UserError, match=r'000001.lq: cannot be written .*remove whatever blocks this path'):
        make_pairs(dataset, 2 * BLOCK, 0)


def test_the_second_view_is_another_degradation_of_the_same_patch(image_folder):
    one, two = (samples(make('real', image_folder, second_lq=views)) for views in (False, True))
    for alone, pair in zip(one, two):
        assert torch.equal(alone['lq'], pair['lq']) and torch.equal(alone['gt'], pair['gt'])
        assert pair['lq_2'].shape == pair['lq'].shape and not torch.equal(pair['lq_2'], pair['lq'])
    # Of the same patch: after smoothing, the views are nearer to each other than to those of other samples.
    means = [torch.stack([torch.nn.functional.avg_pool2d(pair[key], 4).flatten() for pair in two])
             for key in ('lq', 'lq_2')]
    distances = torch.cdist(*means)
    assert distances.diag().mean() < 0.7 * distances.mean()
