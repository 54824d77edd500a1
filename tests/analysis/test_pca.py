"""PCA of few samples with many features: what a singular value decomposition gives, in memory or from a file."""

import os

import numpy as np
import pytest
import torch

from reflash_sr.analysis import feature_file
from reflash_sr.analysis import pca as module
from reflash_sr.analysis.feature_file import FeatureFile
from reflash_sr.analysis.pca import column_blocks, pca
from reflash_sr.errors import UserError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of some columns, so that there are many, and the last is narrower."""
    monkeypatch.setattr(module, 'BLOCK_VALUES', 7000)


def matrix(n=60, d=1001, offset=100.0):
    """Features with variances over six orders of magnitude and a mean that dwarfs most of them."""
    rng = np.random.default_rng(0)
    scales = np.logspace(0, -3, n)
    return (rng.normal(size=(n, n)) * scales @ rng.normal(size=(n, d)) + offset).astype(np.float32)


def full_svd(features):
    u, s, _ = np.linalg.svd(features.astype(np.float64) - features.astype(np.float64).mean(0), full_matrices=False)
    return u * s


@pytest.mark.parametrize(('n', 'd', 'k'), [(60, 1001, 50), (60, 20, 15), (12, 3000, 50), (2, 5, 1)])
def test_coordinates_are_those_of_a_full_svd_up_to_sign(n, d, k):
    features = matrix(n, d)
    found = pca(column_blocks(features), k).coordinates
    expected = full_svd(features)[:, :min(k, n - 1)]
    assert found.shape == (n, min(k, n - 1))
    signs = np.sign((found * expected).sum(0))
    error = np.abs(found * signs - expected).max(0) / np.abs(expected).max(0)
    assert error.max() < 1e-5  # of each component's own size, also of the smallest


def test_shares_of_variance_sum_to_one_and_descend():
    share = pca(column_blocks(matrix()), 59).share
    assert share.sum() == pytest.approx(1)
    assert (np.diff(share) <= 0).all()


def test_the_sign_is_settled():
    found = pca(column_blocks(matrix())).coordinates
    assert (found[np.abs(found).argmax(0), np.arange(50)] > 0).all()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_from_a_file_it_is_the_same_as_in_memory(tmp_path, dtype):
    features = torch.from_numpy(matrix()).to(dtype)
    with FeatureFile(60, tmp_path) as file:
        for batch in (features[:7], features[7:8], features[8:]):
            file.append(batch)
        assert file.size == 1001
        assert len(list(file.blocks())) > 5
        found = pca(file.blocks()).coordinates
    np.testing.assert_array_equal(found, pca(column_blocks(features.float().numpy())).coordinates)
    assert not os.listdir(tmp_path), 'the file is left behind'


def test_memory_order_of_feature_maps_does_not_matter(tmp_path):
    maps = torch.randn(6, 3, 5, 4)
    with FeatureFile(6, tmp_path) as one, FeatureFile(6, tmp_path) as two:
        one.append(maps)
        for part in (maps[:5].to(memory_format=torch.channels_last), maps[5:]):
            two.append(part)
        np.testing.assert_array_equal(*[np.concatenate(list(file.blocks()), 1) for file in (one, two)])


def test_order_of_samples_does_not_matter():
    features = matrix()
    order = np.random.default_rng(1).permutation(len(features))
    straight, mixed = (pca(column_blocks(one)).coordinates for one in (features, features[order]))
    np.testing.assert_allclose(mixed, straight[order], atol=1e-6 * np.abs(straight).max())


@pytest.mark.parametrize('value', [0.0, 0.1, 1e4])
def test_constant_features_have_no_extent(value):
    found = pca(column_blocks(np.full((9, 3000), value, np.float32)))
    assert not found.coordinates.any()
    assert not found.share.any()


def test_more_room_than_the_disk_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_file.shutil, 'disk_usage', lambda folder: type('Usage', (), {'free': 4999}))
    with FeatureFile(5, tmp_path) as file, pytest.raises(UserError, match='scratch'):
        file.append(torch.zeros(1, 250))


@pytest.mark.parametrize('shape', [(1, 9), (5, 10)])
def test_a_file_refuses_samples_that_do_not_fit(tmp_path, shape):
    with FeatureFile(5, tmp_path) as file:
        file.append(torch.zeros(1, 10))
        with pytest.raises(ValueError):
            file.append(torch.zeros(*shape))
        with pytest.raises(ValueError):
            next(file.blocks())


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match='missing'):
        FeatureFile(5, tmp_path / 'missing')
    with pytest.raises(UserError, match='components'):
        pca(column_blocks(matrix()), 0)
    with pytest.raises(UserError, match='two samples'):
        pca(column_blocks(matrix(1)))
    features = matrix()
    features[3, 4] = np.nan
    with pytest.raises(UserError, match='finite'):
        pca(column_blocks(features))
