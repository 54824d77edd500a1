"""Checks of all cells before any runs: what a file names for each seed is opened for each seed, and once."""

from pathlib import Path

import pytest
import torch

from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.errors import UserError
from reflash_sr.studies import check_cells
from reflash_sr.studies import grid as study
from reflash_sr.studies import sweep as study_sweep
from tests.conftest import TINY_NETWORK

pytestmark = pytest.mark.usefixtures('in_tmp_path')

BASE = {'pretrain_network_g': 'base_seed{seed}.pth'}


def save_base(seed, **changes):
    arguments = {key: value for key, value in {**TINY_NETWORK, **changes}.items() if key != 'type'}
    torch.save({'params': DropoutMSRResNet(**arguments).state_dict()}, f'base_seed{seed}.pth')


@pytest.fixture
def opened(monkeypatch):
    """How often the datasets of a run were opened."""
    calls = []
    real = check_cells.preflight.open_datasets
    monkeypatch.setattr(check_cells.preflight, 'open_datasets', lambda opt: calls.append(opt) or real(opt))
    return calls


@pytest.mark.parametrize(('prepare', 'message'), [
    (lambda: None, r'base_seed5\.pth: no such weights file'),
    (lambda: save_base(5, num_feat=12), r'base_seed5\.pth \[params\]: does not fit DropoutMSRResNet: '),
    (lambda: Path('base_seed5.pth').write_text('no weights'), r'base_seed5\.pth: '),
])
def test_the_weights_of_every_seed_are_checked_before_any_cell_runs(study_file, prepare, message):
    save_base(3)
    save_base(4)
    prepare()
    with pytest.raises(UserError, match=rf'^grid\.yml: cell p0, seed 5: {message}') as caught:
        study_sweep.sweep(study_file({'dropout_p': [0.1]}, path=BASE), seeds=3)
    assert '\n' not in str(caught.value)
    assert not Path('experiments').exists()
    assert not Path('results').exists()


def test_weights_of_each_seed_need_no_datasets_of_each_seed(study_file, opened):
    for seed in (3, 4, 5):
        save_base(seed)
    check_cells.check(study.load(study_file({'dropout_p': [0.1]}, path=BASE), seeds=3))
    assert len(opened) == 1


def test_datasets_of_each_seed_are_opened(study_file, training_options, opened):
    folder = Path(training_options['datasets']['train']['dataroot_gt'])
    folder.rename(folder.with_name('images of 3'))
    folder.with_name('images of 4').symlink_to(folder.with_name('images of 3'))
    for section in training_options['datasets'].values():
        section['dataroot_gt'] = str(folder.with_name('images of {seed}'))
    loaded = study.load(study_file({'dropout_p': [0.1]}, datasets=training_options['datasets']), seeds=2)
    check_cells.check(loaded)
    assert len(opened) == 2
    folder.with_name('images of 4').unlink()
    with pytest.raises(UserError, match=r'cell p0, seed 4: datasets: train: .*images of 4: no such folder'):
        check_cells.check(loaded)


def test_a_file_that_names_no_seed_is_checked_once(study_file, opened, monkeypatch):
    networks = []
    monkeypatch.setattr(check_cells.preflight, 'check_network', networks.append)
    check_cells.check(study.load(study_file({'dropout_p': [0.1]}), seeds=3))
    assert (len(opened), len(networks)) == (1, 2)
