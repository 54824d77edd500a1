"""Studies: the grid, bad input, what is run and what is not, and what comes out."""

import csv
import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from reflash_sr import cli
from reflash_sr.commands import sweep_dropout
from reflash_sr.errors import RunError, UserError
from reflash_sr.options import option_file as options
from reflash_sr.studies import check_cells as study_checks
from reflash_sr.studies import grid as study
from reflash_sr.studies import jobs as study_jobs
from reflash_sr.studies import results as study_results
from reflash_sr.studies import sweep as study_sweep
from reflash_sr.system.run_command import run_command
from tests.conftest import GRID

pytestmark = pytest.mark.usefixtures('in_tmp_path')

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'sweep_dropout.py'


def names(loaded):
    return [cell.name for cell in loaded.cells]


def test_every_combination_is_a_cell_and_p0_is_one(study_file):
    loaded = study.load(study_file({**GRID, 'dropout_p': [0, 0.1, 0.3]}))
    assert names(loaded) == ['p0', *(f'{position}_{dim}_p{p}' for position in ('last-conv', 'all-part')
                                     for dim in ('channel', 'element') for p in (0.1, 0.3))]
    assert loaded.cells[1].options['network_g']['dropout_position'] == 'last-conv'
    assert loaded.cells[0].options['network_g']['dropout_p'] == 0
    assert all('study' not in cell.options for cell in loaded.cells)
    assert names(study.load(study_file(section={'with_p0': False})))[0] == 'last-conv_channel_p0.1'


def test_cells_of_a_seed_share_it_and_seeds_count_up(study_file):
    loaded = study.load(study_file({'dropout_p': [0.1]}), seeds=3)
    assert [(cell.name, cell.options['manual_seed']) for cell in loaded.cells] == [
        (name, seed) for seed in (3, 4, 5) for name in ('p0', 'p0.1')]
    assert loaded.cells[-1].experiment == 'tiny_p0.1_seed5'
    assert loaded.seeds == [3, 4, 5]


def test_any_key_of_the_file_can_be_an_axis(study_file):
    axes = {'train:optim_g:lr': [1e-3, 2e-4], 'datasets:train:gt_usm': [True, False],
            'network_g:dropout_position': [['B1', 'last-conv']], 'dropout_p': [0.5]}
    loaded = study.load(study_file(axes))
    assert names(loaded)[:2] == ['p0_lr-0.001_gt_usm-true', 'p0_lr-0.001_gt_usm-false']
    assert names(loaded)[-1] == 'lr-0.0002_gt_usm-false_B1+last-conv_p0.5'
    last = loaded.cells[-1].options
    assert (last['train']['optim_g']['lr'], last['datasets']['train']['gt_usm']) == (2e-4, False)
    assert last['network_g']['dropout_position'] == ['B1', 'last-conv']
    study_checks.check(loaded)
    assert names(study.load(study_file({'train:optim_g:lr': [1e-3]}))) == ['lr-0.001']


def test_the_word_seed_in_any_text_is_that_of_the_cell(study_file, training_options):
    data = {**training_options['datasets'], 'train': {**training_options['datasets']['train'],
                                                      'dataroot_gt': ['a', 'folder of {seed}']}}
    path = {'pretrain_network_g': 'base_seed{seed}/net_g_{seed}.pth', 'strict_load_g': True}
    loaded = study.load(study_file({'dropout_p': [0.1]}, path=path, datasets=data), seeds=2)
    for cell in loaded.cells:
        assert cell.options['path'] == {'pretrain_network_g': f'base_seed{cell.seed}/net_g_{cell.seed}.pth',
                                        'strict_load_g': True}
        assert cell.options['datasets']['train']['dataroot_gt'] == ['a', f'folder of {cell.seed}']
    of_axis = study.load(study_file({'path:pretrain_network_g': ['a{seed}.pth']}, path=path)).cells[0]
    assert of_axis.options['path']['pretrain_network_g'] == 'a3.pth'


