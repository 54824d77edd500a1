"""The datasets that BasicSR loads."""

import logging
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils import bgr2ycbcr
from PIL import Image
from torch.utils.data import DataLoader

from reflash_sr.data import DegradationTestDataset, RealDegradationDataset, SingleDegradationDataset
from reflash_sr.data.images.read_image import read_image
from reflash_sr.data.seeded_sampler import Draw, DrawStream
from reflash_sr.data.test_degradation.degradations import EIGHT, degrade
from reflash_sr.errors import UserError
from tests.conftest import smooth_image

TRAINING = [RealDegradationDataset, SingleDegradationDataset]


def options(folder, cls=RealDegradationDataset, **more):
    opt = {'name': 'x', 'type': cls.__name__, 'dataroot_gt': str(folder), 'scale': 4, 'gt_size': 32}
    if cls is RealDegradationDataset:
        opt['crop_pad_size'] = 64
    return {**opt, **more}


@pytest.mark.parametrize('cls', TRAINING)
@pytest.mark.parametrize(('scale', 'gt_size'), [(1, 32), (2, 32), (3, 33), (4, 32)])
def test_pairs(image_folder, cls, scale, gt_size):
    crop = {'crop_pad_size': 66 if scale == 3 else 64} if cls is RealDegradationDataset else {}
    dataset = build_dataset(options(image_folder, cls, scale=scale, gt_size=gt_size, **crop))
    pair = dataset[0]
    assert pair['gt'].shape == (3, gt_size, gt_size)
    assert pair['lq'].shape == (3, gt_size // scale, gt_size // scale)
    for photo in (pair['lq'], pair['gt']):
        assert photo.dtype == torch.float32
        assert 0 <= photo.min() <= photo.max() <= 1
    torch.testing.assert_close(pair['lq'] * 255, (pair['lq'] * 255).round())


@pytest.mark.parametrize('cls', TRAINING)
def test_sample_depends_on_seed_and_place_in_the_stream_alone(image_folder, cls):
    dataset = cls(options(image_folder, cls, manual_seed=1, degradation='b+n') if cls is SingleDegradationDataset else
                  options(image_folder, manual_seed=1))
    pair = dataset[Draw(2, 10)]
    torch.manual_seed(99)
    np.random.seed(99)
    again, later = dataset[Draw(2, 10)], dataset[Draw(2, 11)]
    assert torch.equal(pair['lq'], again['lq']) and torch.equal(pair['gt'], again['gt'])
    assert not torch.equal(pair['lq'], later['lq'])
    other = cls({**dataset.opt, 'manual_seed': 2})
    assert not torch.equal(pair['lq'], other[Draw(2, 10)]['lq'])


def test_names_of_pairs_are_names_of_files_on_every_system(image_folder):
    given = ['clean', 'blur:3', 'blur:2', 'down:bilinear+n:5']
    dataset = DegradationTestDataset({**options(image_folder), 'phase': 'val', 'degradations': given})
    names = [dataset[index]['lq_path'] for index in range(len(dataset))]
    assert len({Path(name).name for name in names}) == len(dataset) == 4 * len(given)
    assert not set(':*?"<>|') & set(''.join(names))


def test_workers_change_nothing_and_repeats_are_fresh(image_folder):
    dataset = RealDegradationDataset(options(image_folder))

    def run(workers):
        loader = DataLoader(dataset, 4, sampler=DrawStream(len(dataset), 4, 3), num_workers=workers)
        return torch.cat([batch['lq'] for batch in loader])

    alone = run(0)
    assert torch.equal(alone, run(2))
    assert len(torch.unique(alone.flatten(1), dim=0)) == 12


def test_samples_of_a_batch_are_degraded_differently(image_folder):
    dataset = RealDegradationDataset(options(image_folder, crop_pad_size=72, gt_size=72, use_hflip=False))
    lqs = torch.stack([dataset[Draw(0, number)]['lq'] for number in range(8)])
    assert len(torch.unique(lqs.flatten(1), dim=0)) == 8


def distinct(dataset, count):
    """How many different GT patches there are among the first draws of one photograph."""
    return len({dataset[Draw(0, number)]['gt'].numpy().tobytes() for number in range(count)})


@pytest.mark.parametrize('cls', TRAINING)
@pytest.mark.parametrize(('hflip', 'rot', 'count'), [(False, False, 1), (True, False, 2), (True, True, 8)])
def test_flips_and_rotations(tmp_path, cls, hflip, rot, count):
    """Of a photograph with room for one patch only. BasicSR's use_rot: upside down, and rows for columns."""
    Image.fromarray(smooth_image(0, 32, 32)).save(tmp_path / 'x.png')
    pad = {'crop_pad_size': 32, 'gt_usm': False} if cls is RealDegradationDataset else {}
    assert distinct(cls(options(tmp_path, cls, use_hflip=hflip, use_rot=rot, **pad)), 60) == count


@pytest.mark.parametrize('cls', TRAINING)
def test_patches_come_from_all_over_a_photograph(tmp_path, cls):
    Image.fromarray(smooth_image(0, 64, 64)).save(tmp_path / 'x.png')
    assert distinct(cls(options(tmp_path, cls, use_hflip=False, use_rot=False)), 40) > 20


def test_gt_usm_sharpens(image_folder):
    plain, sharp = (RealDegradationDataset(options(image_folder, gt_usm=usm))[Draw(0, 0)]['gt']
                    for usm in (False, True))
    assert plain.shape == sharp.shape
    assert sharp.diff(dim=1).abs().sum() > plain.diff(dim=1).abs().sum()


def test_small_images_are_padded_and_smaller_ones_refused(tmp_path):
    Image.fromarray(smooth_image(0, 40, 50)).save(tmp_path / 'x.png')
    assert RealDegradationDataset(options(tmp_path))[0]['gt'].shape == (3, 32, 32)
    with pytest.raises(UserError, match=r'x\.png: 50×40 px is smaller than gt_size, 48'):
        RealDegradationDataset(options(tmp_path, gt_size=48))


@pytest.mark.parametrize('degradation', ['clean', 'blur', 'jpeg', 'b+j', 'nearest'])
@pytest.mark.parametrize('scale', [2, 4])
def test_single_degradation_patch_is_cut_out_of_the_whole_degraded_image(tmp_path, degradation, scale):
    photo = smooth_image(3, 210, 260)
    Image.fromarray(photo).save(tmp_path / 'x.png')
    dataset = SingleDegradationDataset(options(tmp_path, SingleDegradationDataset, scale=scale, use_hflip=False,
                                               degradation=degradation))
    whole = degrade(np.ascontiguousarray(photo[:210 - 210 % scale, :260 - 260 % scale]), degradation, scale, None)
    for number in range(20):
        pair = dataset[Draw(0, number)]
        gt = (pair['gt'].permute(1, 2, 0) * 255).round().byte().numpy()
        lq = (pair['lq'].permute(1, 2, 0) * 255).round().byte().numpy()
        windows = np.lib.stride_tricks.sliding_window_view(photo, (32, 32, 3))[::scale, ::scale, 0]
        places = np.argwhere((windows == gt).all((2, 3, 4)))
        assert any(np.array_equal(whole[y:y + 32 // scale, x:x + 32 // scale], lq) for y, x in places)


def test_broken_image_is_skipped_in_training_with_a_warning(image_folder, caplog):
    whole = (image_folder / 'a 1.png').read_bytes()
    (image_folder / 'a 1.png').write_bytes(whole[:len(whole) // 2])
    (image_folder / 'e.png').write_text('no image')
    (image_folder / 'notes.txt').write_text('x')
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    try:
        dataset = RealDegradationDataset(options(image_folder))
        assert len(dataset) == 4, 'e.png is out: its header tells'
        assert all(dataset[index]['gt_path'].endswith(name) for index, name in enumerate(['b 2.png', 'b 2.png']))
    finally:
        logger.removeHandler(caplog.handler)
    assert all(name in caplog.text for name in ('a 1.png', 'e.png', 'notes.txt'))


def test_meta_info_with_spaces_and_sizes(image_folder, tmp_path):
    (tmp_path / 'meta.txt').write_text('a 1.png (72,96,3) 1\ninner folder/d 10.bmp\n\n')
    opt = options(image_folder, meta_info=str(tmp_path / 'meta.txt'))
    assert [path.name for path in RealDegradationDataset(opt).source.paths] == ['a 1.png', 'd 10.bmp']
    (tmp_path / 'meta.txt').write_text('gone.png\n')
    with pytest.raises(UserError, match=r'gone\.png: no such file, but .*meta\.txt lists it'):
        RealDegradationDataset(opt)


def test_lists_of_images_of_other_programs(image_folder, tmp_path):
    opt = options(image_folder, meta_info=str(tmp_path / 'meta.txt'))
    (tmp_path / 'meta.txt').write_text('inner folder\\d 10.bmp\r\na 1.png (72, 96, 3) 1  \r\n')  # made on Windows
    assert [path.name for path in RealDegradationDataset(opt).source.paths] == ['d 10.bmp', 'a 1.png']
    (tmp_path / 'meta.txt').write_text('a 1.png, a 1.png\n')
    with pytest.raises(UserError, match=r'lists it; a list of pairs \(GT, LQ\) is for RealESRGANPairedDataset'):
        RealDegradationDataset(opt)


def test_lmdb(image_folder, tmp_path):
    root = tmp_path / 'set.lmdb'
    with lmdb.open(str(root), map_size=2**24) as env, env.begin(write=True) as txn:
        txn.put(b'a', (image_folder / 'a 1.png').read_bytes())
    (root / 'meta_info.txt').write_text('a.png (72,96,3) 1\n')
    dataset = RealDegradationDataset(options(root, io_backend={'type': 'lmdb'}))
    assert dataset[0]['gt'].shape == (3, 32, 32)
    with pytest.raises(UserError, match='no such LMDB'):
        RealDegradationDataset(options(tmp_path, io_backend={'type': 'lmdb'}))

    del dataset  # which has it open

    def refused(match):
        with pytest.raises(UserError, match=match):
            RealDegradationDataset(options(root, io_backend={'type': 'lmdb'}))

    (root / 'meta_info.txt').write_text('b.png (72,96,3) 1\n')
    refused('b is in meta_info.txt, but not in the LMDB')
    (root / 'meta_info.txt').write_text('a.png (72,96,3) 1\n')
    whole = (root / 'data.mdb').read_bytes()
    (root / 'data.mdb').write_bytes(whole[:4096 * 3])
    refused('is truncated')
    (root / 'data.mdb').write_bytes(b'junk' * 5000)
    refused('not an LMDB, or damaged')
    (root / 'data.mdb').unlink()
    refused('no such LMDB')


@pytest.mark.parametrize(('more', 'message'), [
    ({'gt_size': 30}, 'gt_size: 30 is not a multiple of the scale, 4; write 28'),
    ({'crop_pad_size': 16}, 'crop_pad_size: 16 px must be a multiple'),
    ({'crop_pad_size': 65}, 'crop_pad_size: 65 px must be a multiple'),
    ({'kernel_prob2': [1, 2]}, 'kernel_prob2: 2 weights for 6 kinds of kernel'),
])
def test_sizes_that_do_not_fit(image_folder, more, message):
    with pytest.raises(UserError, match=message):
        RealDegradationDataset(options(image_folder, **more))


def test_test_set_is_images_times_degradations(image_folder):
    dataset = DegradationTestDataset(options(image_folder, DegradationTestDataset, degradations='all'))
    items = [dataset[index] for index in range(len(dataset))]
    assert len(items) == 4 * 8
    assert len({item['lq_path'] for item in items}) == 32
    assert [item['degradation'] for item in items[:8]] == list(EIGHT)
    for item in items:
        assert item['gt'].shape == (3, 72, 96)
        assert item['lq'].shape == (3, 18, 24)
        assert item['degradation'] in item['lq_path']


def test_test_set_is_deterministic_and_its_noise_has_its_own_seed(image_folder):
    opt = options(image_folder, DegradationTestDataset, degradation='b+n+j')
    first, again = DegradationTestDataset(opt)[1]['lq'], DegradationTestDataset({**opt, 'manual_seed': 5})[1]['lq']
    assert torch.equal(first, again)
    assert not torch.equal(first, DegradationTestDataset({**opt, 'noise_seed': 5})[1]['lq'])


def test_grey_and_odd_sizes(tmp_path):
    Image.fromarray(smooth_image(0, 39, 50)).convert('L').save(tmp_path / 'grey.png')
    item = DegradationTestDataset(options(tmp_path, DegradationTestDataset, degradation='noise'))[0]
    assert item['gt'].shape == (3, 36, 48)
    assert not torch.equal(item['lq'][0], item['lq'][1]), 'three noise planes'
    assert np.array_equal(item['gt'][0].numpy(), item['gt'][2].numpy())
    assert read_image(tmp_path / 'grey.png').shape == (39, 50, 3)


@pytest.mark.parametrize(('more', 'message'), [
    ({'degradation': 'b+m'}, "did you mean 'b\\+"),
    ({'degradations': []}, 'degradations: must be'),
    ({'degradations': ['clean', 'clean']}, 'is given twice'),
    ({'degradation': 'clean', 'degradations': 'all'}, 'both are given'),
])
def test_wrong_degradations(image_folder, more, message):
    with pytest.raises(UserError, match=message):
        DegradationTestDataset(options(image_folder, DegradationTestDataset, **more))


@pytest.mark.parametrize('name', ['e.png', 'notes.txt'])
def test_a_broken_file_is_refused_in_testing(image_folder, name):
    (image_folder / name).write_text('no image')
    with pytest.raises(UserError, match=name):
        DegradationTestDataset(options(image_folder, DegradationTestDataset))


@pytest.mark.parametrize('cls', [*TRAINING, DegradationTestDataset])
def test_color_y_is_basicsrs_y_of_the_same_pair(image_folder, cls):
    given = options(image_folder, cls)
    if cls is DegradationTestDataset:
        given = {key: given[key] for key in ('name', 'dataroot_gt', 'scale')} | {'degradations': ['clean', 'b+n+j']}
    rgb, grey = cls({**given, 'color': 'rgb'}), cls({**given, 'color': 'y'})
    for draw in DrawStream(len(rgb), 4, 1):
        for name in ('lq', 'gt'):
            image = rgb[draw][name].permute(1, 2, 0).numpy()[..., ::-1]
            assert np.array_equal(grey[draw][name].numpy(), bgr2ycbcr(image, y_only=True)[None])
            assert torch.equal(rgb[draw][name], cls(given)[draw][name])


@pytest.mark.parametrize('cls', [*TRAINING, DegradationTestDataset])
def test_images_of_sixteen_bits_are_said_to_be_rounded(image_folder, cls, caplog):
    Image.fromarray(smooth_image(7, 72, 96)[..., 0].astype(np.uint16) * 257).save(image_folder / 'deep.png')
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        if cls is DegradationTestDataset:
            cls({'name': 'x', 'dataroot_gt': str(image_folder), 'scale': 4})
        else:
            cls(options(image_folder, cls))
    finally:
        logger.removeHandler(caplog.handler)
        logger.setLevel(level)
    assert 'my images: 1 of 5 images have 16 bits per channel; they are rounded to 8 bits' in caplog.text
