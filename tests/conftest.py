"""Fixtures for all tests."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import reflash_sr  # noqa: F401  (makes BasicSR importable)
from tests import forked

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored
TINY_NETWORK = {'type': 'DropoutMSRResNet', 'num_feat': 8, 'num_block': 1, 'upscale': 4, 'dropout_p': 0.5}
GRID = {'dropout_position': ['last-conv', 'all-part'], 'dropout_dim': ['channel', 'element'], 'dropout_p': [0.1, 0.3]}


def pytest_configure(config):
    """Say at once where the tests cannot run."""
    if not hasattr(os, 'fork'):
        raise pytest.UsageError('the tests fork runs and send them signals, which Windows does not have; run them on '
                                'Linux, macOS or under WSL')


def pytest_collection_modifyitems(config, items):
    """Leave out GPU tests where there is no GPU."""
    if not torch.cuda.is_available():
        gpu = [item for item in items if item.get_closest_marker('gpu')]
        config.hook.pytest_deselected(items=gpu)
        items[:] = [item for item in items if item not in gpu]


@pytest.fixture(autouse=True)
def no_run_is_left():
    """A test that fails may leave runs behind that never end."""
    yield
    forked.end_all()


@pytest.fixture(autouse=True)
def every_test_has_a_log_of_its_own():
    """BasicSR's logger keeps the stream and the file that it began with, and then no longer propagates its lines."""
    yield
    logger = logging.getLogger('basicsr')
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        if isinstance(handler, logging.FileHandler):
            handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
    module = sys.modules.get('basicsr.utils.logger')
    if module is not None:
        module.initialized_logger.pop('basicsr', None)  # the next test that logs begins anew


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def image_folder(tmp_path):
    """A folder with four smooth random images, one of them in a folder inside, with spaces in names."""
    folder = tmp_path / 'my images'
    (folder / 'inner folder').mkdir(parents=True)
    for i, name in enumerate(('a 1.png', 'b 2.png', 'c.jpg', 'inner folder/d 10.bmp')):
        Image.fromarray(smooth_image(i, 72, 96)).save(folder / name)
    return folder


def smooth_image(seed: int, height: int, width: int) -> np.ndarray:
    """A random image with structure at several scales, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def fill(folder, count: int, height: int, width: int | None = None):
    """Make a folder of smooth random images ``0.png``, ``1.png``, …; returns it."""
    folder.mkdir()
    for i in range(count):
        Image.fromarray(smooth_image(i, height, width or height)).save(folder / f'{i}.png')
    return folder


@pytest.fixture
def training_options(image_folder):
    """Options of the smallest run that trains, validates and saves."""
    return {
        'name': 'tiny',
        'model_type': 'ReflashSRModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 3,
        'datasets': {
            'train': {'type': 'RealDegradationDataset', 'dataroot_gt': str(image_folder), 'gt_size': 32,
                      'crop_pad_size': 64, 'total_batch_size': 2, 'num_worker_per_gpu': 0},
            'val': {'type': 'DegradationTestDataset', 'dataroot_gt': str(image_folder),
                    'degradations': ['clean', 'b+n']},
        },
        'network_g': dict(TINY_NETWORK),
        'train': {
            'ema_decay': 0.9,
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [6], 'eta_min': 1e-7},
            'total_iter': 6,
            'pixel_opt': {'type': 'L1Loss'},
        },
        'val': {'val_freq': 3, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}},
        'logger': {'print_freq': 2, 'save_checkpoint_freq': 3},
    }  # yapf: disable


@pytest.fixture
def in_tmp_path(tmp_path, monkeypatch):
    """Work in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def study_file(training_options):
    """Write a study; returns a function of its axes and of changes to its other sections."""

    def write(axes=GRID, section=None, **changes):
        opt = {**training_options, **changes, 'study': {'axes': axes, **(section or {})}}
        Path('grid.yml').write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
        return 'grid.yml'

    return write
