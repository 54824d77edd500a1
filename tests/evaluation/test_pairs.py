"""A gain is counted from a network that differs in dropout alone; what else differs is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reflash_sr.commands.evaluate_degradations import Settings, evaluate
from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.evaluation.comparison import baselines_of
from reflash_sr.evaluation.pairs import pair_notes
from tests.commands.test_compare_seeds import network

RECORD = {'datasets:train:gt_usm': True, 'train:total_iter': 6, 'train:optim_g:lr': 2e-4}


@pytest.fixture
def trained(tmp_path):
    """Makes a network of p, seed and iteration, with changes to its record; None: a file of an earlier version."""

    def make(label, p, seed=0, iteration=6, record=(), **changes):
        one = network(tmp_path, p, seed, iteration)
        more = {} if record is None else {'options': RECORD | dict(record)}
        return replace(one, label=label, trained={**one.trained, **more}, **changes)

    return make


def test_a_network_with_another_recipe_is_no_baseline_and_the_keys_are_said(trained):
    p0 = trained('study_p0', 0, record={'datasets:train:gt_usm': False})
    both = [p0, trained('p = 0.5', 0.5)]
    assert baselines_of(both, None) == {}
    assert pair_notes(both, {}) == {
        'p = 0.5': 'compared with no network: study_p0 differs in datasets:train:gt_usm (true, false); give --baseline '
                   'to compare them anyway'}  # yapf: disable
    given = baselines_of(both, {'p = 0.5': 'study_p0'})
    assert pair_notes(both, given) == {
        'p = 0.5': 'differs from study_p0 in dropout, and in datasets:train:gt_usm (true, false)'}
    assert pair_notes(both, {'p = 0.5': 'bicubic'}) == {}


def test_of_several_recipes_each_has_its_own_and_nothing_is_said(trained):
    networks = [trained(f'{p}, {usm}', p, record={'datasets:train:gt_usm': usm}) for p in (0, 0.5)
                for usm in (True, False)]
    found = baselines_of(networks, None)
    assert found == {'0.5, True': '0, True', '0.5, False': '0, False'}
    assert pair_notes(networks, found) == {}


@pytest.mark.parametrize('change', [
    {'record': {'train:total_iter': 12}}, {'iteration': 3}, {'record': {'path:pretrain_network_g': 'a' * 64}},
    {'network_g': {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1, 'upscale': 4, 'pixel_range': 9}}])
def test_whatever_else_differs_is_no_baseline(trained, change):
    assert baselines_of([trained('a', 0, **change), trained('b', 0.3)], None) == {}


@pytest.mark.parametrize(('change', 'said'), [({'seed': 1}, 'manual_seed (0, 1)'),
                                              ({'record': {'amp': 'bf16'}}, 'amp (default, bf16)')])
def test_another_seed_or_number_format_is_said_and_not_taken_where_there_is_a_better_one(trained, change, said):
    both = [trained('a', 0, **change), trained('b', 0.3)]
    assert baselines_of(both, None) == {'b': 'a'}
    assert pair_notes(both, {'b': 'a'}) == {'b': f'differs from a in dropout, and in {said}'}
    better = [*both, trained('c', 0)]
    assert baselines_of(better, None) == {'b': 'c'} and pair_notes(better, {'b': 'c'}) == {}


def test_files_of_earlier_versions_are_paired_as_ever_and_that_is_said(trained):
    for records in (((), None), (None, ()), (None, None)):
        both = [trained(label, p, record=record) for label, p, record in zip('ab', (0, 0.3), records)]
        assert baselines_of(both, None) == {'b': 'a'}
        assert pair_notes(both, {'b': 'a'}) == {'b': 'differs from a in dropout; whether in more is not recorded'}
    old = [trained('a', 0, seed=1, record=None), trained('b', 0.3, record=None)]
    assert pair_notes(old, baselines_of(old, None))['b'] == (
        'differs from a in dropout, and in manual_seed (0, 1); whether in more is not recorded')
    one_of_each = [trained('a', 0, record=None), trained('b', 0.3), trained('c', 0)]
    assert baselines_of(one_of_each, None) == {'b': 'c'}


def test_dropout_of_any_class_is_dropout_alone(trained):
    plain = {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1, 'upscale': 4}
    networks = [trained('a', 0, network_g=plain),
                trained('b', 0.3, network_g={'type': 'WithDropout', 'base': plain, 'dropout_p': 0.3})]
    assert baselines_of(networks, None) == {'b': 'a'} and pair_notes(networks, {'b': 'a'}) == {}


def test_two_that_would_do_are_both_named(trained):
    networks = [trained('a', 0, seed=1), trained('b', 0.3), trained('c', 0, seed=2)]
    assert baselines_of(networks, None) == {}
    assert pair_notes(networks, {})['b'].startswith(
        'compared with no network: a differs in manual_seed (0, 1); c differs in manual_seed (0, 2); give --baseline')


def test_an_evaluation_says_it_on_standard_error_and_below_its_table(trained, image_folder, tmp_path, capsys):
    both = [trained('plain', 0, record={'datasets:train:gt_usm': False}), trained('dropped', 0.5)]
    sets = open_sets([f'mine={image_folder}'], ['clean'], [], [], [], 4, 0)
    evaluate(both, sets, tmp_path / 'alone', Settings(strips=0))
    line = 'compared with no network: plain differs in datasets:train:gt_usm (true, false); give --baseline to compare'
    assert f'note: dropped is {line}' in capsys.readouterr().err
    assert line in (tmp_path / 'alone' / 'table.md').read_text(encoding='utf-8')
    assert 'dropped over plain' not in (tmp_path / 'alone' / 'table.md').read_text(encoding='utf-8')
    evaluate(both, sets, tmp_path / 'anyway', Settings(strips=0), {'dropped': 'plain'})
    table = (tmp_path / 'anyway' / 'table.md').read_text(encoding='utf-8')
    assert 'differs from plain in dropout, and in datasets:train:gt_usm (true, false)' in table
    assert 'note: dropped' not in capsys.readouterr().err
