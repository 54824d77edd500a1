"""The package where worker processes are not forked, and where the system has nothing of POSIX."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset

from reflash_sr.data import DegradationTestDataset, RealDegradationDataset, SingleDegradationDataset
from reflash_sr.data.seeded_sampler import Draw, SeededDraws
from tests import forked

PROGRAM = Path(__file__).parents[1] / 'other_system.py'
METHODS = ['spawn', 'forkserver']  # of Windows and macOS, and of Linux from Python 3.14 on
WINDOWS = {'LIKE_WINDOWS': '1'}


def start(folder, method, *command, **environment):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, PROGRAM, method, *map(str, command)], cwd=folder, text=True,
                            env={**os.environ, 'PYTHONPATH': str(PROGRAM.parents[1]), 'OMP_NUM_THREADS': '1',
                                 **environment},
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def run(folder, method, *command, **environment):
    """Run a command to its end; returns what it printed."""
    process = start(folder, method, *command, **environment)
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    assert 'Traceback' not in said
    return said


@pytest.fixture
def run_options(training_options, tmp_path):
    """A run with workers that fill a cache, and that read it in training."""
    training_options['datasets']['train'] |= {'num_worker_per_gpu': 2, 'pairs_cache': str(tmp_path / 'cache')}
    training_options['val']['keep_best'] = True
    return training_options


def test_every_module_can_be_imported_without_posix(tmp_path):
    run(tmp_path, 'spawn', 'import', **WINDOWS)


@pytest.mark.slow
@pytest.mark.parametrize('method', METHODS)
def test_a_run_does_not_depend_on_how_its_workers_start(method, run_options, tmp_path):
    folders = [forked.write(tmp_path / name, run_options) for name in ('forked', 'other')]
    status, said = forked.train(folders[0])
    assert status == 0, said
    (tmp_path / 'cache').rename(tmp_path / 'old cache')
    run(folders[1], method, 'train', '-opt', 'run.yml', '--force_yml', 'train:total_iter=3')
    said = run(folders[1], method, 'train', '-opt', 'run.yml', '--auto_resume')
    assert 'Resuming training from epoch: 0, iter: 3.' in said
    forked.assert_same(*(forked.outcome(folder, 6) for folder in folders))


@pytest.mark.slow
def test_training_and_tools_without_posix(run_options, image_folder, tmp_path):
    folder = forked.write(tmp_path / 'run', run_options)
    options = ['train', '-opt', 'run.yml', '--force_yml', 'train:total_iter=2', 'val:val_freq=2']
    run(folder, 'spawn', *options, **WINDOWS)
    run(folder, 'spawn', *options, 'datasets:train:num_worker_per_gpu=0', **WINDOWS)  # renames the earlier folder
    assert len(list(Path(folder, 'experiments').glob('tiny_archived_*'))) == 1
    run(folder, 'spawn', 'evaluate', '--weights', 'experiments/tiny/models/net_g_latest.pth', '--gt', image_folder,
        '--degradations', 'clean', '--out', 'scores', **WINDOWS)
    assert Path(folder, 'scores', 'summary.json').is_file()


@pytest.mark.slow
@pytest.mark.parametrize(('method', 'environment'), [('spawn', WINDOWS), ('forkserver', {})])
def test_photographs_are_cut_however_processes_start(method, environment, image_folder, tmp_path):
    run(tmp_path / 'x', method, 'prepare', '--input', image_folder, '--output', 'cut', '--size', 48, '--step', 24,
        '--workers', 2, **environment)
    assert len(list((tmp_path / 'x/cut').glob('*.png'))) == 4 * 2 * 3


@pytest.mark.slow
@pytest.mark.parametrize(('method', 'number'), list(zip(METHODS, [signal.SIGINT, signal.SIGTERM])))
def test_a_signal_while_workers_start_is_no_traceback(method, number, training_options, tmp_path):
    training_options['datasets']['train']['num_worker_per_gpu'] = 2
    process = start(forked.write(tmp_path / 'run', training_options), method, 'train', '-opt', 'run.yml')
    said = ''
    for line in process.stdout:
        said += line
        if 'Start training from' in line:  # the workers import PyTorch now
            os.killpg(process.pid, number)
    assert process.wait(600) == 128 + number, said
    assert 'Traceback' not in said
    assert f'Stopped by {signal.Signals(number).name} before the first iteration' in said


@pytest.mark.parametrize('make', [
    lambda opt: RealDegradationDataset({**opt, 'crop_pad_size': 64}),
    lambda opt: SingleDegradationDataset({**opt, 'degradation': 'b+n'}),
    lambda opt: DegradationTestDataset({**opt, 'degradations': ['b+n'], 'phase': 'val'}),
    lambda opt: SeededDraws(PairedImageDataset({**opt, 'dataroot_lq': opt['dataroot_gt'], 'io_backend': {
        'type': 'disk'}, 'phase': 'val'}), 0),
], ids=['real', 'single', 'test', 'basicsr'])  # yapf: disable
def test_datasets_go_to_a_worker_by_pickle(make, image_folder):
    """As everything does that is not forked; they make the same sample there."""
    opt = {'name': 'x', 'scale': 4, 'gt_size': 32, 'manual_seed': 1}
    folder = image_folder / 'inner folder'
    dataset = make({**opt, 'dataroot_gt': str(folder)})
    sent = pickle.loads(pickle.dumps(dataset))
    index = 0 if isinstance(dataset, DegradationTestDataset) else Draw(0, 5)
    for key, value in dataset[index].items():
        assert torch.equal(value, sent[index][key]) if isinstance(value, torch.Tensor) else value == sent[index][key]
