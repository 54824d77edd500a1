"""What a network from a file may allocate, whatever it is built with: known before it is allocated."""

import resource
import sys

import pytest
import torch
from basicsr.archs.swinir_arch import SwinIR
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from reflash_sr.errors import UserError
from reflash_sr.weights import size_limit
from reflash_sr.weights.network_from_file import build_network, open_network
from reflash_sr.weights.size_limit import Bounded

BIG, SIDE = 2**34, 2**17  # values: 64 GiB in float32
MAKERS = {
    'empty': lambda: torch.empty(BIG), 'zeros': lambda: torch.zeros(BIG), 'ones': lambda: torch.ones(BIG),
    'full': lambda: torch.full((BIG,), 3.0), 'arange': lambda: torch.arange(BIG), 'eye': lambda: torch.eye(SIDE),
    'linspace': lambda: torch.linspace(0, 1, BIG), 'randn': lambda: torch.randn(BIG), 'rand': lambda: torch.rand(BIG),
    'randint': lambda: torch.randint(2, (BIG,)), 'normal': lambda: torch.normal(0.0, 1.0, (BIG,)),
    'strided': lambda: torch.empty_strided((BIG,), (1,)), 'new_zeros': lambda: torch.zeros(1).new_zeros(BIG),
    'like': lambda: torch.zeros_like(torch.zeros(1).expand(BIG)), 'half': lambda: torch.zeros(BIG, dtype=torch.half),
    'parameter': lambda: nn.Parameter(torch.zeros(1, SIDE, SIDE)), 'linear': lambda: nn.Linear(SIDE, SIDE),
    'repeat': lambda: torch.zeros(1).repeat(BIG), 'contiguous': lambda: torch.zeros(1).expand(BIG).contiguous(),
    'broadcast': lambda: torch.zeros(SIDE, 1) + torch.zeros(SIDE), 'outer': lambda: torch.outer(*torch.ones(2, SIDE)),
    'cat': lambda: torch.cat([torch.zeros(1).expand(BIG // 8)] * 8), 'resize': lambda: torch.zeros(1).resize_(BIG),
    'pad': lambda: nn.functional.pad(torch.zeros(1), (0, BIG)), 'indices': lambda: torch.tril_indices(SIDE, SIDE),
    'one_hot': lambda: nn.functional.one_hot(torch.arange(SIDE)),
}  # yapf: disable


@pytest.fixture
def no_large_memory():
    """Let a test fail, and not the machine, if a large tensor is made."""
    if not sys.platform.startswith('linux'):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open('/proc/self/statm', encoding='ascii') as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 6 * 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize('name', MAKERS)
def test_nothing_larger_than_the_limit_is_allocated(name, no_large_memory):
    with pytest.raises(UserError, match='is larger than any network for super-resolution'), Bounded():
        MAKERS[name]()


def test_what_is_alive_counts_and_what_has_been_freed_does_not(monkeypatch):
    monkeypatch.setattr(size_limit, 'MOST_BYTES', 2**20)
    monkeypatch.setattr(size_limit, 'MOST_TENSORS', 100)
    with Bounded():
        for _ in range(6):
            torch.empty(2**17)
        kept = [torch.zeros(3) + place for place in range(95)]
        with pytest.raises(UserError, match='is larger than any network'):
            kept += [torch.zeros(1) for _ in range(6)]
    with pytest.raises(UserError, match='is larger than any network'), Bounded():
        kept += [torch.zeros(2**16)[:1] for _ in range(5)]  # a view keeps the whole


def test_building_is_not_changed():
    for seed in (0, 1):
        torch.manual_seed(seed)
        plain = SwinIR(img_size=16, window_size=8, depths=[2], num_heads=[2], embed_dim=8, ape=True)
        torch.manual_seed(seed)
        with Bounded():
            bounded = SwinIR(img_size=16, window_size=8, depths=[2], num_heads=[2], embed_dim=8, ape=True)
        assert torch.rand(1) is not None
        assert all(torch.equal(value, bounded.state_dict()[name]) for name, value in plain.state_dict().items())


SWINIR = {'type': 'SwinIR', 'img_size': 16, 'window_size': 8, 'depths': [2], 'num_heads': [2], 'embed_dim': 8,
          'upscale': 4, 'upsampler': 'pixelshuffle'}  # yapf: disable


@pytest.mark.parametrize(('changes', 'message'), [
    ({'ape': True, 'img_size': 100_000}, 'network_g: img_size: must be one or two whole numbers, 1 to 1024, not 1000'),
    ({'ape': True, 'img_size': [10**9, 8]}, r'network_g: img_size: must be one or two whole numbers'),
    ({'ape': True, 'img_size': 1024, 'patch_size': 1, 'embed_dim': 16384}, 'network_g: is larger than any network'),
    ({'img_size': 1024, 'window_size': 32}, 'network_g: is larger than any network'),
    ({'depths': [10**9]}, r'network_g: depths: must be a list of whole numbers, 1 to 1000'),
    ({'window_size': 0}, r'network_g: window_size: must be a whole number, 1 to 64'),
])
@pytest.mark.parametrize('inside', [False, True])
def test_a_file_cannot_claim_the_memory(changes, message, inside, tmp_path, no_large_memory):
    section = {**SWINIR, **changes}
    section = {'type': 'WithDropout', 'base': section} if inside else section
    torch.save({'params': {'conv_first.weight': torch.ones(1)}, 'network_g': section}, tmp_path / 'x.pth')
    with pytest.raises(UserError, match=message) as caught:
        open_network(tmp_path / 'x.pth')
    assert str(caught.value).isprintable()
    with pytest.raises(UserError, match=message):
        build_network(section)


def test_classes_of_others_have_rules_of_their_own(monkeypatch):
    class Mine(nn.Conv2d):
        def __init__(self, num_feat):
            super().__init__(3, 3, num_feat)

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Mine', Mine)
    assert build_network({'type': 'Mine', 'num_feat': (1, 1)}).kernel_size == (1, 1)
    size_limit.check_arguments(Mine, {'num_feat': -1})
