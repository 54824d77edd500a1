"""The command line, end to end: train, continue, test, and bad input, as a user runs it."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from reflash_sr import cli
from reflash_sr.options import registry
from tests.conftest import TINY_NETWORK, fill

pytestmark = pytest.mark.usefixtures('in_tmp_path')


@pytest.fixture
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(options, name='tiny.yml'):
    Path(name).write_text(yaml.safe_dump(options), encoding='utf-8')
    return name


def run(*args, module='reflash_sr', **env):
    """Run the command in a process of its own, in the working directory."""
    return subprocess.run([sys.executable, '-m', module, *args], capture_output=True, text=True, timeout=600,
                          check=False, env={**os.environ, 'OMP_NUM_THREADS': '1', **env})


def test_options(folder, **more):
    return {
        'name': 'tiny_test', 'model_type': 'ReflashSRModel', 'scale': 4, 'num_gpu': 0,
        'datasets': {'test_1': {'name': 'one', 'type': 'DegradationTestDataset', 'dataroot_gt': str(folder),
                                'degradations': 'all'},
                     'test_2': {'name': 'two', 'type': 'DegradationTestDataset', 'dataroot_gt': str(folder),
                                'degradation': 'nearest'}},
        'network_g': dict(TINY_NETWORK),
        'path': {'pretrain_network_g': 'experiments/tiny/models/net_g_latest.pth', 'param_key_g': 'params_ema'},
        'val': {'save_img': True, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}},
        **more,
    }  # yapf: disable


test_options.__test__ = False


def table_of(path):
    with open(path, encoding='utf-8') as file:
        return list(csv.DictReader(file))


def weights_of(path):
    return torch.load(path, weights_only=True)['params']


@pytest.mark.slow
def test_train_continue_and_test(training_options, image_folder):
    training_options['datasets']['train']['num_worker_per_gpu'] = 2
    opt = write(training_options)
    trained = run('train', '-opt', opt)
    assert trained.returncode == 0, trained.stderr
    models = Path('experiments/tiny/models')
    assert sorted(path.name for path in models.iterdir()) == ['net_g_3.pth', 'net_g_6.pth', 'net_g_latest.pth']
    assert re.search(r'iter 6/6, epoch \d+, lr .* (?:s/it|it/s), eta 0:00:00, data \d+% step \d+% \| l_pix',
                     trained.stderr)
    assert 'Done. Weights: experiments/tiny/models/net_g_latest.pth' in trained.stderr
    assert re.search(r'Device: CPU, \d+ threads\.', trained.stderr)
    assert 'the periods end' not in trained.stderr
    table = table_of('experiments/tiny/validation/iter_6.csv')
    assert {(row['method'], row['degradation']) for row in table} == {
        (method, degradation) for method in ('network', 'bicubic') for degradation in ('clean', 'b+n')}

    # A run that was stopped after iteration 3 and continued is the run that was not.
    whole = weights_of(models / 'net_g_6.pth')
    for name in ('models/net_g_6.pth', 'models/net_g_latest.pth', 'training_states/6.state'):
        Path('experiments/tiny', name).unlink()
    continued = run('train', '-opt', opt, '--auto_resume')
    assert continued.returncode == 0, continued.stderr
    assert all(torch.equal(value, whole[name]) for name, value in weights_of(models / 'net_g_6.pth').items())
    assert not list(Path('experiments').glob('*archived*'))

    tested = run('test', '-opt', write(test_options(image_folder), 'test.yml'))
    assert tested.returncode == 0, tested.stderr
    assert 'key [params_ema]' in tested.stderr
    rows = table_of('results/tiny_test/table.csv')
    assert len(rows) == 2 * (8 + 1)
    by_tool, in_training = ({row['degradation']: row['value'] for row in some if row['method'] == 'network'
                             and row['dataset'] == name} for some, name in ((rows, 'one'), (table, 'val')))
    assert {name: by_tool[name] for name in in_training} == in_training
    assert len(list(Path('results/tiny_test/visualization').rglob('*.png'))) == 4 * 9


@pytest.mark.slow
def test_an_existing_basicsr_project_only_imports_us(training_options):
    """Their train.py, BasicSR's own pipeline, model and option names: one import line is all that is ours."""
    training_options.update(model_type='SRModel', path={'experiments_root': None}, num_gpu=0)
    section = training_options['datasets']['train']
    section.pop('total_batch_size')
    section.update(name='photos', batch_size_per_gpu=2)
    training_options['datasets']['val'].update(name='val', degradation='clean')
    training_options['datasets']['val'].pop('degradations')
    training_options['logger']['use_tb_logger'] = False
    training_options['val']['save_img'] = False
    Path('their_project').mkdir()
    Path('their_project/train.py').write_text(
        'import os\nimport reflash_sr\nfrom basicsr.train import train_pipeline\n'
        "if __name__ == '__main__':\n    train_pipeline(os.getcwd())\n", encoding='utf-8')
    opt = write(training_options)
    done = subprocess.run([sys.executable, 'their_project/train.py', '-opt', opt], capture_output=True, text=True,
                          timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert Path('experiments/tiny/models/net_g_latest.pth').is_file()
    assert '# psnr:' in done.stderr


@pytest.mark.slow
def test_two_processes_train_what_one_trains(training_options):
    training_options['network_g']['dropout_p'] = 0
    opt = write(training_options)
    assert run('train', '-opt', opt, '--force_yml', 'name=one').returncode == 0
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', '-m', 'reflash_sr',
         'train', '-opt', opt, '--launcher', 'pytorch', '--force_yml', 'name=two'], capture_output=True, text=True,
        timeout=600, check=False, env={**os.environ, 'OMP_NUM_THREADS': '1'})  # yapf: disable
    assert done.returncode == 0, done.stderr
    tables = [table_of(f'experiments/{name}/validation/iter_6.csv') for name in ('one', 'two')]
    for row, other in zip(*tables, strict=True):
        assert float(row.pop('value')) == pytest.approx(float(other.pop('value')), abs=1e-3)
        assert row == other


