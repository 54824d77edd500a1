"""A continued run has the optimiser that its option file names now, and otherwise the one it had."""

import copy
import logging
import math

import pytest
import torch

from reflash_sr.models import optimisers
from reflash_sr.models.optimisers import follow_file
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
