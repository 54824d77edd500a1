"""The shrinkage control, end to end: rows, gains beyond shrinkage, figure; interrupted, in two processes, bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reflash_sr
from reflash_sr.commands.compare_seeds import compare
from reflash_sr.commands.evaluate_degradations import evaluate, main
from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.errors import UserError
from reflash_sr.evaluation.comparison import Settings
from reflash_sr.evaluation.fit_shrinkage import Control
from reflash_sr.evaluation.tiled_inference import Restorer
from reflash_sr.weights.network_from_file import open_network
from tests.commands.test_evaluate_degradations import _fails, read, run_tool, save_network, sets_of
from tests.conftest import smooth_image

WEIGHTS = Path(__file__).parents[2] / 'docs/evidence/weights'
FILES = [WEIGHTS / f'srresnet32x8_{p}_seed0.pth' for p in ('p0', 'p0.7')]
WAYS = ('beyond_shrinkage', 'beyond_shrinkage_per_degradation')
WRITTEN = ('scores.csv', 'table.csv', 'gains.csv', 'table.md', 'parabolas.csv', 'fitting.csv', 'shrinkage.csv')


@pytest.fixture
def networks():
    return [open_network(path, label=label) for path, label in zip(FILES, ('p = 0', 'p = 0.7'))]


@pytest.fixture
def other_folder(tmp_path):
    (tmp_path / 'others').mkdir()
    for seed in (20, 21):
        Image.fromarray(smooth_image(seed, 64, 64)).save(tmp_path / 'others' / f'{seed}.png')
    return str(tmp_path / 'others')


def value(rows, **wanted):
    [row] = [row for row in rows if all(row[key] == what for key, what in wanted.items())]
    return row


def test_rows_gains_and_figure(networks, image_folder, other_folder, tmp_path, monkeypatch):
    ran = []
    restore = Restorer.restore
    monkeypatch.setattr(Restorer, 'restore', lambda self, lq: (ran.append(lq.tobytes()), restore(self, lq))[1])
    out = tmp_path / 'out'
    text = evaluate(networks, sets_of(image_folder), out, Settings(('psnr', 'ssim', 'gradient'), save_images=True),
                    control=Control((other_folder,)))
    assert len(ran) == 2 * 2 * (4 + 2), 'each network runs once on each image and degradation'
    summary = json.loads((out / 'summary.json').read_text())
    labels = {(one['network'], one['way']): one['label'] for one in summary['control']}
    alphas = {one['label']: one['alphas'][0]['alpha'] for one in summary['control']}
    table = read(out / 'table.csv')
    methods = list(dict.fromkeys(row['method'] for row in table))
    assert methods == ['bicubic', 'p = 0', 'p = 0.7', *labels.values()]
    assert labels['p = 0', 'once'] == f"p = 0, shrunk {alphas[labels['p = 0', 'once']]:.2f}"
    assert {one['base'] for one in summary['control']} == {'bilinear'}

    cell = {'metric': 'psnr', 'dataset': 'mine', 'degradation': 'mean'}
    gain = value(table, method='p = 0.7', **cell)
    assert gain['baseline'] == 'p = 0'
    for way, column in zip(('once', 'per degradation'), WAYS):
        one = value(table, method=labels['p = 0.7', way], **cell)
        assert one['baseline'] == labels['p = 0', way]
        assert [gain[column + end] for end in ('', '_low', '_high')] == [one[name] for name in (
            'gain', 'gain_low', 'gain_high')], 'the gain of the shrunk network over the shrunk network'
        assert float(gain[column]) == pytest.approx(
            float(one['value']) - float(value(table, method=labels['p = 0', way], **cell)['value']), abs=2e-6)
    assert not any(row[column] for row in table if row['method'] != 'p = 0.7' for column in WAYS)

    gains = read(out / 'gains.csv')
    row = value(gains, method='p = 0.7', reference='p = 0', **cell)
    assert [row[column] for column in WAYS] == [gain[column] for column in WAYS]
    assert {(one['method'], one['reference']) for one in gains} == {
        ('p = 0', 'bicubic'), ('p = 0.7', 'bicubic'), ('p = 0.7', 'p = 0'),
        *((labels[name, way], other) for name in ('p = 0', 'p = 0.7') for way in ('once', 'per degradation')
          for other in ('bicubic', name)),
        *((labels['p = 0.7', way], labels['p = 0', way]) for way in ('once', 'per degradation'))}
    [line] = [line for line in text.splitlines() if line.startswith('psnr, mine: p = 0.7 over p = 0:')]
    assert f"; beyond shrinkage: {float(gain['beyond_shrinkage']):+.2f} [" in line
    assert f"; with α per degradation: {float(gain[WAYS[1]]):+.2f} [" in line
    assert not any('shrunk' in line for line in text.partition('95 % interval')[2].splitlines())

    assert not any(row['gain'] or row['beats'] for row in table if row['metric'] == 'gradient')
    assert not any(row['metric'] == 'gradient' for row in gains)
    for name in ('shrinkage', 'absolute', 'absolute_gradient', 'gain_per_degradation'):
        with Image.open(out / f'{name}.png') as image:
            assert np.asarray(image.convert('L')).std() > 5
    assert not (out / 'gain_per_degradation_gradient.png').exists()
    curve = read(out / 'shrinkage.csv')
    at_one = value(curve, method='p = 0', dataset='mine', degradation='b+n', alpha='1.00')
    assert float(at_one['psnr']) == pytest.approx(float(value(
        table, metric='psnr', dataset='mine', degradation='b+n', method='p = 0')['value']), abs=1e-4)
    notes = (out / 'table.md').read_text()
    assert 'drawn towards bilinear interpolation (to which the network adds its output); α fitted on' in notes
    assert len(list((out / 'images').glob('*shrunk*'))) == 4


def test_shrunk_rows_are_those_of_shrunk_images(networks, image_folder, tmp_path):
    """With α = 1 they are the network, in every metric; with α = 0 the interpolation."""
    settings = Settings(('psnr', 'ssim', 'gradient'))
    for alpha in (0, 1):
        evaluate(networks[:1], sets_of(image_folder), tmp_path / str(alpha), settings, control=Control((), alpha))
    rows = [read(tmp_path / str(alpha) / 'scores.csv') for alpha in (0, 1)]
    of = [{label: [row['value'] for row in some if row['method'] == label] for label in (
        'p = 0', f'p = 0, shrunk {alpha}.00')} for alpha, some in enumerate(rows)]
    assert of[1]['p = 0'] == of[1]['p = 0, shrunk 1.00'] and of[0]['p = 0'] != of[0]['p = 0, shrunk 0.00']
    assert 'an α is 1: the network as it is' in (tmp_path / '1/table.md').read_text()
    assert 'an α is 0' in (tmp_path / '0/table.md').read_text()
    assert json.loads((tmp_path / '1/summary.json').read_text())['control'][0]['fitted_on'] is None


@pytest.mark.parametrize('fit_on', ['folder', 'halves'])
def test_an_interrupted_control_goes_on_where_it_stopped(networks, image_folder, other_folder, tmp_path, monkeypatch,
                                                         fit_on):
    control = Control((other_folder if fit_on == 'folder' else fit_on,))
    evaluate(networks, sets_of(image_folder), tmp_path / 'whole', control=control)
    restore, ran = Restorer.restore, []
    fitting = (2 if fit_on == 'folder' else 4) * 2 * 2  # images × degradations × networks
    whole = fitting + (4 * 2 * 2 if fit_on == 'folder' else 0)  # the halves are measured with what they were fitted on

    def until(most):
        def work(self, lq):
            if len(ran) == most:
                raise KeyboardInterrupt
            ran.append(lq)
            return restore(self, lq)
        return work

    for most in (fitting - 1, whole - 1) if fit_on == 'folder' else (fitting - 1,):
        monkeypatch.setattr(Restorer, 'restore', until(most))
        with pytest.raises(KeyboardInterrupt):
            evaluate(networks, sets_of(image_folder), tmp_path / 'out', control=control)
    monkeypatch.setattr(Restorer, 'restore', until(None))
    evaluate(networks, sets_of(image_folder), tmp_path / 'out', control=control)
    assert len(ran) <= whole + 2 * 3, 'only images that were begun are restored again'
    for name in WRITTEN:
        assert (tmp_path / 'out' / name).read_text() == (tmp_path / 'whole' / name).read_text()
    ran.clear()
    evaluate(networks, sets_of(image_folder), tmp_path / 'out', control=control)
    assert not ran, 'what is finished is only reported anew'
    for name in WRITTEN:
        assert (tmp_path / 'out' / name).read_text() == (tmp_path / 'whole' / name).read_text()
    assert not (tmp_path / 'out/.progress').exists()


def test_a_run_with_another_control_is_another_run(networks, image_folder, tmp_path):
    evaluate(networks[:1], sets_of(image_folder, ['clean']), tmp_path / 'out', control=Control((), 0.5))
    for control in (None, Control((), 0.6), Control(('halves',))):
        with pytest.raises(UserError, match=r'other settings \(control\)'):
            evaluate(networks[:1], sets_of(image_folder, ['clean']), tmp_path / 'out', control=control)


@pytest.mark.slow
@pytest.mark.parametrize('fit_on', ['folder', 'halves'])
def test_two_processes_give_the_tables_of_one(image_folder, other_folder, tmp_path, fit_on):
    args = ['--weights', *FILES, '--gt', image_folder, '--degradations', 'clean', 'n+j', '--device', 'cpu',
            '--control', 'shrink', '--fit_on', other_folder if fit_on == 'folder' else fit_on]
    alone = run_tool(*args, '--out', tmp_path / 'one')
    assert alone.returncode == 0, alone.stderr
    both = run_tool(*args, '--out', tmp_path / 'two', '--launcher', 'pytorch', processes=2)
    assert both.returncode == 0, both.stderr
    assert both.stdout.replace('/two', '/one') == alone.stdout
    for name in WRITTEN:
        assert (tmp_path / 'one' / name).read_text() == (tmp_path / 'two' / name).read_text(), name


def test_many_networks_leave_the_control_out_of_bars(networks, image_folder, tmp_path, capsys):
    some = [open_network(FILES[0], label=f'n{i}') for i in range(5)]
    evaluate(some, sets_of(image_folder, ['clean']), tmp_path / 'five', control=Control((), 0.5))
    assert (tmp_path / 'five/absolute.png').is_file() and 'too many' not in capsys.readouterr().err
    many = [open_network(FILES[0], label=f'n{i}') for i in range(9)]
    evaluate(many, sets_of(image_folder, ['clean']), tmp_path / 'nine', control=Control((), 0.5))
    assert not (tmp_path / 'nine/absolute.png').exists() and (tmp_path / 'nine/shrinkage.png').is_file()
    assert '9 networks are too many for figures' in capsys.readouterr().err


def test_the_api_has_the_numbers_of_the_tool(networks, image_folder, other_folder, tmp_path):
    evaluate(networks, sets_of(image_folder), tmp_path / 'out', Settings(('psnr', 'gradient')),
             control=Control((other_folder,)))
    rows = read(tmp_path / 'out' / 'scores.csv')
    table = reflash_sr.evaluate(networks, image_folder, ['clean', 'b+n'], ['psnr', 'gradient'], control='shrink',
                                fit_on=other_folder)
    assert [(row.method, row.metric, row.value) for row in table.itertuples()] == [
        (row['method'], row['metric'], float(row['value'])) for row in rows]
    arrays = [smooth_image(seed, 64, 64) for seed in (1, 2, 3)]
    halves = reflash_sr.evaluate(networks[0], arrays, 'clean', control='shrink', fit_on='halves')
    assert halves['method'].nunique() == 3
    with pytest.raises(UserError, match='is the same image'):
        reflash_sr.evaluate(networks[0], [*arrays, arrays[0]], 'clean', control='shrink', fit_on='halves')


def test_pairs_and_sets_stand_in_one_table(networks, image_folder, other_folder, tmp_path):
    for part, side in (('lr', 16), ('hr', 64)):
        (tmp_path / part).mkdir()
        for seed in (30, 31):
            Image.fromarray(smooth_image(seed, 64, 64)).resize((side, side)).save(tmp_path / part / f'{seed}.png')
    sets = open_sets([f'mine={image_folder}'], ['clean', 'noise'], [[str(tmp_path / 'lr'), str(tmp_path / 'hr')]], [],
                     ['real'], 4, 0)
    for name, fit_on in (('folder', other_folder), ('halves', 'halves')):
        evaluate(networks, sets, tmp_path / name, control=Control((fit_on,)))
        table = read(tmp_path / name / 'table.csv')
        assert len({row['method'] for row in table if row['dataset'] == 'real'}) == 7
        assert (tmp_path / name / 'shrinkage.png').is_file()


def test_bad_input_is_one_line_with_status_2(image_folder, tmp_path):
    (tmp_path / 'empty').mkdir()
    plain = save_network(tmp_path / 'plain.pth', dropout_p=0)
    usual = ['--weights', plain, '--gt', image_folder, '--degradations', 'clean', '--out', tmp_path / 'out']
    cases = {
        'from 0 to 2': ['--control', 'shrink:3'],
        "'halve' is not known; write shrink": ['--control', 'halve'],
        'give --control shrink too': ['--fit_on', 'photos:train'],
        'no image in this folder': ['--control', 'shrink', '--fit_on', tmp_path / 'empty'],
        'is measured, too; fit on other images': ['--control', 'shrink', '--fit_on', image_folder],
        'is the only set of GT images; give another, or --fit_on halves': ['--control', 'shrink', '--fit_on', 'sets'],
    }
    for wanted, args in cases.items():
        found = _fails([*usual, *args])
        assert wanted in found, (wanted, found)
    assert not (tmp_path / 'out').exists(), 'nothing is written'


def test_the_command_measures_what_psnr_does_not_see(image_folder, tmp_path):
    arguments = ['--weights', str(FILES[0]), '--gt', str(image_folder), '--degradations', 'clean']
    for name, more, wanted in (('with', ['--control', 'shrink:0.5'], {'psnr', 'ssim', 'gradient'}),
                               ('without', [], {'psnr'}),
                               ('chosen', ['--control', 'shrink:0.5', '--metrics', 'ssim'], {'ssim'})):
        assert main([*arguments, *more, '--out', str(tmp_path / name)]) == 0
        assert {row['metric'] for row in read(tmp_path / name / 'table.csv')} - {'lpips'} == wanted


def test_an_alpha_given_by_hand_is_no_gain_beyond_shrinkage(networks, image_folder, tmp_path):
    """The α that suits one network says nothing of another that needs less of it."""
    text = evaluate(networks, sets_of(image_folder), tmp_path / 'out', Settings(('psnr',)), control=Control((), 0.5))
    assert 'p = 0.7, shrunk 0.50' in text
    assert 'beyond' not in text
    for name in ('table.csv', 'gains.csv'):
        assert not any('beyond' in column for column in read(tmp_path / 'out' / name)[0])
    compare([tmp_path / 'out'], tmp_path / 'gains')
    assert {row['method'] for row in read(tmp_path / 'gains/gains.csv')} == {'p = 0.7'}
