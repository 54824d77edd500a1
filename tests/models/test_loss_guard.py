"""Mean losses, and the guard against those that are not finite."""

import pytest
import torch

from reflash_sr.errors import RunError
from reflash_sr.models.loss_guard import LossGuard


def test_means_are_over_the_interval():
    guard = LossGuard(4)
    for value in (1.0, 2.0, 6.0):
        guard.add({'l_pix': torch.tensor(value)}, 1, [])
    assert guard.means()['l_pix'] == 3
    guard.add({'l_pix': torch.tensor(5.0)}, 4, [])
    assert guard.means()['l_pix'] == 5
    assert guard.means() == {}


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
def test_the_first_bad_iteration_its_term_and_files_are_named(value):
    guard = LossGuard(10)
    for iteration in range(1, 8):
        bad = torch.tensor(value if iteration >= 5 else 1.0)
        guard.add({'l_good': torch.tensor(1.0), 'l_pix': bad}, iteration, [f'{iteration}.png', 'x.png'])
    with pytest.raises(RunError, match=r'l_pix was not finite at iteration 5; its batch: 5\.png, x\.png'):
        guard.check()


def test_finite_losses_pass():
    guard = LossGuard(2)
    guard.add({'l_pix': torch.tensor(1.0)}, 1, [])
    guard.check()
