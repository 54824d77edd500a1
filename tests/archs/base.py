"""What every architecture with dropout must do; a test file inherits it and adds what is special."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.test_dropout import PAPER_DIMS


class ArchTester:
    """Subclasses name the network, the plain network, small arguments, and the default p."""

    dropout_class: type[nn.Module]
    plain_class: type[nn.Module]
    kwargs: dict
    scale_key: str
    scales: tuple[int, ...]
    default_p: float

    def build(self, cls: type[nn.Module] | None = None, **kwargs) -> nn.Module:
        torch.manual_seed(0)
        return (cls or self.dropout_class)(**{**self.kwargs, **kwargs})

    def input(self, size: int = 16) -> torch.Tensor:
        return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))

    def pair(self, **kwargs) -> tuple[nn.Module, nn.Module]:
        """The network with dropout, and the plain one with the same weights."""
        net, plain = self.build(**kwargs), self.build(self.plain_class)
        plain.load_state_dict(net.state_dict())
        return net, plain

    def test_defaults_are_those_of_the_paper(self):
        defaults = {p.name: p.default for p in inspect.signature(self.dropout_class).parameters.values()}
        assert defaults.items() >= {'dropout_p': self.default_p, 'dropout_position': 'last-conv',
                                    'dropout_dim': 'channel', 'dropout_stage': 'branch'}.items()
        assert self.build().conv_last._forward_pre_hooks.popitem()[1].p == self.default_p

    def test_pickle_keeps_weights_and_dropout(self):
        net = self.build(dropout_p=0.5)
        again = pickle.loads(pickle.dumps(net))
        torch.manual_seed(0)
        before = net.train()(self.input())
        torch.manual_seed(0)
        assert torch.equal(again.train()(self.input()), before)
        assert torch.equal(again.eval()(self.input()), net.eval()(self.input()))

    def test_keys_are_those_of_the_plain_network_and_load_both_ways(self):
        net, plain = self.build(dropout_p=0.5), self.build(self.plain_class)
        assert list(net.state_dict()) == list(plain.state_dict())
        plain.load_state_dict(net.state_dict())
        net.load_state_dict(plain.state_dict())

    def test_initial_weights_are_those_of_the_plain_network(self):
        net, plain = self.build(dropout_p=0.5), self.build(self.plain_class)
        assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), plain.state_dict().values()))

    @pytest.mark.parametrize('dim', PAPER_DIMS)
    def test_eval_equals_the_plain_network_bit_for_bit(self, dim):
        net, plain = self.pair(dropout_p=0.7, dropout_dim=dim)
        assert torch.equal(net.eval()(self.input()), plain.eval()(self.input()))

    def test_p_zero_inserts_nothing_and_equals_the_plain_network(self):
        net, plain = self.pair(dropout_p=0)
        assert torch.equal(net.train()(self.input()), plain.train()(self.input()))
        assert not any(m._forward_pre_hooks or m._forward_hooks for m in net.modules())

    @pytest.mark.parametrize('dim', PAPER_DIMS)
    def test_training_drops_what_the_last_convolution_sees(self, dim):
        net = self.build(dropout_p=0.5, dropout_dim=dim).train()
        seen = []
        net.conv_last.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        torch.manual_seed(0)
        first, second = net(self.input()), net(self.input())
        assert not torch.equal(first, second)
        share = (seen[0].flatten(2) == 0).all(2).float().mean() if dim == 'channel' else (seen[0] == 0).float().mean()
        assert abs(share - 0.5) < 0.2
        zero = (seen[0] == 0).flatten(2)
        assert bool((zero.any(2) == zero.all(2)).all()) == (dim == 'channel')

    def test_every_scale(self):
        for scale in self.scales:
            net = self.build(**{self.scale_key: scale}).eval()
            assert net(self.input()).shape == (2, 3, 16 * scale, 16 * scale)

    def test_gradients_reach_every_parameter(self):
        net = self.build(dropout_p=0.5).train()
        net(self.input()).sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())

    def test_deepcopy_for_ema_drops_on_its_own(self):
        net = self.build(dropout_p=0.7).train()
        ema = copy.deepcopy(net).eval()
        assert torch.equal(ema(self.input()), ema(self.input()))
        assert not torch.equal(net(self.input()), net(self.input()))

    def test_compile_keeps_keys_and_outputs(self):
        net = self.build(dropout_p=0.7).eval()
        keys, before = list(net.state_dict()), net(self.input())
        net.compile(backend='eager')
        torch.testing.assert_close(net(self.input()), before)
        assert list(net.state_dict()) == keys
        net.train()
        assert not torch.equal(net(self.input()), net(self.input()))
        found = torch._dynamo.explain(self.build(dropout_p=0.7).train())(self.input())
        assert (found.graph_count, found.graph_break_count) == (1, 0)

    def test_ddp_wraps_it(self, tmp_path):
        torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
        try:
            net = self.build(dropout_p=0.5).train()
            wrapped = DistributedDataParallel(net)
            wrapped(self.input()).sum().backward()
            assert list(wrapped.module.state_dict()) == list(self.build(self.plain_class).state_dict())
            wrapped.eval()
            assert torch.equal(wrapped(self.input()), net.eval()(self.input()))
        finally:
            torch.distributed.destroy_process_group()
