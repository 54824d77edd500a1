"""Clusters of features by degradation: the index is scikit-learn's, defined also where that is not, and repeatable."""

import math

import numpy as np
import pytest
from sklearn.metrics import calinski_harabasz_score

from reflash_sr.analysis.clusters import chi, cluster, tsne
from reflash_sr.analysis.pca import column_blocks, pca
from reflash_sr.errors import UserError

LABELS = np.arange(60) % 3


def features(apart=3.0, n=60, d=200):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, d)) * apart
    return (rng.normal(size=(n, d)) * np.linspace(3, 0.1, d) + centres[np.arange(n) % 3]).astype(np.float32)


def found(apart=3.0, **arguments):
    return cluster(column_blocks(features(apart)), LABELS, **{'components': 10, 'perplexity': 8, **arguments})


def test_the_index_is_that_of_scikit_learn():
    points = np.random.default_rng(0).normal(size=(60, 2)) + LABELS[:, None]
    assert chi(points, LABELS) == pytest.approx(calinski_harabasz_score(points, LABELS))


def test_order_of_samples_does_not_matter_to_the_index():
    points = features()
    order = np.random.default_rng(1).permutation(60)
    assert chi(points[order], LABELS[order]) == pytest.approx(chi(points, LABELS))


def test_the_index_rises_with_the_distance_of_clusters():
    near, far = found(0.3, seeds=range(2)), found(3, seeds=range(2))
    assert far.mean > 5 * near.mean
    assert far.chi_pca > 5 * near.chi_pca


def test_seeds_start_elsewhere_and_repeat_themselves():
    one = found(1, seeds=(0, 1))
    again = found(1, seeds=(1,))
    assert one.points.shape == (2, 60, 2)
    assert np.abs(one.points[0] - one.points[1]).max() > 1e-3
    np.testing.assert_array_equal(one.points[1], again.points[0])
    assert one.std > 0
    assert again.std == 0


def test_every_index_is_of_its_coordinates():
    one = found(1, seeds=range(2))
    assert one.chi.tolist() == [chi(points, LABELS) for points in one.points]
    assert one.chi_pca == chi(one.components.coordinates, LABELS)
    assert one.components.coordinates.shape == (60, 10)


def test_the_size_of_features_does_not_matter():
    coordinates = pca(column_blocks(features(1))).coordinates
    np.testing.assert_allclose(tsne(coordinates * 2.0**40, 8), tsne(coordinates, 8), rtol=1e-3, atol=1e-3)


def test_constant_features_do_not_cluster():
    one = cluster([np.ones((60, 9), np.float32)], LABELS, perplexity=8, seeds=range(2))
    assert np.isfinite(one.points).all()
    assert (one.mean, one.std, one.chi_pca) == (0, 0, 0)


def test_the_index_of_clusters_without_extent_is_infinite():
    assert chi(LABELS[:, None] * np.ones(2), LABELS) == math.inf


def test_two_samples_of_two_degradations_have_one_component():
    one = cluster([np.float32([[0, 1], [0, 1], [5, 1], [6, 1]])], [0, 0, 1, 1], perplexity=2, seeds=(0,))
    assert np.isfinite(one.points).all()


@pytest.mark.parametrize(('labels', 'perplexity', 'seeds', 'message'), [
    (LABELS, 60, (0,), 'perplexity'), (LABELS, 0, (0,), 'perplexity'), (LABELS, math.nan, (0,), 'perplexity'),
    (LABELS * 0, 8, (0,), 'degradations'), (range(3), 1, (0,), 'samples'), (LABELS, 8, (), 'seeds')])
def test_what_cannot_cluster_is_refused(labels, perplexity, seeds, message):
    with pytest.raises(UserError, match=message):
        cluster([np.ones((len(labels), 9), np.float32)], labels, 10, perplexity, seeds)
