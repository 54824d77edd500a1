"""Networks of one study were trained alike, as far as their files say it."""

import json

import pytest

from reflash_sr.commands.compare_seeds import compare
from reflash_sr.commands.read_summaries import check_alike, networks_of, studies_of
from reflash_sr.errors import UserError
from tests.commands.test_compare_seeds import measured  # noqa: F401  (a fixture)

RECORD = {'datasets:train:gt_usm': True, 'train:optim_g:lr': 2e-4}
NETWORK = {'weights': 'w.pth', 'key': 'params', 'network_g': {'type': 'MSRResNet', 'num_feat': 8}}


def described(*of, folder):
    """Networks of (p, seed, changes to the record); None: the file of an earlier version."""
    entries = [{**NETWORK, 'label': f'n{place}', 'sha256': str(place), 'dropout_p': p, 'trained': {
        'iter': 6, 'manual_seed': seed, **({} if record is None else {'options': RECORD | record})}}
        for place, (p, seed, record) in enumerate(of)]  # yapf: disable
    return [(folder, one) for one in networks_of({'settings': {'networks': entries}}, folder).values()]


@pytest.mark.parametrize('networks', [
    [(0, 0, {}), (0.3, 0, {}), (0, 1, {}), (0.3, 1, None)],
    [(0, 0, {}), (0.3, 0, None), (0, 1, None)],
    [(p, seed, {'path:pretrain_network_g': str(seed)}) for p in (0, 0.3) for seed in (0, 1)],
    [(p, seed, {'amp': 'bf16'} if seed else {}) for p in (0, 0.3) for seed in (0, 1)]])
def test_what_a_study_may_differ_in(networks, tmp_path):
    check_alike(described(*networks, folder=tmp_path))


@pytest.mark.parametrize(('networks', 'said'), [
    ([(0, 0, {'datasets:train:gt_usm': False}), (0.3, 0, {})], r'n1: .*datasets:train:gt_usm \(true, false\)'),
    ([(0, 0, {}), (0.3, 0, None), (0, 1, {'train:optim_g:lr': 1.0})], r'n2: .*train:optim_g:lr \(1\.0, 0\.0002\)'),
    ([(0, 0, {'path:pretrain_network_g': 'a'}), (0.3, 0, {'path:pretrain_network_g': 'b'})],
     r'pretrain_network_g \(b, a\)'),
    ([(0, 0, {}), (0.3, 0, {'amp': 'bf16'})], r'amp \(bf16, default\)')])
def test_what_no_study_may_differ_in_is_one_line(networks, said, tmp_path):
    with pytest.raises(UserError, match=said) as error:
        check_alike(described(*networks, folder=tmp_path))
    assert str(error.value).startswith(f'{tmp_path}: n') and '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['a_b_p0.3_seed1', 'a_b_p0.3_total_iter-50_seed1', 'a_b_p0.3_lr-0.1_gt_usm-true_seed1',
                                  'a_b_gt_usm-true_p0.3_seed1', 'a_b_lr-1e-05_last-conv_p0.3_seed1'])
def test_axes_beside_dropout_do_not_hide_the_study(name):
    found = studies_of({'network_g': {'dropout_position': 'last-conv'}, 'dropout_p': 0.3,
                        'trained': {'manual_seed': 1, 'experiment': name}})
    assert 'a_b' in found


def test_an_evaluation_of_two_recipes_is_not_combined(measured, tmp_path):  # noqa: F811
    summary = json.loads((measured / 'summary.json').read_text(encoding='utf-8'))
    folder = tmp_path / 'two recipes'
    folder.mkdir()
    (folder / 'scores.csv').write_bytes((measured / 'scores.csv').read_bytes())
    for one, usm in zip(summary['settings']['networks'], (True, False)):
        one['trained']['options'] = {'datasets:train:gt_usm': usm}
    (folder / 'summary.json').write_text(json.dumps(summary), encoding='utf-8')
    with pytest.raises(UserError, match=r'two recipes: p0\.3_seed0_6: was not trained as the others'):
        compare([folder], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
