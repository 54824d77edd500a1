"""Networks of a study of presets: named after them, compared with the first, alike in all that no preset sets."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from reflash_sr.commands.compare_seeds import compare
from reflash_sr.commands.evaluate_degradations import Settings, evaluate
from reflash_sr.commands.presets import read_presets
from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.errors import UserError
from reflash_sr.evaluation.fit_shrinkage import Control
from reflash_sr.weights.network_from_file import open_network
from tests.commands.test_evaluate_degradations import save_network

ROOT = Path(__file__).parents[2]
STUDY = """
name: mine
manual_seed: 0
study:
  presets:
    none: {network_g:dropout_p: 0}
    half: {network_g:dropout_p: 0.5}
    align: {network_g:dropout_p: 0, train:align_opt: {type: AlignLoss, loss_weight: 1}}
network_g: {type: DropoutMSRResNet, num_feat: 4, num_block: 1, upscale: 4}
train: {total_iter: 6}
"""
TRAINED = {'none': {}, 'half': {}, 'align': {'train:align_opt:type': 'AlignLoss', 'train:align_opt:loss_weight': 1}}


@pytest.fixture
def study(tmp_path):
    (tmp_path / 'study.yml').write_text(STUDY)
    return tmp_path / 'study.yml'


@pytest.fixture
def measured(image_folder, tmp_path):

    def measure(out='measured', trained=(), options=()):
        """Evaluate a network of each preset; ``trained`` and ``options`` change what that of ``align`` says."""
        networks = []
        for place, name in enumerate(TRAINED):
            path = save_network(tmp_path / f'{name}.pth', place, dropout_p=0.5 if name == 'half' else 0)
            content = torch.load(path, weights_only=True)
            record = {'train:scheduler:periods': [6], **TRAINED[name]}
            content['trained'].update(iter=6, manual_seed=1, experiment=f'mine_{name}_seed1', total_iter=6,
                                      options=record)
            if name == 'align':
                content['trained'].update(trained)
                record.update(options)
            torch.save(content, path)
            networks.append(open_network(path))
        sets = open_sets([f'some={image_folder}'], ['clean', 'jpeg'], [], [], [], 4, 0)
        evaluate(networks, sets, tmp_path / out, Settings(strips=0), control=Control(('halves',)))
        return tmp_path / out

    return measure


def test_each_preset_is_compared_with_the_first(measured, study, tmp_path):
    folder, text = compare([measured()], tmp_path / 'out', study=study)
    found = pd.read_csv(folder.path / 'gains.csv')
    plain = [name for name in dict.fromkeys(found.method) if not name.endswith('per degradation')]
    assert plain == ['half', 'align', 'none, shrunk', 'half, beyond shrinkage', 'align, beyond shrinkage']
    scores = pd.read_csv(tmp_path / 'measured' / 'scores.csv')
    means = scores[scores.degradation == 'jpeg'].groupby('method').value.mean()
    for name in ('half', 'align'):
        (row,) = found[(found.method == name) & (found.degradation == 'jpeg')].itertuples()
        assert row.gain == pytest.approx(means[f'mine_{name}_seed1'] - means['mine_none_seed1'], abs=1e-4)
        both = means[f'mine_{name}_seed1'], means['mine_none_seed1']
        assert (row.value, row.reference) == pytest.approx(both, abs=1e-4)
    assert 'Gain in PSNR in dB over none of the same seed' in (folder.path / 'gains.md').read_text()
    assert '| none | 6 |' in (folder.path / 'cells.md').read_text() and 'some: align, beyond shrinkage: ' in text
    assert {path.name for path in folder.path.glob('*.png')} == {'gains_params.png', 'by_degradation_params.png'}


def test_a_preset_of_another_length_is_compared_at_its_end(measured, study, tmp_path):
    study.write_text(STUDY.replace('train:align_opt:', 'train:total_iter: 2, train:align_opt:'))
    periods = {'train:scheduler:periods': [2]}
    folder, _ = compare([measured('at its end', {'iter': 2, 'total_iter': 2}, periods)], tmp_path / 'out', study=study)
    found = pd.read_csv(folder.path / 'gains.csv')
    assert {'half', 'align'} <= set(found.method) and set(found.iteration) == {6}
    with pytest.raises(UserError, match='is iteration 1 of a training of 2'):
        compare([measured('before', {'iter': 1, 'total_iter': 2}, periods)], tmp_path / 'out2', study=study)


def test_without_the_study_they_are_not_of_one_kind(measured, tmp_path):
    with pytest.raises(UserError, match=r'it differs in train:align_opt:type'):
        compare([measured()], tmp_path / 'out')


def test_what_no_preset_sets_must_be_the_same(measured, study, tmp_path):
    with pytest.raises(UserError, match=r'differs in datasets:train:gt_usm \(true, default\)'):
        compare([measured(options={'datasets:train:gt_usm': True})], tmp_path / 'out', study=study)


def test_a_network_of_another_study_is_refused(measured, study, tmp_path):
    study.write_text(STUDY.replace('    half:', '    most:'))
    with pytest.raises(UserError, match=r"its experiment 'mine_half_seed1' is not of .*study.yml"):
        compare([measured()], tmp_path / 'out', study=study)


def test_networks_of_another_version_of_the_study_are_refused(measured, study, tmp_path):
    study.write_text(STUDY.replace('dropout_p: 0.5', 'dropout_p: 0.1'))
    with pytest.raises(UserError, match=r'was trained with dropout_p 0.5, but .*study.yml has 0.1 in its preset half'):
        compare([measured()], tmp_path / 'out', study=study)
    study.write_text(STUDY)
    one, two = measured('one'), measured('two', {'manual_seed': 2, 'experiment': 'mine_align_seed2'},
                                         {'train:align_opt:loss_weight': 9})
    with pytest.raises(UserError, match=r'differs in train:align_opt:loss_weight \(9, 1\)'):
        compare([one, two], tmp_path / 'out', study=study)


def test_what_follows_from_a_preset_may_differ_too(study):
    keys = ('datasets:train:dataroot_gt', 'train:optim_g:type', 'path:pretrain_network_g', 'network_g:num_feat')
    text = STUDY.replace('train:align_opt:', ' '.join(f'{key}: 1,' for key in keys) + ' train:align_opt:')
    text = text.replace('total_iter: 6', 'total_iter: 6, optim_g: {}')
    study.write_text(f'{text}datasets: {{train: {{}}}}\npath: {{}}\n')
    presets = read_presets(study)
    record = {'amp': 'bf16', 'train:optim_g:lr': 1, 'train:ema_decay': 0.9, 'datasets:train:images': 3,
              'datasets:train:gt_size': 8, 'path:param_key_g': 'params'}
    left, own = presets.split(record)
    assert left == {key: record[key] for key in ('amp', 'train:ema_decay', 'datasets:train:gt_size')}
    assert left | own == record and not presets.same_kind


def test_a_preset_that_no_seed_has_is_named(measured, study, tmp_path):
    study.write_text(STUDY.replace(
        '    align:', '    other: {network_g:dropout_p: 0.9}\n    align:'))
    _, text = compare([measured()], tmp_path / 'out', study=study)
    assert 'not there: other, seed 1, iteration 6, params' in text


@pytest.mark.parametrize(('file', 'message'), [
    ('study_tiny.yml', 'has no study: presets'), ('nowhere.yml', 'nowhere.yml')])
def test_files_without_presets_are_refused(file, message):
    with pytest.raises(UserError, match=message):
        read_presets(ROOT / 'options' / file)


def test_axes_beside_presets(study):
    study.write_text(STUDY.replace('  presets:', '  axes: {train:total_iter: [2, 6]}\n  presets:'))
    assert read_presets(study).name_of('mine_half_total_iter-2_seed3', 3, {'dropout_p': 0.5}, 'here') == 'half'
    study.write_text(STUDY.replace('  presets:', '  axes: {network_g:num_feat: [4, 8]}\n  presets:'))
    with pytest.raises(UserError, match='has the axis network_g:num_feat'):
        read_presets(study)
