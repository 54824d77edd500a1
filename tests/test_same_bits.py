"""The same seed gives the same samples and the same training as in earlier versions.

``same_bits.npz`` holds both, with the machine that made them. On such a machine every bit must be the same; on others,
where sums are rounded in another order, nearly the same. If a change is meant to change them:
``python -m tests.test_same_bits``
"""

import hashlib
import platform
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from reflash_sr.data import RealDegradationDataset
from reflash_sr.data.seeded_sampler import Draw
from reflash_sr.models import ReflashSRModel
from tests.conftest import fill

STORED = Path(__file__).with_name('same_bits.npz')
STEPS, BATCH = 20, 4
NETWORK = {'type': 'DropoutMSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 2, 'upscale': 4,
           'dropout_p': 0.7}


def machine():
    """What decides in which order sums are rounded."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text(encoding='utf-8', errors='replace').splitlines() if info.is_file() else []
    model = next((line for line in lines if line.startswith('model name')), platform.processor())
    return ' '.join([model.partition(':')[2].strip(), torch.backends.cpu.get_cpu_capability(), torch.__version__,
                     np.__version__, cv2.__version__])


def samples(folder):
    """LQ (STEPS · BATCH, 16, 16, 3) uint8 and GT (…, 64, 64, 3) float32."""
    dataset = RealDegradationDataset({'dataroot_gt': str(folder), 'scale': 4, 'gt_size': 64, 'crop_pad_size': 200,
                                      'manual_seed': 5, 'use_rot': True})
    pairs = [dataset[Draw(number % 3, number)] for number in range(STEPS * BATCH)]
    lq, gt = (np.stack([pair[key].permute(1, 2, 0).numpy() for pair in pairs]) for key in ('lq', 'gt'))
    return np.rint(lq * 255).astype(np.uint8), gt


def train(lq, gt, folder):
    """All weights after STEPS steps on one thread, and their average."""
    torch.manual_seed(0)
    model = ReflashSRModel({
        'name': 'same_bits', 'network_g': NETWORK, 'path': {'experiments_root': str(folder)}, 'logger': {},
        'datasets': {}, 'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'scale': 4, 'num_gpu': 0,
        'manual_seed': 5, 'device': 'cpu', 'channels_last': True,
        'train': {'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'pixel_opt': {'type': 'L1Loss'}, 'ema_decay': 0.9,
                  'scheduler': {'type': 'MultiStepLR', 'milestones': [1000]}, 'total_iter': STEPS}})
    lq, gt = (torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))) for images in (lq / 255, gt))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for step in range(STEPS):
            batch = slice(BATCH * step, BATCH * (step + 1))
            model.feed_data({'lq': lq[batch].float(), 'gt': gt[batch]})
            model.optimize_parameters(step + 1)
    finally:
        torch.set_num_threads(threads)
    return [torch.cat([weight.detach().flatten() for weight in net.parameters()]).numpy()
            for net in (model.net_g, model.net_g_ema)]


def everything(folder):
    lq, gt = samples(fill(folder / 'images', 3, 230, 260))
    trained, averaged = train(lq, gt, folder)
    digest = hashlib.sha256(b''.join(array.tobytes() for array in (lq, gt, trained, averaged))).hexdigest()
    blocks = gt.reshape(len(gt), 4, 16, 4, 16, 3).mean(axis=(2, 4))  # the whole GT would take a megabyte
    return {'lq': lq, 'gt': blocks, 'trained': trained, 'averaged': averaged, 'digest': np.array(digest),
            'machine': np.array(machine())}


@pytest.fixture(scope='module')
def now(tmp_path_factory):
    return everything(tmp_path_factory.mktemp('same_bits'))


def test_a_seed_gives_what_it_gave_before(now):
    with np.load(STORED) as stored:
        before = dict(stored)
    if before['machine'] == now['machine']:
        assert before['digest'] == now['digest']
    steps = np.abs(before['lq'].astype(int) - now['lq'])
    assert (steps > 1).mean() < 0.001 and (steps > 0).mean() < 0.01
    np.testing.assert_allclose(now['gt'], before['gt'], atol=1e-4)
    for key in ('trained', 'averaged'):
        np.testing.assert_allclose(now[key], before[key], atol=2e-3)


def test_another_seed_would_be_noticed(now):
    rng = np.random.default_rng(0)
    other = rng.permutation(now['lq'])
    assert (np.abs(other.astype(int) - now['lq']) > 1).mean() > 0.5


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as root:
        np.savez_compressed(STORED, **everything(Path(root)))
