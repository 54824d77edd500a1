"""Evaluation, end to end: the same numbers as validation and basicsr test; interrupted, in two processes, bad input."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.commands import arguments as tool_args
from reflash_sr.commands.evaluate_degradations import Settings, evaluate
from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.errors import RunError, UserError
from reflash_sr.evaluation import measure_networks as measuring
from reflash_sr.training import pipeline
from reflash_sr.weights.network_from_file import open_network
from tests.conftest import TINY_NETWORK, smooth_image

TOOL = Path(__file__).parents[2] / 'tools' / 'evaluate_degradations.py'


def save_network(path, seed=0, **changes):
    torch.manual_seed(seed)
    section = {**TINY_NETWORK, **changes}
    net = DropoutMSRResNet(**{key: value for key, value in section.items() if key != 'type'})
    torch.save({'params': net.state_dict(), 'network_g': section,
                'trained': {'experiment': path.stem, 'iter': 5, 'total_iter': 6}}, path)
    return path


@pytest.fixture
def networks(tmp_path):
    return [save_network(tmp_path / 'plain.pth', 0, dropout_p=0), save_network(tmp_path / 'dropped.pth', 1),
            save_network(tmp_path / 'large.pth', 2, num_feat=12, dropout_p=0)]


def sets_of(folder, names=('clean', 'b+n')):
    return open_sets([f'mine={folder}'], names, [], [], [], 4, 0)


def read(path):
    with open(path, encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def run_tool(*args, processes=None):
    start = [sys.executable]
    if processes:
        start += ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    return subprocess.run([*start, str(TOOL), *map(str, args)], capture_output=True, text=True, timeout=600,
                          check=False, env={**os.environ, 'OMP_NUM_THREADS': '1'})


def test_many_networks_are_compared_with_their_baseline_and_not_drawn(image_folder, tmp_path, capsys):
    networks = [open_network(save_network(tmp_path / f'n{i}.pth', i, dropout_p=0.1 * (i > 0))) for i in range(9)]
    evaluate(networks, sets_of(image_folder, ('clean',)), tmp_path / 'out', Settings())
    assert {(row['method'], row['reference']) for row in read(tmp_path / 'out/gains.csv')} == {
        *((f'n{i}', 'bicubic') for i in range(9)), *((f'n{i}', 'n0') for i in range(1, 9))}
    assert {path.name for path in (tmp_path / 'out').glob('*.png')} == set() and (tmp_path / 'out/strips').is_dir()
    assert 'each is compared only with interpolation and its baseline' in capsys.readouterr().err


def test_everything_is_written_and_drawn(networks, image_folder, tmp_path):
    out = tmp_path / 'out'
    text = evaluate([open_network(path) for path in networks], sets_of(image_folder), out,
                    Settings(('psnr', 'ssim'), save_images=True))
    assert 'psnr, mine: dropped over plain: ' in text, 'the network that differs in dropout alone is its baseline'
    rows = read(out / 'scores.csv')
    assert len(rows) == 4 * 2 * 4 * 2, 'images × degradations × methods × metrics'
    assert {row['method'] for row in rows} == {'bicubic', 'plain', 'dropped', 'large'}
    assert 'trained for 5 of 6 iterations' in (out / 'table.md').read_text()
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['finished'] and summary['settings']['networks'][0]['sha256']
    for name in ('absolute', 'gain_per_degradation', 'gain_per_set', 'absolute_ssim', 'strips/mine/a_1'):
        with Image.open(out / f'{name}.png') as image:
            assert np.asarray(image.convert('L')).std() > 5
    assert (out / 'images' / 'plain' / 'mine' / 'b+n' / 'inner_folder_d_10.png').is_file()
    assert not (out / '.progress').exists()


def test_validation_basicsr_test_and_tool_agree(training_options, image_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = {name: {'type': f'calculate_{name}', 'crop_border': 4} for name in ('psnr', 'ssim')}
    training_options['val']['metrics'] = metrics
    training_options['datasets']['val'].update(degradations='all', name='mine')
    Path('train.yml').write_text(yaml.safe_dump(training_options))
    weights = pipeline.train('train.yml', root=tmp_path)
    test = {'name': 'again', 'model_type': 'ReflashSRModel', 'scale': 4, 'num_gpu': 0, 'network_g': dict(TINY_NETWORK),
            'datasets': {'test_1': training_options['datasets']['val']},
            'path': {'pretrain_network_g': str(weights), 'param_key_g': 'params_ema'}, 'val': {'metrics': metrics}}
    Path('test.yml').write_text(yaml.safe_dump(test))
    pipeline.test('test.yml', root=tmp_path)
    evaluate([open_network(weights, label='network')], sets_of(image_folder, ['all']), 'out',
             Settings(('psnr', 'ssim')))
    tables = [{(row['method'], row['dataset'], row['degradation'], row['metric']): float(row['value']) for row in rows
               if row['degradation'] != 'mean'}
              for rows in (read('experiments/tiny/validation/iter_6.csv'), read('results/again/table.csv'),
                           read('out/table.csv'))]
    assert len(tables[0]) == 2 * 8 * 2
    assert tables[0] == pytest.approx(tables[2], abs=1e-4)
    assert tables[1] == pytest.approx(tables[2], abs=1e-4)


def test_an_interrupted_evaluation_goes_on_where_it_stopped(networks, image_folder, tmp_path, monkeypatch):
    opened = [open_network(path) for path in networks[:2]]
    evaluate(opened, sets_of(image_folder), tmp_path / 'whole')
    measure, done = measuring._measure, []

    def until_third(task, *rest):
        if len(done) == 8:
            raise KeyboardInterrupt
        done.append(task[1:])
        return measure(task, *rest)

    monkeypatch.setattr(measuring, '_measure', until_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate(opened, sets_of(image_folder), tmp_path / 'out')
    progress = next((tmp_path / 'out' / '.progress').iterdir())
    progress.write_text(progress.read_text() + '["mine", "c", [["bicu')  # killed while writing
    again = []
    monkeypatch.setattr(measuring, '_measure', lambda task, *rest: (again.append(task[1:]), measure(task, *rest))[1])
    evaluate(opened, sets_of(image_folder), tmp_path / 'out')
    assert len(done + again) == len({*done, *again}) == 4 * 2 * 3  # images × degradations × methods
    for name in ('scores.csv', 'table.csv', 'gains.csv', 'table.tex'):
        assert (tmp_path / 'out' / name).read_text() == (tmp_path / 'whole' / name).read_text()
    again.clear()
    evaluate(opened, sets_of(image_folder), tmp_path / 'out')
    assert not again, 'what is finished is only reported anew'
    assert (tmp_path / 'out' / 'table.csv').read_text() == (tmp_path / 'whole' / 'table.csv').read_text()


@pytest.mark.slow
def test_two_processes_give_the_table_of_one(networks, image_folder, tmp_path):
    args = ['--weights', *networks, '--gt', image_folder, '--degradations', 'clean', 'n+j', '--device', 'cpu']
    alone = run_tool(*args, '--out', tmp_path / 'one')
    assert alone.returncode == 0, alone.stderr
    both = run_tool(*args, '--out', tmp_path / 'two', '--launcher', 'pytorch', processes=2)
    assert both.returncode == 0, both.stderr
    assert both.stdout.replace('/two', '/one') == alone.stdout
    for name in ('scores.csv', 'table.csv', 'gains.csv', 'table.md'):
        assert (tmp_path / 'one' / name).read_text() == (tmp_path / 'two' / name).read_text()


def test_rows_of_raw_and_ema_weights(tmp_path, image_folder):
    path = save_network(tmp_path / 'x.pth')
    content = torch.load(path, weights_only=True)
    content['params_ema'] = {name: value * 0.9 for name, value in content['params'].items()}
    torch.save(content, path)
    parser = tool_args.argparse.ArgumentParser()
    tool_args.add_network_arguments(parser)
    opened = tool_args.open_networks(parser.parse_args(['--weights', str(path), str(path), '--param_key', 'both']))
    assert len({one.label for one in opened}) == 4
    assert opened[0].label.startswith('x [params]') and opened[1].label.startswith('x [params_ema]')


def test_bad_input_is_one_line_with_status_2(networks, image_folder, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'a.png').write_bytes(b'\x89PNG\r\n\x1a\nno')
    Image.fromarray(smooth_image(0, 12, 12)).save(tmp_path / 'small.png')
    (tmp_path / 'tiny').mkdir()
    (tmp_path / 'small.png').rename(tmp_path / 'tiny' / 'small.png')
    save_network(tmp_path / 'x2.pth', upscale=2)
    torch.save(torch.load(networks[0], weights_only=True)['params'], tmp_path / 'bare.pth')
    plain, out = networks[0], tmp_path / 'out'
    huge = torch.load(plain, weights_only=True)
    huge['params'] = {name: value * 1e30 for name, value in huge['params'].items()}
    torch.save(huge, tmp_path / 'huge.pth')
    (tmp_path / 'file').write_text('')
    usual = ['--weights', plain, '--gt', image_folder, '--out', out, '--degradations', 'clean']
    cases = {
        'no such weights file': ['--weights', tmp_path / 'gone.pth', *usual[2:]],
        'no image in this folder': [*usual, '--gt', tmp_path / 'empty'],
        'broken/a.png: cannot be read as an image': [*usual, '--gt', tmp_path / 'broken'],
        'too small: crop_border 40 and psnr need 81 px': [*usual, '--crop_border', '40'],
        "'fog' is not known": [*usual, '--degradations', 'fog'],
        'upscales ×2, but the datasets are made for ×4': [*usual, '--weights', plain, tmp_path / 'x2.pth'],
        "there is no network 'p0'": [*usual, '--baseline', 'plain=p0'],
        "'clean' and 'down:bicubic' are the same": [*usual, '--degradations', 'clean', 'down:bicubic'],
        'is an input, so results cannot be written there': [*usual, '--out', image_folder, '--overwrite'],
        'gave values that are not finite': ['--weights', tmp_path / 'huge.pth', *usual[2:]],
        'two different labels': [*usual, '--baseline', 'plain=plain'],
        'cannot be written': [*usual, '--out', tmp_path / 'file' / 'out'],
        'holds files that are no results': [*usual, '--out', tmp_path / 'tiny'],
        '--labels: 2 for 1 weights files': [*usual, '--labels', 'a', 'b'],
        'does not accept these options': [*usual, '--weights', tmp_path / 'bare.pth', '--arch', 'EDSR:foo=1'],
    }
    for place, (wanted, args) in enumerate(cases.items()):
        found = _fails([f'{out}{place}' if arg is out else arg for arg in args])
        assert wanted in found, (wanted, found)


def _fails(args):
    import contextlib
    import importlib.util
    import io
    spec = importlib.util.spec_from_file_location('tool', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    lines = io.StringIO()
    before, sys.argv = sys.argv, ['tool', *map(str, args)]
    try:
        with contextlib.redirect_stderr(lines), contextlib.redirect_stdout(io.StringIO()):
            status = tool.main()
    finally:
        sys.argv = before
    errors = [line for line in lines.getvalue().splitlines() if 'error:' in line]
    assert (status, len(errors)) == (2, 1), lines.getvalue()
    return errors[0]


def test_another_run_is_not_mixed_in(networks, image_folder, tmp_path):
    opened = [open_network(path) for path in networks]
    evaluate(opened[:1], sets_of(image_folder, ['clean']), tmp_path / 'out')
    with pytest.raises(UserError, match=r'holds a run with other settings \(networks\)'):
        evaluate(opened[1:2], sets_of(image_folder, ['clean']), tmp_path / 'out')
    Image.fromarray(smooth_image(9, 80, 80)).save(image_folder / 'one more.png')
    with pytest.raises(UserError, match=r'other settings \(sets\)'):
        evaluate(opened[:1], sets_of(image_folder, ['clean']), tmp_path / 'out')


def test_other_contents_are_another_run(networks, tmp_path):
    for folder, side in (('hr', 64), ('lr', 16)):
        (tmp_path / folder).mkdir()
        Image.fromarray(smooth_image(1, side, side)).save(tmp_path / folder / 'a.bmp')
    opened = [open_network(networks[0])]
    pairs = [(str(tmp_path / 'lr'), str(tmp_path / 'hr'))]
    evaluate(opened, open_sets([], [], pairs, [], [], 4, 0), tmp_path / 'out')
    Image.fromarray(smooth_image(2, 16, 16)).save(tmp_path / 'lr' / 'a.bmp')  # of the same size in bytes
    with pytest.raises(UserError, match=r'other settings \(sets\)'):
        evaluate(opened, open_sets([], [], pairs, [], [], 4, 0), tmp_path / 'out')


def test_names_stay_inside_the_folder_and_apart(networks, image_folder, tmp_path):
    labels = ['../../evil', 'GT', 'a/b']
    opened = [open_network(path, label=label) for path, label in zip(networks, labels)]
    sets = open_sets([f'../up={image_folder}'], ['clean'], [], [], [], 4, 0)
    out = tmp_path / 'inner' / 'out'
    evaluate(opened, sets, out, Settings(save_images=True))
    assert {path.name for path in tmp_path.iterdir()} <= {'inner', 'my images', *(path.name for path in networks)}
    assert [path.name for path in (tmp_path / 'inner').iterdir()] == ['out']
    crops = list((out / 'crops').rglob('*.png'))
    assert len(crops) == 6 and len({path.read_bytes() for path in crops}) == 6


def test_images_that_were_taken_away_are_made_again(networks, image_folder, tmp_path):
    opened, out = [open_network(networks[0])], tmp_path / 'out'
    evaluate(opened, sets_of(image_folder, ['clean']), out)
    table = (out / 'table.csv').read_text()
    shutil.rmtree(out / 'crops')
    evaluate(opened, sets_of(image_folder, ['clean']), out)
    assert list((out / 'crops').rglob('*.png'))
    assert (out / 'table.csv').read_text() == table


def test_an_image_restored_without_error_is_left_out_for_all(networks, tmp_path, capsys):
    (tmp_path / 'flat').mkdir()
    Image.fromarray(np.full((48, 48, 3), 90, np.uint8)).save(tmp_path / 'flat' / 'flat.png')
    Image.fromarray(smooth_image(3, 48, 48)).save(tmp_path / 'flat' / 'other.png')
    evaluate([open_network(networks[0])], sets_of(tmp_path / 'flat', ['clean']), tmp_path / 'out')
    assert 'flat: clean: bicubic equals the ground truth' in capsys.readouterr().err
    rows = read(tmp_path / 'out' / 'table.csv')
    assert {row['images'] for row in rows} == {'1'}


def test_images_of_sixteen_bits_are_said_to_be_measured_in_eight(networks, image_folder, tmp_path, capsys):
    evaluate([open_network(networks[0])], sets_of(image_folder, ['clean']), tmp_path / 'eight')
    assert '16 bits' not in capsys.readouterr().err
    Image.fromarray(smooth_image(7, 72, 96)[..., 0].astype(np.uint16) * 257).save(image_folder / 'deep.png')
    evaluate([open_network(networks[0])], sets_of(image_folder, ['clean']), tmp_path / 'sixteen')
    assert 'note: mine: 1 of 5 images have 16 bits per channel; they are rounded to 8 bits' in capsys.readouterr().err


def test_mixed_precision_says_what_it_changes(networks, image_folder, tmp_path, capsys):
    opened = [open_network(path) for path in networks[:2]]
    evaluate(opened, sets_of(image_folder), tmp_path / 'out', Settings(amp=True))
    said = re.findall(r'note: (.+): bfloat16 differs from float32 by (\d\.\d{3}) grey levels of 255 \(root mean '
                      r'square; .+, clean\)', capsys.readouterr().err)
    assert [name for name, _ in said] == [one.label for one in opened]
    assert all(0 < float(value) < 2 for _, value in said)
    evaluate(opened, sets_of(image_folder), tmp_path / 'exact')
    assert 'bfloat16' not in capsys.readouterr().err


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no device here is always full')
def test_a_full_disk_is_one_line(networks, image_folder, tmp_path, monkeypatch):
    plain = Path.open
    monkeypatch.setattr(Path, 'open', lambda path, *args, **kwargs: plain(
        Path('/dev/full') if path.suffix == '.jsonl' else path, *args, **kwargs))
    with pytest.raises(RunError, match=r'out: results cannot be written \(No space left on device\); free disk space'):
        evaluate([open_network(networks[0])], sets_of(image_folder, ('clean',)), tmp_path / 'out', Settings())
