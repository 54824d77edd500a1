"""Draws of the training degradation as test degradations, and the choice of few that stand for many."""

import numpy as np
import pytest

from reflash_sr.data.test_degradation import representatives as module
from reflash_sr.data.test_degradation.degradations import degrade, noise_rng, parse, reach
from reflash_sr.data.test_degradation.representatives import describe, representatives
from reflash_sr.errors import UserError
from tests.conftest import smooth_image

GT = smooth_image(3, 64, 96)


@pytest.mark.parametrize('scale', [1, 2, 3, 4])
def test_a_draw_is_a_degradation_of_any_scale(scale):
    gt = smooth_image(3, 48, 72)
    one, again, other = (degrade(gt, name, scale, noise_rng(0, 'x', 'y')) for name in ('drawn:3', 'drawn:3', 'drawn:4'))
    assert one.shape == (48 // scale, 72 // scale, 3) and one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert reach('drawn:3', scale) > reach('blur', scale)


def test_its_noise_is_of_the_image():
    noise = [degrade(GT, 'drawn:3', 4, noise_rng(0, name, 'drawn:3')) for name in ('a', 'b')]
    assert (noise[0] != noise[1]).any()


def test_its_name():
    assert parse('drawn:12') == {'drawn': 12}
    assert list(parse('jpeg:30+drawn:12')) == ['drawn', 'jpeg']
    for name in ('drawn:x', 'drawn:1.5', 'drawn:3+down:box'):
        with pytest.raises(UserError, match='drawn'):
            parse(name)


def test_the_choice_is_the_nearest_of_each_cluster(monkeypatch):
    """Draws on a line, at 0, 0.1, 0.2, then at 5, then at 9, 9.1: three clusters, the middle of each is known."""
    places = iter([0, 0.1, 0.2, 5, 9, 9.2, 9.1])
    monkeypatch.setattr(module, 'drawn', lambda *args: None)
    monkeypatch.setattr(module, 'describe', lambda image: np.array([next(places)]))
    assert representatives(GT, 3, 7) == {'drawn:1': 3, 'drawn:6': 3, 'drawn:3': 1}


def test_the_choice_repeats_itself_and_depends_on_the_seed():
    one, again, other = (representatives(GT, 4, 24, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert sum(one.values()) == 24 and len(one) == 4
    assert not one.keys() & other.keys()
    assert list(one.values()) == sorted(one.values(), reverse=True)
    for name in one:
        assert parse(name)['drawn'] < 24 <= min(parse(two)['drawn'] for two in other)


def test_images_are_described_by_contrast_noise_and_blur():
    of = {name: describe(degrade(smooth_image(0, 256, 256), name, 4, noise_rng(0, 'x', 'y')))
          for name in ('clean', 'noise:2', 'noise:40', 'blur:4')}
    assert all(np.isclose((one**2).sum(), 5) for one in of.values()), 'each histogram sums to 1'
    far = {name: np.linalg.norm(one - of['clean']) for name, one in of.items()}
    assert 0 == far['clean'] < far['noise:2'] < far['noise:40']
    assert far['blur:4'] > 0


@pytest.mark.parametrize('count', [0, 10, 11])
def test_bad_numbers_are_refused(count):
    with pytest.raises(UserError, match='representatives'):
        representatives(GT, count, 10)
