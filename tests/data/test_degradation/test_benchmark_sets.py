"""Test sets of folders: names, templates, sizes."""

import numpy as np
import pytest
from PIL import Image

from reflash_sr.data.test_degradation.benchmark_sets import PairedSet, open_sets
from reflash_sr.errors import UserError
from tests.conftest import smooth_image


def images(folder, names, height, width):
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        Image.fromarray(smooth_image(place, height, width)).save(folder / name)
    return str(folder)


def test_names_go_together_by_template(tmp_path):
    lq = images(tmp_path / 'lq', ['0801x4m.png', '0802x4m.png'], 8, 10)
    gt = images(tmp_path / 'gt', ['0801.png', '0802.png'], 34, 43)  # up to a scale more is cut off
    one = PairedSet('x', lq, gt, 4, '{}x4m', '{}')
    assert one.names == ['0801', '0802']
    first, second = one.pair(1)
    assert first.shape == (8, 10, 3) and second.shape == (32, 40, 3)
    with pytest.raises(UserError, match=r"0801.png: its name does not fit '\{\}_HR'; describe .* --pair_names"):
        PairedSet('x', lq, gt, 4, '{}x4m', '{}_HR')
    with pytest.raises(UserError, match='must contain'):
        PairedSet('x', lq, gt, 4, 'x4m', '{}')


def test_what_does_not_go_together_is_named(tmp_path):
    lq = images(tmp_path / 'lq', ['a.png', 'b.png'], 8, 8)
    alone = images(tmp_path / 'alone', ['a.png'], 32, 32)
    with pytest.raises(UserError, match=r'lq/b\.png: has no counterpart'):
        PairedSet('x', lq, alone, 4)
    wrong = images(tmp_path / 'wrong', ['a.png', 'b.png'], 24, 32)
    with pytest.raises(UserError, match=r'a.png: 8×8 px does not fit .*a.png: 32×24 px at scale 4'):
        PairedSet('x', lq, wrong, 4)


def test_sets_are_named_after_their_folders(tmp_path):
    names = ['a.png', 'b.png']
    first, second = (images(tmp_path / name, names, 32, 32) for name in ('Set5/HR', 'mine'))
    lq = images(tmp_path / 'Real' / 'LR', names, 8, 8)
    sets = open_sets([first, f'other={second}'], ['all', 'nearest', 'blur:3', 'clean'], [(lq, second)], [], [], 4, 0)
    assert [one.name for one in sets] == ['Set5', 'other', 'Real']
    assert len(sets[0].degradations) == 10
    with pytest.raises(UserError, match='--pair_labels: 2 for 1 --pairs'):
        open_sets([], ['all'], [(lq, second)], [], ['a', 'b'], 4, 0)
    with pytest.raises(UserError, match='no test set'):
        open_sets([], ['all'], [], [], [], 4, 0)
    with pytest.raises(UserError, match='no such folder'):
        open_sets([str(tmp_path / 'gone')], ['all'], [], [], [], 4, 0)


def test_noise_differs_between_degradations_and_is_the_same_each_time(tmp_path):
    one = open_sets([images(tmp_path / 'a', ['a.png'], 64, 64)], ['noise', 'b+n'], [], [], [], 4, 7)[0]
    assert np.array_equal(one.pair(0, 'noise')[0], one.pair(0, 'noise')[0])
    other = open_sets([str(tmp_path / 'a')], ['noise'], [], [], [], 4, 8)[0]
    assert not np.array_equal(one.pair(0, 'noise')[0], other.pair(0, 'noise')[0])


def test_both_images_may_lie_in_one_folder(tmp_path):
    """As in RealSR, version 3."""
    both = images(tmp_path / '4', ['Canon_001_HR.png', 'Canon_002_HR.png'], 32, 40)
    images(tmp_path / '4', ['Canon_001_LR4.png', 'Canon_002_LR4.png'], 8, 10)
    one = PairedSet('x', both, both, 4, '{}_LR4', '{}_HR')
    assert one.names == ['Canon_001', 'Canon_002']
    assert [image.shape for image in one.pair(0)] == [(8, 10, 3), (32, 40, 3)]
    images(tmp_path / '4', ['notes.png'], 8, 8)
    with pytest.raises(UserError, match=r"notes\.png: its name does not fit '\{\}_LR4'"):
        PairedSet('x', both, both, 4, '{}_LR4', '{}_HR')


def test_noise_is_another_in_every_image_and_degradation(tmp_path):
    for name in ('a.png', 'b.png'):
        Image.new('RGB', (32, 32), 'grey').save(tmp_path / name)
    [one] = open_sets([f'flat={tmp_path}'], ['noise', 'b+n'], [], [], [], 4, 0)
    assert len({one.pair(place, name)[0].tobytes() for place in (0, 1) for name in ('noise', 'b+n')}) == 4
