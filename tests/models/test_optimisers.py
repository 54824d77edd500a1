"""A continued run has the optimiser that its option file names now, and otherwise the one it had."""

import copy
import logging
import math

import pytest
import torch

from reflash_sr.errors import UserError
from reflash_sr.models import optimisers
from reflash_sr.models.optimisers import Average, build_optimiser, follow_file, with_kernels
from reflash_sr.system.devices import arrange
from tests.models.test_reflash_sr_model import build, parameters, steps

SECTIONS = {
    'CosineAnnealingRestartLR': {'periods': [100], 'eta_min': 1e-7},
    'MultiStepRestartLR': {'milestones': [3, 20], 'gamma': 0.5},
}


def run(opt, iterations, lr):
    """Train, and set the learning rate after each iteration as BasicSR's loop does."""
    opt['train']['optim_g']['lr'] = lr
    model = build(opt)
    proceed(model, iterations)
    return model


def proceed(model, iterations):
    for iteration in iterations:
        model.update_learning_rate(iteration, warmup_iter=-1)
        steps(model, [iteration])


def state_of(model, iteration):
    return copy.deepcopy({'epoch': 0, 'iter': iteration, 'optimizers': [one.state_dict() for one in model.optimizers],
                          'schedulers': [one.state_dict() for one in model.schedulers]})


@pytest.mark.parametrize('scheduler', SECTIONS)
def test_another_learning_rate_scales_the_schedule(opt, scheduler):
    opt['train']['scheduler'] = {'type': scheduler, **SECTIONS[scheduler]}
    first = run(opt, range(1, 6), 2e-4)
    wanted = run(opt, range(1, 11), 2e-5)
    opt['train']['optim_g']['lr'] = 2e-5
    again = build(opt)
    again.resume_training(state_of(first, 5))
    for iteration in range(6, 11):
        proceed(again, [iteration])
    assert again.get_current_learning_rate() == pytest.approx(wanted.get_current_learning_rate(), rel=1e-9)
    assert again.optimizer_g.param_groups[0]['initial_lr'] == 2e-5


def test_the_same_file_changes_nothing(opt):
    opt['train']['optim_g']['betas'] = [0.9, 0.99]
    whole = run(opt, range(1, 7), 1e-3)
    first = run(opt, range(1, 4), 1e-3)
    again = build(opt)
    again.net_g.load_state_dict(first.net_g.state_dict())
    again.resume_training(state_of(first, 3))
    proceed(again, range(4, 7))
    assert torch.equal(parameters(again), parameters(whole))


def test_other_settings_are_taken_over_and_said(opt, caplog, monkeypatch):
    monkeypatch.setattr(optimisers, 'get_root_logger', lambda: logging.getLogger('test'))
    model = build(opt)
    section = {'type': 'Adam', 'lr': 1e-3, 'betas': [0.5, 0.9], 'weight_decay': 0.1}
    opt['train']['optim_g'] = section
    follow_file(model.optimizer_g, section, build(opt).optimizer_g.param_groups)
    group = model.optimizer_g.param_groups[0]
    assert (list(group['betas']), group['weight_decay'], group['lr']) == ([0.5, 0.9], 0.1, 1e-3)
    said = ' '.join(record.getMessage() for record in caplog.records if record.name == 'test')
    assert 'betas: [0.5, 0.9] from here on' in said and 'lr' not in said


def test_another_schedule_holds(opt):
    first = run(opt, range(1, 6), 1e-3)
    opt['train']['scheduler']['periods'] = [100]
    again = build(opt)
    again.resume_training(state_of(first, 5))
    proceed(again, [6])
    assert again.get_current_learning_rate() == pytest.approx([1e-3 * (1 + math.cos(math.pi * 5 / 100)) / 2], rel=1e-4)


def test_momentum_that_a_schedule_cycled_is_the_files_again_under_another(opt):
    opt['train']['optim_g'] = {'type': 'Adam', 'lr': 1e-3}
    opt['train']['scheduler'] = {'type': 'OneCycleLR', 'max_lr': 1e-3, 'total_steps': 50}
    first = run(opt, range(1, 6), 1e-3)
    assert first.optimizer_g.param_groups[0]['betas'][0] != 0.9
    opt['train']['scheduler'] = {'type': 'MultiStepRestartLR', **SECTIONS['MultiStepRestartLR']}
    again = build(opt)
    again.resume_training(state_of(first, 5))
    assert list(again.optimizer_g.param_groups[0]['betas']) == [0.9, 0.999]


def networks():
    torch.manual_seed(0)
    return [torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)) for _ in range(2)]