def test_names_are_safe_in_files(study_file):
    loaded = study.load(study_file({'dropout_position': ['input of body/0'], 'dropout_p': [0.1]}))
    assert names(loaded)[1] == 'input-of-body-0_p0.1'


BAD = {
    'no study': (lambda opt: opt.pop('study'), 'study: is missing; write the grid'),
    'no axes': (lambda opt: opt['study'].pop('axes'), 'study: axes: is empty, so there are no cells'),
    'no values': ({'dropout_p': []}, 'study: axes: dropout_p: has no list of values, so there are no cells'),
    'one value': ({'dropout_p': 0.1}, 'write one, as in [0.1, 0.3], not 0.1'),
    'misspelt axis': ({'dropout_positon': ['B1']}, "not a known axis; did you mean 'dropout_position'?"),
    'misspelt section': ({'trian:optim_g:lr': [1]}, "there is no section 'trian'; did you mean 'train'?"),
    'misspelt key': ({'network_g:num_fet': [8]}, "network_g: num_fet: is not a known key; did you mean 'num_feat'?"),
    'misspelt study key': (lambda opt: opt['study'].update(with_po=True), "study: with_po: is not a known key; did you "
                           "mean 'with_p0'?"),
    'same axis': ({'dropout_p': [0.1], 'network_g:dropout_p': [0.2]}, 'network_g:dropout_p: is given twice'),
    'seed axis': ({'manual_seed': [0, 1]}, 'repeat them with --seeds N'),
    'same name': ({'dropout_p': [0.1, 0.1]}, "study: two cells are called 'p0.1'"),
    'same file name': ({'dropout_position': ['a b', 'a/b'], 'dropout_p': [0.1]}, "two cells are called 'a-b_p0.1'"),
    'section value': ({'network_g': [{'type': 'MSRResNet'}]}, 'its values must not be sections'),
    'position': ({'dropout_position': ['last-conv', 'lastconv'], 'dropout_p': [0.1]},
                 "cell lastconv_p0.1: network_g: dropout_position: DropoutMSRResNet has no position 'lastconv'"),
    'dim': ({'dropout_dim': ['chanel'], 'dropout_p': [0.1]}, "not 'chanel'; did you mean 'channel'?"),
    'p = 1': ({'dropout_p': [0.1, 1]}, 'cell p1: network_g: dropout_p: must be a probability in [0, 1), not 1'),
    'p < 0': ({'dropout_p': [-0.1]}, 'dropout_p: must be a probability in [0, 1), not -0.1'),
    'p as text': ({'dropout_p': ['much']}, "'network_g:dropout_p' is a number (0.5), not 'much'"),
    'no seed': (lambda opt: opt.pop('manual_seed'), 'manual_seed: must be a whole number, 0 or above, not None'),
    'no metric': (lambda opt: opt['val'].pop('metrics'), 'val: a study compares by PSNR'),
    'no data': ({'datasets:train:dataroot_gt': ['gone']}, 'datasets: train: gone: no such folder'),
    'compared': (lambda opt: opt['study'].update(compare_on=['claen']),
                 "no validation dataset has the degradation 'claen'; did you mean 'clean'?"),
    'cluster': (lambda opt: opt['study'].update(cluster={'slurm_partion': 'x'}), "Unknown argument 'partion'"),
    'another model': (lambda opt: opt.update(model_type='SRModel'),
                      'model_type: SRModel: writes no table of its validation'),
    'preset axis': (lambda opt: opt['study'].update(presets={'a': {'network_g:dropout_p': 0}}),
                    'study: axes: dropout_p: is what presets are for; write it into each of them'),
    'preset key': (lambda opt: opt['study'].update(presets={'a': {'train:ema_decay': 0}},
                                                   axes={'train:ema_decay': [0]}),
                   'study: axes: train:ema_decay: is what presets are for'),
    'preset that would break a table': (lambda opt: opt['study'].update(presets={'a|b': {}}, axes={}),
                                        "study: presets: 'a|b': must be a name without"),
    'preset without keys': (lambda opt: opt['study'].update(presets={'a': 0.5}, axes={}),
                            'study: presets: a: must be a name with a section, such as'),
    'preset of the seed': (lambda opt: opt['study'].update(presets={'a': {'manual_seed': 1}}, axes={}),
                           'study: presets: a: manual_seed: all cells share it'),
    'misspelt preset key': (lambda opt: opt['study'].update(presets={'a': {'trian:ema_decay': 0}}, axes={}),
                            "study: presets: trian:ema_decay=0: there is no section 'trian'; did you mean 'train'?"),
    'no device': (lambda opt: opt.update(device='tpu'), "cell p0: device: 'tpu' is not known"),
}  # yapf: disable


