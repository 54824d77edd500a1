"""Networks with BasicSR's CUDA operations: one line where they cannot run; deformable convolutions train."""

from functools import partial

import pytest
import torch
from basicsr.archs.arch_util import DCNv2Pack
from basicsr.ops.dcn import DeformConv
from basicsr.ops.fused_act import FusedLeakyReLU
from basicsr.ops.upfirdn2d import upfirdn2d
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from reflash_sr.errors import UserError
from reflash_sr.models.reflash_sr_model import ReflashSRModel
from reflash_sr.training.cuda_ops import try_network


class Ends(nn.Module):
    """A network of scale 2 with a layer between its convolutions."""

    def __init__(self, layer):
        super().__init__()
        self.first, self.layer, self.last = nn.Conv2d(3, 8, 3, 1, 1), layer, nn.Conv2d(8, 12, 3, 1, 1)

    def forward(self, x):
        return nn.functional.pixel_shuffle(self.last(self.layer(self.first(x))), 2)


class Deformed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = DeformConv(8, 8, 3, padding=1)

    def forward(self, x):
        return self.conv(x, x.new_zeros(len(x), 18, *x.shape[2:]))


class Filtered(nn.Module):
    def forward(self, x):
        return upfirdn2d(x.cuda() if torch.cuda.is_available() else x.to('meta'), torch.ones(1, 1))


class Aligned(nn.Module):
    """A deformable convolution whose offsets come from its own input."""

    def __init__(self):
        super().__init__()
        self.conv = DCNv2Pack(8, 8, 3, padding=1, deformable_groups=2)

    def forward(self, x):
        return self.conv(x, x)


@ARCH_REGISTRY.register()
class AlignedNet(Ends):
    def __init__(self):
        super().__init__(Aligned())


@pytest.mark.skipif(torch.cuda.is_available(), reason='the operations may be there')
@pytest.mark.parametrize(('layer', 'operation'), [
    (Deformed, 'dcn'), (Filtered, 'upfirdn2d'), (partial(FusedLeakyReLU, 8), 'fused_act')])
def test_a_cpu_without_the_operations_is_one_line(layer, operation):
    with pytest.raises(UserError, match=rf"network_g: Ends uses BasicSR's CUDA operations \({operation}\), which a CPU "
                                        r'does not have; train it on a GPU, and install BasicSR with BASICSR_EXT=True'):
        try_network(Ends(layer()), torch.zeros(1, 3, 8, 8), 'cpu')


def test_other_errors_are_what_they_were_and_what_runs_runs():
    with pytest.raises(UserError, match='network_g: Conv2d does not accept these options: Given groups=1'):
        try_network(nn.Conv2d(4, 8, 3), torch.zeros(1, 3, 8, 8), 'cpu')
    assert try_network(Ends(Aligned()), torch.zeros(1, 3, 8, 8), 'cpu').shape == (1, 3, 16, 16)


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
def test_dropout_around_a_network_with_deformable_convolutions_trains(device):
    torch.manual_seed(0)
    model = ReflashSRModel({
        'network_g': {'type': 'WithDropout', 'base': {'type': 'AlignedNet'}, 'dropout_p': 0.5}, 'scale': 2,
        'num_gpu': int(device == 'cuda'), 'device': device, 'manual_seed': 0, 'is_train': True, 'dist': False,
        'rank': 0, 'world_size': 1, 'path': {}, 'logger': {}, 'datasets': {}, 'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'pixel_opt': {'type': 'L1Loss'}, 'ema_decay': 0.9, 'total_iter': 2,
            'scheduler': {'type': 'MultiStepLR', 'milestones': [10]}}})
    before = [value.detach().clone() for value in model.net_g.parameters()]
    batch = {'lq': torch.rand(2, 3, 8, 8), 'gt': torch.rand(2, 3, 16, 16)}
    for iteration in (1, 2):
        model.feed_data(batch)
        model.optimize_parameters(iteration)
    assert all(torch.isfinite(value).all() for value in model.net_g.parameters())
    assert sum(not torch.equal(*pair) for pair in zip(before, model.net_g.parameters())) >= 4