@pytest.mark.parametrize('decay', [0, 0.9, 0.999])
def test_the_average_is_basicsrs_and_takes_over_what_layers_keep_of_their_input(decay):
    averaged, trained = networks()
    before = [value.detach().clone() for value in averaged.parameters()]
    trained(torch.rand(2, 3, 8, 8) * 7)
    Average(averaged, trained).update(decay)
    for value, was, new in zip(averaged.parameters(), before, trained.parameters()):
        torch.testing.assert_close(value, was * decay + new * (1 - decay), rtol=0, atol=1e-7)
        assert decay or torch.equal(value, new), 'with 0, a copy'
    assert torch.equal(averaged[1].running_var, trained[1].running_var) and trained[1].running_var.max() > 1.05


def test_the_average_follows_weights_that_are_loaded_and_laid_out_anew():
    averaged, trained = networks()
    average = Average(averaged, trained)
    trained.load_state_dict(networks()[1].state_dict())
    arrange(trained), arrange(averaged)
    average.update(0)
    assert all(torch.equal(*pair) for pair in zip(averaged.parameters(), trained.parameters()))


@pytest.mark.parametrize('kind', ['Adam', 'AdamW', 'SGD', 'Adagrad'])
def test_optimisers_are_fused_and_step_as_pytorchs_own(kind):
    ours, theirs = (list(arrange(net).parameters()) for net in networks())
    for value, other in zip(ours, theirs):
        value.data.copy_(other)
    one, two = build_optimiser(kind, iter(ours), lr=1e-3), getattr(torch.optim, kind)(theirs, lr=1e-3)
    assert one.param_groups[0]['fused']
    for seed in range(3):
        for params in (ours, theirs):
            torch.manual_seed(seed)
            for value in params:
                value.grad = torch.randn_like(value)
        one.step(), two.step()
    for value, other in zip(ours, theirs):
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('settings', [{'foreach': False}, {'fused': False}, {'capturable': False}])
def test_who_says_how_a_step_is_computed_is_heard(settings):
    built = build_optimiser('Adam', networks()[0].parameters(), lr=1e-3, **settings)
    assert not built.param_groups[0]['fused']


def test_what_cannot_be_fused_is_built_all_the_same(monkeypatch):

    class Refusing(torch.optim.Adam):
        def __init__(self, params, fused=None, **settings):
            if fused:
                raise RuntimeError('not on this device')
            super().__init__(params, **settings)

    monkeypatch.setattr(torch.optim, 'Adam', Refusing)
    for kind in ('Adam', 'Rprop'):
        assert not build_optimiser(kind, networks()[0].parameters(), lr=1e-3).param_groups[0].get('fused')


@pytest.mark.parametrize(('saved', 'now'), [({'foreach': False}, {}), ({}, {'foreach': False})])
def test_a_saved_state_goes_on_in_the_way_of_this_run(saved, now):
    params = list(networks()[0].parameters())
    before, after = (build_optimiser('Adam', params, lr=1e-3, **settings) for settings in (saved, now))
    for value in params:
        value.grad = torch.randn_like(value)
    before.step()
    fused = after.param_groups[0]['fused']
    after.load_state_dict(with_kernels(before.state_dict(), after))
    assert after.param_groups[0]['fused'] == fused != before.param_groups[0]['fused']
    after.step()


@pytest.mark.parametrize('kind', ['Adam', 'AdamW', 'SGD', 'Adagrad', 'RMSprop', 'NAdam'])
def test_fused_where_the_first_step_works_and_groups_stay_as_they_were(kind):
    for device in ('cpu', 'meta'):
        weight = torch.nn.Parameter(torch.ones(3, device=device))
        groups = [{'params': [weight], 'lr': 0.1}]
        optimiser = build_optimiser(kind, groups, lr=0.2)
        weight.grad = torch.ones_like(weight)
        if device == 'cpu':
            optimiser.step()
        assert not groups[0].get('fused')
        fused = bool(optimiser.param_groups[0].get('fused'))
        assert fused == (device == 'cpu' and kind in ('Adam', 'AdamW', 'SGD', 'Adagrad'))


def test_a_state_of_other_optimisers_is_not_continued(opt):
    first = run(opt, range(1, 3), 1e-3)
    state = state_of(first, 2)
    two = {**state, 'optimizers': state['optimizers'] * 2}
    with pytest.raises(UserError, match='has 2 optimisers, as of a GAN, and ReflashSRModel has 1; continue'):
        build(opt).resume_training(two)
    state['optimizers'][0]['param_groups'] *= 2
    with pytest.raises(UserError, match='has 2 parameter groups, and this optimiser 1; continue with the model'):
        build(opt).resume_training(state)
