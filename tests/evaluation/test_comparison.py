"""Which network a gain is counted from."""

from __future__ import annotations

import itertools

import pytest
import torch

from reflash_sr.evaluation.comparison import baselines_of, method_of
from reflash_sr.weights.network_from_file import open_network
from tests.commands.test_compare_seeds import network
from tests.commands.test_evaluate_degradations import save_network


@pytest.fixture
def grid(tmp_path):
    """Two values of p, two seeds, two iterations."""
    return {key: network(tmp_path, *key) for key in itertools.product((0, 0.3), (0, 1), (3, 6))}


def test_of_several_seeds_and_iterations_each_has_its_own(grid):
    found = baselines_of(list(grid.values()), None)
    assert found == {grid[0.3, seed, iteration].label: grid[0, seed, iteration].label
                     for seed in (0, 1) for iteration in (3, 6)}


def test_the_only_one_counts_whatever_its_seed(grid):
    one, other = grid[0.3, 1, 6], grid[0, 0, 6]
    assert baselines_of([one, other], None) == {one.label: other.label}
    assert baselines_of([one, other, grid[0, 0, 3]], None) == {}, 'two, none of them of its seed'


def test_weights_that_may_have_been_trained_with_dropout_are_nobodys_baseline(tmp_path):
    dropped = save_network(tmp_path / 'dropped.pth', 0)
    torch.save({'params': torch.load(dropped, weights_only=True)['params']}, tmp_path / 'bare.pth')
    networks = [open_network(tmp_path / name) for name in ('bare.pth', 'dropped.pth')]
    assert baselines_of(networks, None) == {}
    assert baselines_of(networks, {'dropped': 'bare'}) == {'dropped': 'bare'}
    assert 'p not stated' in method_of(networks[0], {}).note and method_of(networks[0], {}).dropout_p is None
