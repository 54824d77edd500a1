"""Resizing: what PyTorch computes, whole or in windows."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from reflash_sr.data.training_degradation.resampling import MODES, resize, resize_matrix, source_window

SIZES = [(37, 53), (37, 37), (53, 20), (40, 10), (31, 62), (64, 9), (5, 1), (1, 4)]


def image_of(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def by_torch(image, mode, **size):
    # in double precision: what is left are our own rounding errors
    tensor = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(float))
    return F.interpolate(tensor, mode=mode, **size)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('n_in, n_out', SIZES)
def test_rows_sum_to_one(n_in, n_out, mode):
    matrix = resize_matrix(n_in, n_out, mode)
    assert matrix.shape == (n_out, n_in)
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('height, width', SIZES)
def test_equals_pytorch_for_a_given_size(height, width, mode):
    image = image_of(height, width)
    to = (width, height)
    resized = resize(image, resize_matrix(height, to[0], mode), resize_matrix(width, to[1], mode))
    np.testing.assert_allclose(resized, by_torch(image, mode, size=to), atol=1e-5)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('factor', [0.1537, 0.5, 0.777, 1.0, 1.313])
def test_equals_pytorch_for_a_given_factor(factor, mode):
    image = image_of(41, 60)
    rows, columns = (resize_matrix(n, int(n * factor), mode, factor=factor) for n in image.shape[:2])
    np.testing.assert_allclose(resize(image, rows, columns), by_torch(image, mode, scale_factor=factor), atol=1e-5)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('n_in, n_out', SIZES)
def test_a_window_needs_its_source_and_no_more(n_in, n_out, mode):
    whole = resize_matrix(n_in, n_out, mode)
    for window in [(0, n_out), (0, 1), (n_out - 1, n_out), (n_out // 3, n_out // 3 + 1)]:
        source = source_window(n_in, n_out, mode, window)
        part = resize_matrix(n_in, n_out, mode, window, source)
        np.testing.assert_array_equal(part.toarray(), whole[slice(*window)].toarray()[:, slice(*source)])
        if source[1] - source[0] > 1:
            with pytest.raises(ValueError, match='depend on'):
                resize_matrix(n_in, n_out, mode, window, (source[0] + 1, source[1]))


def test_same_size_is_the_identity():
    for mode in MODES:
        np.testing.assert_allclose(resize_matrix(9, 9, mode).toarray(), np.eye(9), atol=1e-7)


def test_the_input_need_not_be_contiguous():
    image = image_of(30, 50)
    rows, columns = resize_matrix(50, 21, 'bicubic'), resize_matrix(30, 44, 'bicubic')
    turned = image.transpose(1, 0, 2)
    np.testing.assert_array_equal(resize(turned, rows, columns), resize(turned.copy(), rows, columns))
