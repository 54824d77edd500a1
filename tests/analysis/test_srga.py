"""SRGA: fits find known parameters, the divergence is that on paper and of integration; no unit matters."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import gennorm

from reflash_sr.analysis.pca import column_blocks, gram_of, pca
from reflash_sr.analysis.srga import GeneralisedGaussian, divergence, fit, fit_samples, srga


def density(one):
    return gennorm(one.shape, scale=math.exp(one.log_scale))


@pytest.mark.parametrize(('reference', 'other', 'expected'), [
    ((1, 2), (1, 2), 0),
    ((3, 0.8), (3, 0.8), 0),
    # Gaussians: log(s2 / s1) + s1² / (2 s2²) − 1/2
    ((1, 2), (2, 2), math.log(2) + 1 / 8 - 1 / 2),
    ((2, 2), (1, 2), -math.log(2) + 2 - 1 / 2),
    # Laplacians of scales b = std / √2: log(b2 / b1) + b1 / b2 − 1
    ((1, 1), (3, 1), math.log(3) + 1 / 3 - 1),
    # from a Gaussian to a Laplacian of scale b: log(2 b) − log(√(2 π e) s) + s √(2 / π) / b
    ((1, 2), (math.sqrt(2), 1), math.log(2) - math.log(2 * math.pi * math.e) / 2 + math.sqrt(2 / math.pi)),
])
def test_the_divergence_is_the_one_on_paper(reference, other, expected):
    one, two = GeneralisedGaussian(*reference), GeneralisedGaussian(*other)
    assert divergence(one, two) == pytest.approx(expected, abs=1e-12)
    assert srga(one, two) == pytest.approx(math.log10(expected + 1e-5) + 5, abs=1e-6)


def test_the_divergence_is_the_integral():
    one, two = GeneralisedGaussian(1.3, 1.4), GeneralisedGaussian(0.9, 0.7)
    p, q = density(one), density(two)
    assert p.std() == pytest.approx(1.3) and q.std() == pytest.approx(0.9)
    found, _ = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), 0, 30)
    assert divergence(one, two) == pytest.approx(2 * found, rel=1e-6)


@pytest.mark.parametrize(('std', 'shape'), [(1, 2), (5, 1.2), (0.02, 1.5), (300, 4)])
def test_a_fit_finds_the_parameters(std, shape):
    found = fit(density(GeneralisedGaussian(std, shape)).rvs(200_000, random_state=0))
    assert found.std == pytest.approx(std, rel=0.01)
    assert found.shape == pytest.approx(shape, rel=0.04)


@pytest.mark.parametrize(('values', 'std', 'shape'), [
    ([-1, 0, 0, 1], math.sqrt(1 / 2), 1),  # E[x²] / E[|x|]² = (1 / 2) / (1 / 2)² = 2, as of a Laplacian
    ([-3, -1, 1, 3], math.sqrt(5), 10),  # 5 / 4 is below that of a uniform density, 4 / 3: the end of the range
    ([0, 0, 0], 0, 2), ([], 0, 2)])
def test_moments_on_paper(values, std, shape):
    found = fit(np.array(values, float))
    assert (found.std, found.shape) == pytest.approx((std, shape))


def test_far_values_are_left_out():
    values = np.random.default_rng(0).normal(size=10_000)
    assert fit(np.append(values, [1e3])).std == pytest.approx(fit(values).std, rel=0.01)


def features(scale, n=40, d=300):
    return (np.random.default_rng(0).normal(size=(n, d)) * scale).astype(np.float32)


def test_a_set_is_projected_on_its_own_components():
    both = np.concatenate([features(1) + 7, features(2)])
    gram = gram_of(column_blocks(both))
    for chosen, own in ((np.arange(40), features(1)), (np.arange(40, 80), features(2))):
        alone = fit(pca(column_blocks(own), 300).coordinates)
        found = fit_samples(gram, chosen)
        assert (found.std, found.shape) == pytest.approx((alone.std, alone.shape), rel=1e-4)


def test_only_what_differs_in_size_or_shape_counts():
    """Twice the features: SRGA of a width twice as large. The same features elsewhere: 0. The unit does not matter."""
    for unit in (1, 1000):
        both = np.concatenate([features(unit), features(2 * unit), features(unit) + 3 * unit])
        gram = gram_of(column_blocks(both))
        one, twice, moved = (fit_samples(gram, np.arange(40) + 40 * place) for place in range(3))
        assert one.shape == pytest.approx(twice.shape, rel=1e-5)
        assert srga(one, twice) == pytest.approx(srga(one, GeneralisedGaussian(2 * one.std, one.shape)), abs=1e-4)
        assert srga(one, moved) == pytest.approx(0, abs=0.01)
    assert srga(one, twice) > 3


def test_features_without_variance_have_an_index():
    gram = gram_of(column_blocks(np.concatenate([np.ones((5, 9)), features(1, 5, 9), np.full((5, 9), 3.3)])))
    still, moving, other = (fit_samples(gram, np.arange(5) + 5 * place) for place in range(3))
    assert still.std == other.std == 0 < moving.std
    assert srga(still, other) == 0
    assert srga(still, moving) == srga(moving, still) == math.inf
    assert fit_samples(gram, np.array([7])).std == 0  # a single sample
