"""What may change within a step: clipped and accumulated gradients, and the search for a bad one."""

import copy
import resource

import pytest
import torch

from reflash_sr.errors import RunError
from reflash_sr.models import ReflashSRModel, anomaly, checkpoints


def trained(opt, dtype=torch.float32, rank=0, **train):
    """A model after three steps on a batch of four."""
    torch.manual_seed(0)
    model = ReflashSRModel(copy.deepcopy({**opt, 'rank': rank, 'train': {**opt['train'], **train}}))
    for net in (model.net_g, getattr(model, 'net_g_ema', model.net_g)):
        net.to(dtype)
    torch.manual_seed(1)
    data = {'lq': torch.rand(4, 3, 8, 8, dtype=dtype), 'gt': torch.rand(4, 3, 32, 32, dtype=dtype)}
    for iteration in (1, 2, 3):
        model.feed_data(data)
        model.optimize_parameters(iteration)
    return model


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.net_g.parameters()])


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
@pytest.mark.parametrize('parts', [2, 4])
def test_accumulated_steps_are_those_of_the_whole_batch(opt, parts, reduction):
    opt['network_g']['dropout_p'] = 0
    opt['train']['pixel_opt']['reduction'] = reduction
    whole, divided = trained(opt, torch.float64), trained(opt, torch.float64, accumulate=parts)
    torch.testing.assert_close(parameters(whole), parameters(divided), rtol=0, atol=1e-10)
    assert whole.get_current_log()['l_pix'] == pytest.approx(divided.get_current_log()['l_pix'], rel=1e-6)


def test_masks_differ_between_processes_and_between_parts(opt):
    assert not torch.equal(parameters(trained(opt)), parameters(trained(opt, rank=1)))
    assert not torch.equal(parameters(trained(opt)), parameters(trained(opt, accumulate=2)))
    assert torch.equal(parameters(trained(opt, accumulate=2)), parameters(trained(opt, accumulate=2)))


def test_the_norm_of_the_gradient_is_cut_down(opt):
    model = trained(opt, grad_clip=1e-3)
    norm = torch.cat([p.grad.flatten() for p in model.net_g.parameters()]).norm()
    assert norm == pytest.approx(1e-3, rel=1e-3)
    assert torch.equal(parameters(trained(opt, grad_clip=1e6)), parameters(trained(opt)))


def test_the_search_changes_nothing_and_leaves_no_hooks(opt):
    model = trained(opt, detect_anomaly=True)
    assert torch.equal(parameters(trained(opt)), parameters(model))
    hooks = [module._forward_hooks or module._forward_pre_hooks for module in model.net_g.modules()]
    assert len([found for found in hooks if found]) == len(
        [m for m in trained(opt).net_g.modules() if m._forward_hooks or m._forward_pre_hooks])


class Root(torch.nn.Module):
    """Its gradient at 0 is infinite."""

    def forward(self, x):
        return torch.sqrt(x * 0)


def test_the_layer_of_a_bad_gradient_is_named():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.Sequential(torch.nn.ReLU(), Root()),
                              torch.nn.Conv2d(3, 3, 1))
    with pytest.raises(RunError, match=r'the backward pass of 1\.1 \(SqrtBackward0\) produced a gradient that is not '
                       r'finite at iteration 7; its batch: a\.png'), anomaly.watched(net, 7, ['a.png']):
        net(torch.rand(1, 3, 4, 4)).mean().backward()


def test_a_disk_that_is_full_in_the_middle_of_a_file(tmp_path):
    path = tmp_path / 'w.pth'
    checkpoints.write({'params': {'a': torch.ones(3)}}, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(RunError, match=r'w\.pth: cannot be written \(File too large\); earlier checkpoints are'):
            checkpoints.write({'params': {'a': torch.ones(100_000)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ['w.pth']
