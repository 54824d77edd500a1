"""Blur kernels: normalised, symmetric, special cases of each other, and BasicSR's own."""

import numpy as np
import pytest
from basicsr.data import degradations as stock

from reflash_sr.data.training_degradation.blur_kernels import (
    BELLS,
    bell_kernel,
    sample_final_kernel,
    sample_kernel,
    sinc_kernel,
)
from reflash_sr.data.training_degradation.second_order import DEFAULTS

SIZES = (7, 13, 21)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('name', BELLS)
def test_bells_sum_to_one_and_are_point_symmetric(name, size):
    kernel = bell_kernel(name, size, 1.7, 0.8, angle=0.6, beta=1.4)
    assert kernel.shape == (size, size)
    assert kernel.sum() == pytest.approx(1)
    assert kernel.min() >= 0
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (size // 2, size // 2)


@pytest.mark.parametrize('name', [name for name in BELLS if name.endswith('_iso') or name == 'iso'])
def test_iso_bells_ignore_angle_and_second_width(name):
    kernel = bell_kernel(name, 13, 1.7, 0.3, angle=0.6, beta=1.4)
    np.testing.assert_allclose(kernel, bell_kernel(name, 13, 1.7, beta=1.4))
    np.testing.assert_allclose(kernel, kernel.T)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('kind', ['iso', 'aniso'])
def test_bells_are_those_of_basicsr(kind, size):
    shape = {'isotropic': kind == 'iso'}
    for name, expected in [
        (kind, stock.bivariate_Gaussian(size, 1.7, 0.8, 0.6, **shape)),
        (f'generalized_{kind}', stock.bivariate_generalized_Gaussian(size, 1.7, 0.8, 0.6, 0.7, **shape)),
        (f'plateau_{kind}', stock.bivariate_plateau(size, 1.7, 0.8, 0.6, 1.3, **shape)),
    ]:
        np.testing.assert_allclose(bell_kernel(name, size, 1.7, 0.8, 0.6, 0.7 if 'gen' in name else 1.3), expected,
                                   atol=1e-12, err_msg=name)


@pytest.mark.parametrize('kind', ['iso', 'aniso'])
def test_a_generalized_bell_with_beta_one_is_the_gaussian(kind):
    shape = (15, 2, 1, 0.3)
    np.testing.assert_allclose(bell_kernel(f'generalized_{kind}', *shape, beta=1), bell_kernel(kind, *shape))


@pytest.mark.parametrize('cutoff', [np.pi / 5, np.pi / 3, np.pi])
@pytest.mark.parametrize('size', SIZES)
def test_sinc_sums_to_one_is_symmetric_and_is_that_of_basicsr(size, cutoff):
    kernel = sinc_kernel(size, cutoff)
    assert kernel.sum() == pytest.approx(1)
    for mirrored in (kernel.T, kernel[::-1], kernel[:, ::-1]):
        np.testing.assert_allclose(kernel, mirrored, atol=1e-12)
    np.testing.assert_allclose(kernel, stock.circular_lowpass_kernel(cutoff, size), atol=1e-12)


def test_an_even_size_is_refused():
    with pytest.raises(ValueError, match='odd'):
        bell_kernel('iso', 8, 1.0)


@pytest.mark.parametrize('suffix', ['', '2'])
def test_sampled_kernels_have_the_drawn_sizes_and_sum_to_one(suffix):
    rng = np.random.default_rng(0)
    kernels = [sample_kernel(rng, DEFAULTS, suffix) for _ in range(300)]
    assert {len(kernel) for kernel in kernels} == set(range(7, 22, 2))
    np.testing.assert_allclose([kernel.sum() for kernel in kernels], 1)


def test_sampling_follows_the_settings():
    rng = np.random.default_rng(0)
    only_sinc = {**DEFAULTS, 'sinc_prob': 1.0}
    assert all(sample_kernel(rng, only_sinc).min() < 0 for _ in range(30))
    only_plateau = {**DEFAULTS, 'sinc_prob': 0, 'kernel_list': ['plateau_iso'], 'kernel_prob': [2],
                    'blur_kernel_size': 9}
    kernels = [sample_kernel(rng, only_plateau) for _ in range(30)]
    assert {len(kernel) for kernel in kernels} == {7, 9}
    assert all(kernel.min() > 0 for kernel in kernels)


def test_sampling_is_reproducible():
    draws = [sample_kernel(np.random.default_rng(seed), DEFAULTS) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert draws[0].shape != draws[2].shape or not np.array_equal(draws[0], draws[2])


def test_share_of_final_sinc_filters():
    rng = np.random.default_rng(0)
    drawn = [sample_final_kernel(rng, DEFAULTS) is not None for _ in range(2000)]
    assert np.mean(drawn) == pytest.approx(0.8, abs=0.03)