def fails(capsys, *args, status=2):
    """Run in this process; return the one line that is printed."""
    assert cli.main(args) == status
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith('basicsr: error: ')]
    assert len(lines) == 1, captured.err
    assert 'Traceback' not in captured.err
    return lines[0]


BAD_INPUT = {
    'unknown key': (['train:totl_iter=3'], "train: totl_iter: is not a known key; did you mean 'total_iter'?"),
    'unknown type': (['network_g:type=DropoutRRDB'], "did you mean 'DropoutRRDBNet"),
    'missing data': (['datasets:train:dataroot_gt=gone'], 'tiny.yml: datasets: train: gone: no such folder'),
    'empty data': (['datasets:train:dataroot_gt=empty'], 'datasets: train: empty: no image in this folder'),
    'small image': (['datasets:train:dataroot_gt=small'], 'small/0.png: 24×24 px is smaller than gt_size, 32'),
    'several GPUs in one process': (['num_gpu=4'], 'start with torchrun --nproc_per_node 4 -m reflash_sr train'),
    'prefetch': (['datasets:train:prefetch_mode=cuda'], 'prefetch_mode: cuda needs a CUDA device, and this is cpu'),
    'few images': (['datasets:train:total_batch_size=5'],
                   '4 images × dataset_enlarge_ratio 1 is less than a batch of 5'),
    'broken image in testing': (['datasets:val:dataroot_gt=broken'], 'broken/bad.png: cannot be read as an image'),
    'scale': (['scale=2'], 'network_g: upscale: 4 is not the scale of the run, 2'),
    'p': (['network_g:dropout_p=1'], 'network_g: dropout_p: must be a probability in [0, 1), not 1'),
    'position': (['network_g:dropout_position=lastconv'], "did you mean 'last-conv'?"),
    'network value': (['network_g:num_feat=-3'], 'network_g: num_feat: must be a whole number, 1 to 16,384, not -3'),
    'network type': (['network_g:upscale=[4]'], 'network_g: upscale: must be a whole number, 1 to 16, not [4]'),
    'image': (['network_g:num_in_ch=1'], 'network_g: DropoutMSRResNet does not accept the RGB images of the datasets'),
    'set name': (['datasets:val:name=../up'], 'datasets: val: name: must be a name without slashes'),
    'seed': (['manual_seed=4294967296'], 'manual_seed: must be a whole number'),
    'optimiser value': (['train:optim_g:betas=[2, 3]'], 'train: optim_g: Adam does not accept these options'),
    'loss value': (['train:pixel_opt:reduction=meen'], 'train: pixel_opt: L1Loss does not accept'),
    'force path': (['trian:x=3'], "there is no section 'trian'; did you mean 'train'?"),
    'force value': (['train:total_iter=abc'], "'train:total_iter' is a number (6), not 'abc'"),
    'weights missing': (['path:pretrain_network_g=gone.pth'], 'gone.pth: no such weights file'),
    'weights do not fit': (['path:pretrain_network_g=other.pth'], 'does not fit DropoutMSRResNet: conv_first.'),
    'torn state': (['path:resume_state=torn.state'], 'torn.state: is damaged'),
    "what ReflashSRModel does": (['model_type=SRModel', 'train:grad_clip=1'],
                                 'train: grad_clip: SRModel does not read it; write model_type: ReflashSRModel'),
    'device': (['device=tpu'], "device: 'tpu' is not known"),
    'TF32': (['allow_tf32=maybe'], "allow_tf32: must be true or false, not 'maybe'"),
    'batch': (['datasets:train:total_batch_size=0'], 'total_batch_size: must be a whole number, 1 to 65,536, not 0'),
}


