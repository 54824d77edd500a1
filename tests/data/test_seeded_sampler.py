"""The stream of draws: seed and place decide, nothing else does."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from torch.utils.data import DataLoader, Dataset

from reflash_sr.data.seeded_sampler import Draw, DrawStream, SeededDraws, draw_rng
from reflash_sr.training.progress import for_workers
from tests.image_sets import paired


def pairs(stream):
    return [(int(draw), draw.number) for draw in stream]


def test_every_pass_visits_every_image_once_in_another_order():
    draws = pairs(DrawStream(size=10, batch_size=4, total_iter=10))
    passes = [[index for index, _ in draws[i:i + 10]] for i in range(0, 40, 10)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4
    assert [number for _, number in draws] == list(range(40))


def test_continuing_is_the_rest_of_the_stream():
    whole = pairs(DrawStream(7, 3, 20, seed=5))
    assert pairs(DrawStream(7, 3, 20, start_iter=8, seed=5)) == whole[24:]
    assert len(DrawStream(7, 3, 20, start_iter=8)) == 36


@pytest.mark.parametrize('world_size', [2, 3, 4])
def test_processes_share_the_batches_of_one_process(world_size):
    whole = pairs(DrawStream(11, 12, 9, seed=1))
    parts = [pairs(DrawStream(11, 12 // world_size, 9, seed=1, rank=r, world_size=world_size))
             for r in range(world_size)]
    size = 12 // world_size
    merged = [draw for i in range(9) for part in parts for draw in part[i * size:(i + 1) * size]]
    assert merged == whole


def test_seeds_differ():
    assert pairs(DrawStream(50, 5, 10, seed=0)) != pairs(DrawStream(50, 5, 10, seed=1))


def test_a_draw_is_an_index_that_survives_pickling():
    draw = pickle.loads(pickle.dumps(Draw(3, 77)))
    assert [10, 11, 12, 13][draw] == 13
    assert draw.number == 77


class Noise(Dataset):

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.from_numpy(draw_rng(index, seed=4).normal(size=3))


def batches(workers):
    loader = DataLoader(Noise(), batch_size=3, sampler=DrawStream(6, 3, 8), num_workers=workers)
    return torch.stack(list(loader))


def test_the_number_of_workers_changes_nothing_and_no_draw_repeats():
    alone = batches(0)
    assert torch.equal(alone, batches(3))
    assert len(np.unique(alone.reshape(-1, 3).numpy(), axis=0)) == 24


def test_plain_indices_of_another_sampler_are_fresh_in_every_epoch():
    torch.manual_seed(0)
    loader = DataLoader(Noise(), batch_size=6, num_workers=2, shuffle=False)
    first, second = next(iter(loader)), next(iter(loader))
    assert not torch.equal(first, second)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_damaged_image_of_a_dataset_of_basicsr_is_skipped_and_named(in_tmp_path, workers):
    logging.getLogger('basicsr').addHandler(logging.FileHandler('log.txt'))  # a loader's workers write into it too
    root = f'pairs {workers}'  # a file is named once by a process
    section = paired(root, [(64, 64)] * 3, [(16, 16)] * 3, scale=4, phase='train', gt_size=32, use_hflip=True,
                     use_rot=True)
    path = Path(root, 'lq/1.png')
    path.write_bytes(path.read_bytes()[:150])
    draws = SeededDraws(PairedImageDataset(section), seed=0)
    loader = DataLoader(draws, batch_size=1, sampler=DrawStream(3, 1, 6), num_workers=workers,
                        worker_init_fn=for_workers())
    assert {Path(batch['lq_path'][0]).name for batch in loader} == {'0.png', '2.png'}
    assert f'skipped: {path}: cannot be read as an image' in Path('log.txt').read_text(encoding='utf-8')


def test_an_error_of_the_dataset_itself_is_raised(in_tmp_path):
    section = paired('pairs', [(64, 64)], [(16, 16)], scale=4, phase='train', gt_size=128, use_hflip=True, use_rot=True)
    with pytest.raises(ValueError, match='smaller than patch size'):
        SeededDraws(PairedImageDataset(section), seed=0)[0]
