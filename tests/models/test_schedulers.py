"""The learning rate is that of the file: after a warm-up, by every scheduler, and in a continued run."""

import copy
import math

import pytest
import torch
from basicsr.models.sr_model import SRModel

from reflash_sr.models.schedulers import build_scheduler, keep_to_schedule
from reflash_sr.options.known_keys import SCHEDULERS
from tests.models.test_optimisers import state_of
from tests.models.test_reflash_sr_model import build

LR, TOTAL, WARMUP = 1e-3, 12, 5
ARGUMENTS = {
    'MultiStepLR': {'milestones': [3, 8], 'gamma': 0.5},
    'MultiStepRestartLR': {'milestones': [3, 8], 'gamma': 0.5, 'restarts': [0, 9], 'restart_weights': [1, 0.5]},
    'CosineAnnealingRestartLR': {'periods': [4, 8], 'restart_weights': [1, 0.5], 'eta_min': 1e-7},
    'ConstantLR': {'factor': 0.5, 'total_iters': 7},
    'CosineAnnealingLR': {'T_max': TOTAL, 'eta_min': 1e-6},
    'CosineAnnealingWarmRestarts': {'T_0': 4},
    'CyclicLR': {'base_lr': 1e-4, 'max_lr': LR, 'step_size_up': 3, 'cycle_momentum': False},
    'ExponentialLR': {'gamma': 0.9},
    'LinearLR': {'start_factor': 0.5, 'total_iters': 8},
    'OneCycleLR': {'max_lr': 2e-3, 'total_steps': TOTAL},
    'PolynomialLR': {'total_iters': TOTAL, 'power': 2},
    'StepLR': {'step_size': 4, 'gamma': 0.5},
}


def rates_of(model, iterations, warmup=-1):
    """Learning rate of each iteration, as BasicSR's loop sets it."""
    rates = []
    for iteration in iterations:
        model.optimizer_g.step()
        model.update_learning_rate(iteration, warmup_iter=warmup)
        rates.append(model.get_current_learning_rate()[0])
    return rates


def of_file(name):
    """Learning rate of each iteration by the scheduler alone: what the file says, without a warm-up."""
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = build_scheduler(optimiser, {'type': name, **ARGUMENTS[name]})
    rates = []
    for _ in range(TOTAL):
        rates.append(optimiser.param_groups[0]['lr'])
        optimiser.step()
        scheduler.step()
    return rates


@pytest.fixture
def scheduled(opt, request):
    opt['train'].update(scheduler={'type': request.param, **ARGUMENTS[request.param]}, total_iter=TOTAL)
    opt['train']['optim_g'].update(type='Adam', lr=LR)
    return opt


def test_every_scheduler_of_the_table_is_tested():
    assert set(ARGUMENTS) == set(SCHEDULERS)


def test_milestones_count_from_the_rate_of_the_file(opt):
    opt['train'].update(scheduler={'type': 'MultiStepLR', 'milestones': [8], 'gamma': 0.5}, total_iter=TOTAL)
    opt['train']['optim_g'].update(type='Adam', lr=LR)
    rates = rates_of(build(opt), range(1, TOTAL + 1), WARMUP)
    assert rates == pytest.approx([LR * i / 5 for i in range(1, 5)] + [LR] * 4 + [LR / 2] * 4)


@pytest.mark.parametrize('scheduled', SCHEDULERS, indirect=True)
def test_the_warm_up_rises_to_the_schedule_and_leaves_it_alone(scheduled):
    name = scheduled['train']['scheduler']['type']
    rates = rates_of(build(scheduled), range(1, TOTAL + 1), WARMUP)
    wanted = of_file(name)
    assert rates[WARMUP - 1:] == pytest.approx(wanted[WARMUP - 1:], rel=1e-9)
    first = rates[0]
    assert rates[:WARMUP - 1] == pytest.approx([first * i for i in range(1, WARMUP)])
    assert rates_of(build(scheduled), range(1, TOTAL + 1)) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize('stop', [3, 4, 5, 7])
@pytest.mark.parametrize('scheduled', SCHEDULERS, indirect=True)
def test_a_continued_run_has_the_same_rates(scheduled, stop):
    whole = rates_of(build(scheduled), range(1, TOTAL + 1), WARMUP)
    first = build(scheduled)
    rates_of(first, range(1, stop + 1), WARMUP)
    again = build(scheduled)
    again.resume_training(state_of(first, stop))
    assert rates_of(again, range(stop + 1, TOTAL + 1), WARMUP) == whole[stop:]


def test_a_new_rate_holds_after_a_warm_up_that_was_continued(opt):
    opt['train'].update(scheduler={'type': 'StepLR', 'step_size': 8, 'gamma': 0.5}, total_iter=TOTAL)
    opt['train']['optim_g'].update(type='Adam', lr=LR)
    first = build(opt)
    rates_of(first, range(1, 4), WARMUP)
    opt['train']['optim_g']['lr'] = LR / 4
    again = build(opt)
    again.resume_training(state_of(first, 3))
    rates = rates_of(again, range(4, TOTAL + 1), WARMUP)
    assert rates == pytest.approx([LR / 5] + [LR / 4] * 4 + [LR / 8] * 4)


@pytest.mark.parametrize('scheduled', SCHEDULERS, indirect=True)
def test_a_run_continued_with_another_schedule_follows_the_new_one(scheduled):
    before = copy.deepcopy(scheduled)
    before['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [2, 3], 'gamma': 0.1}
    before['train']['optim_g']['lr'] = LR / 7
    first = build(before)
    rates_of(first, range(1, 5))
    again = build(scheduled)
    again.resume_training(state_of(first, 4))
    assert rates_of(again, range(5, TOTAL + 1)) == rates_of(build(scheduled), range(1, TOTAL + 1))[4:]


@pytest.mark.parametrize('scheduled', ['MultiStepLR', 'CosineAnnealingRestartLR'], indirect=True)
def test_basicsrs_own_model_returns_to_its_schedule_too(scheduled):
    name = scheduled['train']['scheduler']['type']
    model = SRModel(copy.deepcopy({**scheduled, 'num_gpu': 0}))
    keep_to_schedule(model)
    rates = rates_of(model, range(1, TOTAL + 1), WARMUP)
    assert rates[WARMUP - 1:] == pytest.approx(of_file(name)[WARMUP - 1:])
    assert math.isclose(rates[1], LR * 2 / WARMUP)


def test_basicsrs_own_model_follows_another_schedule_when_it_is_continued(opt):
    opt['train'].update(scheduler={'type': 'CosineAnnealingRestartLR', 'periods': [4]}, total_iter=4)
    first = SRModel(copy.deepcopy({**opt, 'num_gpu': 0}))
    rates_of(first, range(1, 5))
    opt['train']['scheduler']['periods'] = [TOTAL]
    wanted = rates_of(SRModel(copy.deepcopy({**opt, 'num_gpu': 0})), range(1, TOTAL + 1))
    again = SRModel(copy.deepcopy({**opt, 'num_gpu': 0}))
    keep_to_schedule(again)
    again.resume_training(state_of(first, 4))
    assert rates_of(again, range(5, TOTAL + 1)) == pytest.approx(wanted[4:])