@pytest.mark.parametrize(('changes', 'message'), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_one_line_and_touches_nothing(training_options, tmp_path, capsys, changes, message):
    from reflash_sr.archs import DropoutMSRResNet
    (tmp_path / 'empty').mkdir()
    fill(tmp_path / 'small', 2, 24)
    Path(fill(tmp_path / 'broken', 1, 40), 'bad.png').write_text('no image')
    torch.save({'params': DropoutMSRResNet(num_feat=6, num_block=1).state_dict()}, 'other.pth')
    Path('torn.state').write_bytes(b'PK\x03\x04')
    saved = Path('experiments/tiny/models/net_g_latest.pth')
    saved.parent.mkdir(parents=True)
    saved.write_text('good weights')
    training_options['path'] = {}
    line = fails(capsys, 'train', '-opt', write(training_options), '--force_yml', *changes)
    assert message in line
    assert saved.read_text() == 'good weights'
    assert [path.name for path in Path('experiments').iterdir()] == ['tiny']


def test_a_tag_that_would_run_code(capsys):
    Path('evil.yml').write_text('name: !!python/object/apply:os.mkdir ["pwned"]', encoding='utf-8')
    assert 'evil.yml: line 1' in fails(capsys, 'train', '-opt', 'evil.yml')
    assert not Path('pwned').exists()


def test_a_test_without_weights(capsys, image_folder):
    opt = write(test_options(image_folder, path={}))
    assert 'path: pretrain_network_g: is empty; write the weights file to test' in fails(capsys, 'test', '-opt', opt)
    assert not Path('results').exists()


def test_torchrun_is_asked_for(training_options, capsys, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    assert 'start with torchrun' in fails(capsys, 'train', '-opt', write(training_options), '--launcher', 'pytorch')


@pytest.mark.parametrize('spelling', ['--local_rank', '--local-rank'])
def test_both_spellings_of_local_rank(spelling):
    assert cli._parser().parse_args(['train', '-opt', 'x.yml', f'{spelling}=1']).local_rank == 1


def test_plugins_are_loaded_and_a_broken_one_only_warns(monkeypatch, capsys):
    class Entry:
        name, value = 'broken', 'gone.module'

        def load(self):
            raise ImportError('No module named gone')

    monkeypatch.setattr(registry, 'entry_points', lambda group: [Entry()] if group == 'basicsr.plugins' else [])
    registry.load_plugins()
    assert 'plugin broken (gone.module) cannot be loaded: No module named gone' in capsys.readouterr().err


def test_this_package_is_a_plugin_itself():
    from importlib.metadata import entry_points
    assert 'reflash_sr' in {entry.value for entry in entry_points(group='basicsr.plugins')}


def test_only_a_training_is_resumed(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(['test', '-opt', 'x.yml', '--auto_resume'])
    assert ended.value.code == 2
    assert 'unrecognized arguments: --auto_resume' in capsys.readouterr().err