@pytest.mark.parametrize(('change', 'message'), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_runs_nothing(study_file, monkeypatch, capsys, change, message):
    pytest.importorskip('submitit')
    monkeypatch.setattr(study_jobs.pipeline, 'train', lambda *args, **kwargs: pytest.fail('was run'))
    file = study_file(change if isinstance(change, dict) else {'dropout_p': [0.1]})
    if not isinstance(change, dict):
        opt = yaml.safe_load(Path(file).read_text(encoding='utf-8'))
        change(opt)
        Path(file).write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
    assert run_command(lambda: study_sweep.sweep(file, engine='debug'), 'sweep_dropout') == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not Path('experiments').exists()
    assert not Path('results').exists()


@pytest.mark.parametrize(('changes', 'message'), [({'seeds': 0}, '--seeds'), ({'jobs': 0}, '--jobs')])
def test_numbers_on_the_command_line(study_file, changes, message):
    with pytest.raises(UserError, match=message):
        study_sweep.sweep(study_file(), **changes)


def test_the_command_line(study_file, capsys):
    flags = ['--opt', study_file({'dropout_p': [0.1]}), '--seeds', '2', '--jobs', '0', '--force_yml', 'manual_seed=7']
    assert sweep_dropout.main(flags) == 2
    assert '--jobs: must be 1 or above, not 0' in capsys.readouterr().err


def test_a_study_is_no_single_run(study_file, capsys):
    assert cli.main(['train', '-opt', study_file()]) == 2
    assert 'grid.yml: study: this file is a grid of runs; start it with python tools/sweep_dropout.py --opt' in (
        capsys.readouterr().err)


class FakeTraining:
    """Stands in for ``pipeline.train``: leaves behind what a training leaves; fails where ``fails`` is in the name."""

    def __init__(self):
        self.calls = []
        self.fails = None

    def __call__(self, file, auto_resume):
        opt = options.load(file)
        self.calls.append((opt['name'], auto_resume))
        if self.fails and self.fails in opt['name']:
            raise RunError('l_pix was not finite at iteration 2')
        folder = Path('experiments', opt['name'])
        for inner in ('models', 'validation', 'training_states'):
            (folder / inner).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
        p = opt['network_g']['dropout_p']
        for iteration in range(3, opt['train']['total_iter'] + 1, 3):
            lines = [f'{method},val,{degradation},psnr,{value},4\n' for degradation in ('clean', 'b+n')
                     for method, value in (('network', 20 + iteration + p + opt['manual_seed']), ('bicubic', 10))]
            (folder / 'validation' / f'iter_{iteration}.csv').write_text(
                'method,dataset,degradation,metric,value,images\n' + ''.join(lines), encoding='utf-8')
            (folder / 'training_states' / f'{iteration}.state').touch()
        (folder / 'models' / 'net_g_latest.pth').touch()


@pytest.fixture
def training(monkeypatch):
    """A fake training, and ``sweep`` in this process, by submitit's own executor for debugging."""
    pytest.importorskip('submitit')
    fake = FakeTraining()
    monkeypatch.setattr(study_jobs.pipeline, 'train', fake)
    return fake


def sweep(file, **flags):
    lines = []
    try:
        study_sweep.sweep(file, engine='debug', say=lines.append, **flags)
    finally:
        text = '\n'.join(lines)
    return text


def table():
    with open('results/tiny/table.csv', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_finished_cells_are_skipped_and_begun_ones_continued(study_file, training):
    file = study_file({'dropout_p': [0.1, 0.3]})
    sweep(file)
    assert training.calls == [(f'tiny_{name}_seed3', False) for name in ('p0', 'p0.1', 'p0.3')]
    first = Path('results/tiny/table.csv').read_bytes()
    training.calls.clear()
    assert '3 finished' in sweep(file)
    assert training.calls == []
    assert Path('results/tiny/table.csv').read_bytes() == first, 'made anew, not appended'
    Path('experiments/tiny_p0.1_seed3/models/net_g_latest.pth').unlink()
    Path('experiments/tiny_p0.3_seed3/validation/iter_6.csv').unlink()
    assert 'tiny_p0.1_seed3: begun (iteration 6)' in sweep(file, dry_run=True)
    sweep(file)
    assert training.calls == [('tiny_p0.1_seed3', True), ('tiny_p0.3_seed3', True)]
    training.calls.clear()
    sweep(file, seeds=2)
    assert [name for name, _ in training.calls] == [f'tiny_{name}_seed4' for name in ('p0', 'p0.1', 'p0.3')]


def test_a_failing_cell_is_named_and_does_not_stop_the_others(study_file, training):
    training.fails = 'p0.1'
    file = study_file({'dropout_p': [0.1, 0.3]})
    with pytest.raises(RunError, match=r'1 of 3 experiments failed.*tiny_p0\.1_seed3: l_pix was not finite') as caught:
        sweep(file)
    assert caught.value.exit_status == 1
    assert {row['cell'] for row in table()} == {'p0', 'p0.3'}
    assert 'tiny_p0.1_seed3' in json.loads(Path('results/tiny/summary.json').read_text(encoding='utf-8'))['failed']
    training.fails = None
    sweep(file)
    assert len({row['cell'] for row in table()}) == 3
    assert not json.loads(Path('results/tiny/summary.json').read_text(encoding='utf-8'))['failed']


def test_options_that_have_changed_are_never_mixed(study_file, training):
    sweep(study_file({'dropout_p': [0.1, 0.3]}))
    training.calls.clear()
    changed = study_file({'dropout_p': [0.1, 0.5]}, amp='bf16')
    with pytest.raises(UserError, match=r"grid\.yml: 2 of 3 experiments .* amp was None, is now 'bf16'.*--rerun"):
        sweep(changed)
    assert training.calls == []
    sweep(changed, rerun_changed=True)
    assert training.calls == [(f'tiny_{name}_seed3', False) for name in ('p0', 'p0.1', 'p0.5')]
    assert {row['cell'] for row in table()} == {'p0', 'p0.1', 'p0.5'}


WITHOUT_EFFECT = {
    'logger': {'print_freq': 5, 'save_checkpoint_freq': 2, 'keep_last': 1, 'wandb': {'project': None}},
    'val': {'pbar': False, 'save_img': True, 'keep_best': True},
    'train': {'detect_anomaly': True},
    'datasets': {'train': {'num_worker_per_gpu': 1, 'persistent_workers': True, 'prefetch_mode': 'cpu',
                           'num_prefetch_queue': 2, 'dataset_enlarge_ratio': 7, 'use_shuffle': False},
                 'val': {'num_worker_per_gpu': 1}},
    'dist_params': {'backend': 'gloo'},
}  # yapf: disable


def merged(options, changes):
    return {**options, **{key: merged(options.get(key, {}), value) if isinstance(value, dict) else value
                          for key, value in changes.items()}}


def test_keys_that_change_no_number_neither_refuse_nor_retrain(study_file, training, training_options):
    sweep(study_file({'dropout_p': [0.1]}))
    training.calls.clear()
    changed = merged(training_options, WITHOUT_EFFECT)
    assert '2 finished' in sweep(study_file({'dropout_p': [0.1]}, **changed))
    assert training.calls == []
    changed['logger']['save_format'] = 'safetensors'
    with pytest.raises(UserError, match=r'2 of 2 experiments .*logger:save_format was None'):
        sweep(study_file({'dropout_p': [0.1]}, **changed))


@pytest.mark.slow
def test_those_keys_change_no_number(training_options):
    networks = []
    for name, changes in (('one', {}), ('two', WITHOUT_EFFECT)):
        Path(f'{name}.yml').write_text(yaml.safe_dump({**merged(training_options, changes), 'name': name}))
        assert cli.main(['train', '-opt', f'{name}.yml']) == 0
        networks.append(torch.load(f'experiments/{name}/models/net_g_latest.pth')['params_ema'])
    assert all(torch.equal(networks[0][key], networks[1][key]) for key in networks[0])
    one, two = (Path(f'experiments/{name}/validation/iter_6.csv').read_text() for name in ('one', 'two'))
    assert one == two


def test_force_yml_changes_every_cell_and_stands_in_its_option_file(study_file, training):
    file = study_file({'dropout_p': [0.1, 0.3]})
    sweep(file, force_yml=['manual_seed=7', 'amp=bf16', 'study:axes:dropout_p=[0.5]'])
    assert training.calls == [(f'tiny_{name}_seed7', False) for name in ('p0', 'p0.5')]
    kept = options.load('results/tiny/options/tiny_p0.5_seed7.yml')
    assert (kept['amp'], kept['manual_seed']) == ('bf16', 7)
    with pytest.raises(UserError, match=r"experiments/tiny_p0_seed7: amp was 'bf16'"):
        sweep(file, force_yml=['manual_seed=7'])
    with pytest.raises(UserError, match="--force_yml: trian:lr=1: there is no section 'trian'; did you mean"):
        sweep(file, force_yml=['trian:lr=1'])


@pytest.mark.parametrize('axis, entry', [('dropout_p', 'network_g:dropout_p=0.9'),
                                         ('network_g:num_feat', 'network_g:num_feat=8'),
                                         ('train:optim_g:lr', 'train:optim_g:lr=1e-3')])
def test_an_axis_cannot_be_forced(study_file, training, axis, entry):
    values = {'dropout_p': [0.1, 0.3], 'train:optim_g:lr': [1e-4, 2e-4]}.get(axis, [4, 8])
    with pytest.raises(UserError, match=rf'{axis} is an axis, .* give study:axes:{axis}=\['):
        sweep(study_file({axis: values}), force_yml=[entry])
    assert training.calls == []


def test_what_comes_out(study_file, training):
    text = sweep(study_file(), seeds=2)
    rows = table()
    assert list(rows[0]) == ['cell', 'seed', 'iteration', 'set', 'degradation', 'psnr']
    assert len(rows) == 9 * 2 * 2 * 2  # cells, seeds, iterations, degradations
    assert {row['psnr'] for row in rows if row['cell'] == 'p0'} == {f'{20 + i + s:.6f}' for i in (3, 6) for s in (3, 4)}
    cell = json.loads(Path('results/tiny/summary.json').read_text(encoding='utf-8'))['cells']['last-conv_channel_p0.3']
    assert (cell['psnr'], cell['gain'], cell['gain_std']) == (29.8, 0.3, 0)
    assert cell['experiments'] == [f'experiments/tiny_last-conv_channel_p0.3_seed{seed}' for seed in (3, 4)]
    assert 'last-conv_channel_p0.3  29.80   0.71  +0.30   0.00' in text
    for name in ('curves', 'bars'):
        low, high = Image.open(f'results/tiny/{name}.png').convert('L').getextrema()
        assert low < high, 'blank'


def test_cells_are_compared_on_what_the_study_says(study_file, training):
    text = sweep(study_file({'dropout_p': [0.1]}, {'compare_on': ['clean']}))
    assert 'PSNR in dB, val, clean; gain over p = 0' in text
    assert {row['degradation'] for row in table()} == {'clean', 'b+n'}
    assert 'mean of 2 degradations (clean, b+n)' in sweep(study_file({'dropout_p': [0.1]}))


def test_axes_of_the_user_get_a_place_in_the_figures(study_file, training):
    loaded = study.load(study_file({'train:optim_g:lr': [1e-3, 1e-4], 'dropout_p': [0.1, 0.3]}))
    for cell in loaded.cells:
        training(study_jobs.write_options(cell, Path('results')), False)
    series = study_results.make_series(loaded, study_results.collect(loaded))
    one = series['lr-0.0001_p0.3']
    assert (one.panel, one.group, one.shade) == ('', 'lr 0.0001', 'p = 0.3')
    assert one.reference is series['p0_lr-0.0001']


LENGTHS = {'dropout_p': [0.1, 0.3], 'train:total_iter': [3, 6]}


def test_runs_of_several_lengths_are_compared_with_p0_of_their_own(study_file, training, training_options):
    train = merged(training_options['train'], {'scheduler': {'periods': ['total_iter']}})
    text = sweep(study_file(LENGTHS, train=train), seeds=2)
    loaded = study.load('grid.yml', seeds=2)
    series = study_results.make_series(loaded, study_results.collect(loaded))
    for p, length in itertools.product((0.1, 0.3), (3, 6)):
        one = series[f'p{p}_total_iter-{length}']
        assert (one.total, one.group, one.shade) == (length, f'{length} iterations', f'p = {p}')
        assert one.reference is series[f'p0_total_iter-{length}']
        assert one.last() == pytest.approx([23 + length + p, 24 + length + p])
        assert one.gain() == pytest.approx([p, p])
    assert 'p0.3_total_iter-3' in text
    assert '12 finished' in sweep('grid.yml', seeds=2)

    joined = study_results.make_series(*study_results.join_lengths(loaded, study_results.collect(loaded)))
    assert list(joined) == ['p0', 'p0.1', 'p0.3']
    assert joined['p0.3'].iterations.tolist() == [3, 6]
    assert joined['p0.3'].psnr == pytest.approx(np.array([[26.3, 29.3], [27.3, 30.3]]))
    assert joined['p0.3'].shade == 'p = 0.3'
    assert joined['p0.3'].reference is joined['p0']


PRESETS = {
    'none': {'network_g:dropout_p': 0},
    'reflash': {'network_g:dropout_p': 0.7},
    'adaptive': {'network_g:dropout_p': 0.5, 'network_g:dropout_blend': 0.3,
                 'network_g:dropout_schedule': {'type': 'layers', 'every': 1}},
    'aligned': {'network_g:dropout_p': 0, 'datasets:train:second_lq': True, 'train:align_opt': {'type': 'AlignLoss'}},
}  # yapf: disable


def test_presets_are_an_axis_and_the_first_is_the_reference(study_file, training):
    text = sweep(study_file({'train:total_iter': [3, 6]}, {'presets': PRESETS}), seeds=2)
    loaded = study.load('grid.yml', seeds=2)
    assert loaded.axes == {'preset': list(PRESETS), 'train:total_iter': [3, 6]} and len(loaded.cells) == 16
    cells = {(cell.name, cell.seed): cell for cell in loaded.cells}
    assert cells['adaptive_total_iter-6', 3].options['network_g'].items() >= {
        'dropout_p': 0.5, 'dropout_blend': 0.3, 'dropout_schedule': {'type': 'layers', 'every': 1}}.items()
    aligned = cells['aligned_total_iter-3', 4]
    assert aligned.options['train']['align_opt'] == {'type': 'AlignLoss'}
    assert aligned.options['datasets']['train']['second_lq'] and aligned.seed == 4
    assert 'align_opt' not in cells['none_total_iter-3', 3].options['train']
    series = study_results.make_series(loaded, study_results.collect(loaded))
    for name, one in series.items():
        preset, length = name.split('_', 1)
        assert one.reference is (None if preset == 'none' else series[f'none_{length}'])
        assert one.group == preset
    assert 'gain over none' in text and 'gain over p = 0' not in text


def test_curves_of_several_lengths_join_the_ends_of_runs(study_file, training):
    sweep(study_file({'train:total_iter': [3, 6]}))
    loaded = study.load('grid.yml')
    (joined,) = study_results.make_series(*study_results.join_lengths(loaded, study_results.collect(loaded))).values()
    assert (joined.iterations.tolist(), joined.psnr.tolist()) == ([3, 6], [[26.5, 29.5]])


def test_a_schedule_in_words_is_that_in_numbers(study_file, training, training_options):
    train = training_options['train']
    in_words = merged(train, {'scheduler': {'periods': ['total_iter']}})
    sweep(study_file({'dropout_p': [0.1]}, train=train))
    training.calls.clear()
    assert '2 finished' in sweep(study_file({'dropout_p': [0.1]}, train=in_words))
    with pytest.raises(UserError, match=r'2 of 2 experiments .*train:total_iter was 6, is now 9'):
        sweep(study_file({'dropout_p': [0.1]}, train={**in_words, 'total_iter': 9}))
    assert training.calls == []


def test_the_last_validation_needs_no_multiple_of_its_frequency(study_file, training_options):
    train = merged(training_options['train'], {'scheduler': {'periods': ['total_iter']}})
    file = study_file({'train:total_iter': [2]}, train=train, val=merged(training_options['val'], {'val_freq': 5000}),
                      logger={'print_freq': 5000, 'save_checkpoint_freq': 5000})
    cell = study.load(file).cells[0]
    assert study_jobs.CellJob(cell, Path('results/tiny'), {}, wait=False)() is None
    assert study.status(cell) == 'finished'
    assert [path.name for path in Path('experiments', cell.experiment, 'validation').iterdir()] == ['iter_2.csv']


def test_a_cell_is_trained_by_one_process_at_a_time(study_file, training):
    cell = study.load(study_file({'dropout_p': [0.1]})).cells[0]
    job = study_jobs.CellJob(cell, Path('results/tiny'), {}, wait=False)
    with study_jobs._locked(Path('results/tiny/jobs', f'{cell.experiment}.lock'), wait=True):
        assert job() == 'another process is training it'
    assert job() is None
    assert job.checkpoint().function is job, 'SLURM starts it again when its time is up'


def test_the_readme_counts_the_cells_of_every_study():
    counted = {}
    for line in (ROOT / 'docs/studies.md').read_text(encoding='utf-8').splitlines():
        if line.startswith('| `options/study_'):
            cells = [cell.strip() for cell in line.strip('|').split('|')]
            first, *others = re.findall(r'`([^`]+)`', cells[0])
            files = [first, *(other.replace('…', first.removesuffix('.yml')) for other in others)]
            counted |= dict(zip(files, map(int, cells[-1].split(',')), strict=True))
    counted['options/study_tiny.yml'] = 13  # of the image
    found = {f'options/{path.name}': len(study.load(path).cells) for path in (ROOT / 'options').glob('study_*.yml')}
    assert counted == found


def test_estimate(study_file):
    file = study_file({'dropout_p': [0.1]})
    lines = []
    study_sweep.sweep(file, jobs=2, dry_run=True, say=lines.append)
    assert lines[0] == 'tiny: 2 cells × 1 seed: 2 new'
    assert re.match(r'Estimated time: \d+:\d\d:\d\d', lines[-1])
    assert not Path('experiments').exists()
    assert not Path('results').exists()
