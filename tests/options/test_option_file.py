"""Option files: loading, forcing, checking. One test per bad input: a line that names file and key."""

import copy
import os
import re
from pathlib import Path

import pytest
import yaml

from reflash_sr.errors import UserError
from reflash_sr.options import check_options as checks
from reflash_sr.options import known_keys, option_file

SHIPPED = sorted((Path(__file__).parents[2] / 'options').glob('*.yml'))


def write(path, text):
    path.write_text(text, encoding='utf-8')
    return path


@pytest.mark.parametrize(('text', 'value'), [
    ('1e-4', 1e-4), ('2.5E+3', 2500.0), ('-1e3', -1000.0), ('!!float 5e3', 5000.0), ('0.5', 0.5), ('3', 3),
    ('1e', '1e'), ('~', None), ('[1, 2e-1]', [1, 0.2])])
def test_numbers_are_numbers(tmp_path, text, value):
    assert option_file.load(write(tmp_path / 'x.yml', f'lr: {text}'))['lr'] == value


@pytest.mark.parametrize(('text', 'message'), [
    ('x: !!python/object/apply:os.system ["touch pwned"]', 'line 1: could not determine a constructor'),
    ('x: !!python/name:os.system', 'plain values only'),
    ('a: 1\na: 2', "line 2: the key 'a' occurs twice"),
    ('a: [1, 2', 'line'),
    ('- 1\n- 2', "must hold 'key: value' lines"),
    ('', "must hold 'key: value' lines"),
    ('1: 2', 'a key must be text'),
    ('a: \x07', 'special characters'),
    (r'dataroot_gt: "D:\data\HR"', r'line 1: found unknown escape character .d.; write / instead of \\ in a path'),
])
def test_files_that_are_no_option_files(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        option_file.load(write(tmp_path / 'bad.yml', text))
    assert 'bad.yml' in str(caught.value)
    assert not (tmp_path / 'pwned').exists()


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r'gone\.yml: no such option file'):
        option_file.load(tmp_path / 'gone.yml')


@pytest.mark.parametrize(('entry', 'key', 'value'), [
    ('train:optim_g:lr=1e-4', ('train', 'optim_g', 'lr'), 1e-4),
    ('name=other', ('name',), 'other'),
    ('val:metrics=None', ('val', 'metrics'), None),
    ('train:scheduler:periods=[3, 4]', ('train', 'scheduler', 'periods'), [3, 4]),
    ('network_g:x=true', ('network_g', 'x'), True),
    ('name=a=b', ('name',), 'a=b'),
    ('train:pixel_opt=~', ('train', 'pixel_opt'), None),
])
def test_force_yml(training_options, entry, key, value):
    opt = training_options
    opt['val'].pop('metrics')
    option_file.force(opt, [entry])
    for part in key:
        opt = opt[part]
    assert opt == value


@pytest.mark.parametrize(('entry', 'message'), [
    ('trian:lr=1', "there is no section 'trian'; did you mean 'train'"),
    ('train:optim:lr=1', "no section 'train:optim'; did you mean 'optim_g'"),
    ('train:total_iter=many', "'train:total_iter' is a number \\(6\\), not 'many'"),
    ('train:total_iter', 'must be section:key=value'),
    ('=3', 'must be section:key=value'),
    ('train=3', "'train' is a section; name one of its keys: train:ema_decay"),
    ('name=!!python/name:os.system', 'plain values only'),
])
def test_wrong_force_yml(training_options, entry, message):
    before = copy.deepcopy(training_options)
    with pytest.raises(UserError, match=message):
        option_file.force(training_options, [entry])
    assert training_options == before


def test_the_tiny_options_pass_and_counts_become_ints(training_options):
    training_options['logger']['save_checkpoint_freq'] = 5e3
    checks.check(training_options, 'x.yml', is_train=True)
    assert training_options['logger']['save_checkpoint_freq'] == 5000
    assert isinstance(training_options['logger']['save_checkpoint_freq'], int)


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_pass(path, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)  # one of them is for a GPU
    opt = option_file.load(path)
    checks.check(opt, str(path), is_train='train' in opt)


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_say_why(path):
    """Every top-level value has its reason on its line or in its section."""
    lines = path.read_text(encoding='utf-8').splitlines()
    assert sum('#' in line for line in lines) >= len(lines) / 6


@pytest.mark.parametrize(('key', 'value', 'settled'), [('every', 0.25, 25), ('over', 0.001, 1), ('every', 30, 30)])
def test_a_number_of_iterations_below_one_is_a_share_of_the_run(key, value, settled):
    opt = {'train': {'total_iter': 100}, 'network_g': {'dropout_schedule': {'type': 'x', key: value}}}
    option_file.settle_schedule(opt)
    assert opt['network_g']['dropout_schedule'] == {'type': 'x', key: settled}


@pytest.mark.parametrize(('scheduler', 'settled'), [
    ({'type': 'CosineAnnealingRestartLR', 'periods': ['total_iter']}, {'periods': [6]}),
    ({'type': 'CosineAnnealingRestartLR', 'periods': [2, 'total_iter'], 'restart_weights': [1, 1]},
     {'periods': [2, 6], 'restart_weights': [1, 1]}),
    ({'type': 'MultiStepLR', 'milestones': ['total_iter'], 'gamma': 0.5}, {'milestones': [6], 'gamma': 0.5}),
    ({'type': 'CosineAnnealingLR', 'T_max': 'total_iter'}, {'T_max': 6}),
    ({'type': 'OneCycleLR', 'max_lr': 1e-3, 'total_steps': 'total_iter', 'anneal_strategy': 'linear'},
     {'max_lr': 1e-3, 'total_steps': 6, 'anneal_strategy': 'linear'}),
    ({'type': 'PolynomialLR', 'total_iters': 'total_iter', 'power': 2}, {'total_iters': 6, 'power': 2}),
])
def test_the_word_total_iter_is_the_number_in_every_schedule(training_options, scheduler, settled):
    for model in ['ReflashSRModel', 'SRModel'] if scheduler['type'] in known_keys.BASICSR_SCHEDULERS else [
            'ReflashSRModel']:
        training_options['train']['scheduler'] = dict(scheduler)
        training_options['model_type'] = model
        checks.check(training_options, 'x.yml', is_train=True)
        assert training_options['train']['scheduler'] == {'type': scheduler['type'], **settled}


@pytest.mark.parametrize('path', [path for path in SHIPPED if re.match('finetune_(?!gan)', path.name)],
                         ids=lambda path: path.stem)
def test_finetuning_files_begin_with_weights_and_run_without_dropout_too(path):
    opt = option_file.load(path)
    option_file.force(opt, ['network_g:dropout_p=0', 'train:total_iter=1000', f'name={path.stem}_p0'])
    checks.check(opt, str(path), is_train=True)
    assert bool(opt['network_g'].get('base')) != bool(opt['path'].get('pretrain_network_g'))
    assert opt['val']['at_start']
    assert opt['train']['scheduler']['periods'] == [1000]
    assert f'-opt options/{path.name} --force_yml network_g:dropout_p=0 name={path.stem}_p0' in (
        path.read_text(encoding='utf-8'))


def test_force_yml_may_write_the_word_for_a_number(training_options):
    training_options['train']['scheduler'] = {'type': 'CosineAnnealingLR', 'T_max': 5}
    option_file.force(training_options, ['train:scheduler:T_max=total_iter', 'train:total_iter=9'])
    checks.check(training_options, 'x.yml', is_train=True)
    assert training_options['train']['scheduler']['T_max'] == 9


BAD = [
    ('misspelt word alone', ('train', 'scheduler'), {'type': 'CosineAnnealingLR', 'T_max': 'total_it'},
     "train: scheduler: T_max: must be a number, or the word total_iter, not 'total_it'"),
    ('misspelt word', ('train', 'scheduler', 'periods'), ['totl_iter'], 'train: scheduler: periods: must be a list of'),
    ('itself', ('train', 'total_iter'), 'total_iter', "train: total_iter: must be a whole number above 0, not 'total_"),
    ('totl_iter', ('train', 'totl_iter'), 3, "train: totl_iter: is not a known key; did you mean 'total_iter'"),
    ('top', ('scael',), 4, "scael: is not a known key; did you mean 'scale'"),
    ('degradation at the top', ('noise_range2',), [1, 25], 'noise_range2: .*; write it under datasets: train'),
    ('no counterpart', ('queue_size',), 180, 'queue_size: is not a key here; remove it'),
    ('another place', ('l1_gt_usm',), True, 'l1_gt_usm: .*; write gt_usm under datasets: train'),
    ('experiments', ('path', 'experiments_root'), 'd', 'path: experiments_root: must be ~ .results go to experiments/'),
    ('val', ('val', 'val_frq'), 4, "val: val_frq: is not a known key; did you mean 'val_freq'"),
    ('logger', ('logger', 'print_frq'), 4, "logger: print_frq: .*'print_freq'"),
    ('path', ('path',), {'pretrain_netwrk_g': 'x'}, "path: pretrain_netwrk_g: .*'pretrain_network_g'"),
    ('dataset', ('datasets', 'train', 'gt_sise'), 4, "datasets: train: gt_sise: .*'gt_size'"),
    ('degradation', ('datasets', 'train', 'sinc_prb'), 4, "datasets: train: sinc_prb: .*'sinc_prob"),
    ('test set', ('datasets', 'val', 'degradatons'), 'all', "datasets: val: degradatons: .*'degradation"),
    ('network', ('network_g', 'num_fet'), 4, "network_g: num_fet: .*'num_feat'"),
    ('loss', ('train', 'pixel_opt', 'los_weight'), 4, "train: pixel_opt: los_weight: .*'loss_weight'"),
    ('optimiser', ('train', 'optim_g', 'beta'), [0, 0], "train: optim_g: beta: .*'betas'"),
    ('scheduler', ('train', 'scheduler', 'period'), [0], "train: scheduler: period: .*'periods'"),
    ('metric', ('val', 'metrics', 'psnr', 'crop'), 4, "val: metrics: psnr: crop: .*'crop_border'"),
    ('network type', ('network_g', 'type'), 'DropoutMSRResnet', "network_g: type: .* did you mean 'DropoutMSRResNet'"),
    ('dataset type', ('datasets', 'val', 'type'), 'DegradationTestSet', "did you mean 'DegradationTestDataset'"),
    ('model type', ('model_type',), 'ReflashModel', "did you mean 'ReflashSRModel'.*entry point in 'basicsr.plugins'"),
    ('elsewhere', ('network_g', 'type'), 'HAT', 'import hat before training starts'),
    ('loss type', ('train', 'pixel_opt', 'type'), 'L1Los', "did you mean 'L1Loss'"),
    ('metric type', ('val', 'metrics', 'psnr', 'type'), 'psnr', 'no metric'),
    ('optimiser type', ('train', 'optim_g', 'type'), 'Adm', "did you mean 'Adam'"),
    ('scheduler type', ('train', 'scheduler', 'type'), 'CosineLR', 'train: scheduler: type'),
    ('scale', ('scale',), 2, 'network_g: upscale: 4 is not the scale of the run, 2; write upscale: 2'),
    ('negative', ('train', 'total_iter'), -5, 'train: total_iter: must be a whole number above 0, not -5'),
    ('text', ('logger', 'print_freq'), 'often', 'logger: print_freq: must be a whole number'),
    ('lr', ('train', 'optim_g', 'lr'), '1e-x', 'train: optim_g: lr: must be a number'),
    ('periods', ('train', 'scheduler', 'periods'), [3], r'periods: \[3\] end before total_iter, 6'),
    ('probability', ('datasets', 'train', 'sinc_prob'), 3, r'datasets: train: sinc_prob: must be a probability'),
    ('name', ('name',), '../up', 'name: must be a name without slashes'),
    ('amp', ('amp',), 'fp8', 'amp: must be one of bf16'),
    ('seed', ('manual_seed',), -1, 'manual_seed: must be a whole number'),
    ('phase', ('datasets', 'vl'), {}, "datasets: vl: is not a phase; did you mean 'val'"),
    ('section', ('train', 'optim_g'), 3, 'train: optim_g: must be a section'),
]


@pytest.mark.parametrize(('key', 'value', 'message'), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_options_are_named(training_options, key, value, message):
    section = training_options
    for part in key[:-1]:
        section = section.setdefault(part, {})
    section[key[-1]] = value
    with pytest.raises(UserError, match=message) as caught:
        checks.check(training_options, 'my.yml', is_train=True)
    assert str(caught.value).startswith('my.yml: ')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('key', ['name', 'model_type', 'scale', 'datasets', 'network_g', 'train', 'logger'])
def test_missing_sections_are_named(training_options, key):
    del training_options[key]
    with pytest.raises(UserError, match=rf'my\.yml: {key}: is missing'):
        checks.check(training_options, 'my.yml', is_train=True)


def keys_of(section, path=()):
    for key, value in section.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from keys_of(value, (*path, key))


@pytest.mark.parametrize('value', [None, [], {}, '', -1, 0, 1e9, float('nan'), 'abc', '../x', True, [1], [1, 2, 3],
                                   {'a': 1}], ids=str)
def test_any_value_of_any_key_passes_or_is_one_line(training_options, value):
    for path in list(keys_of(training_options)):
        opt = copy.deepcopy(training_options)
        section = opt
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
        try:
            checks.check(opt, 'my.yml', is_train=True)
        except UserError as error:
            assert str(error).startswith('my.yml: ')


@pytest.mark.parametrize(('key', 'value'), [
    (('network_g', 'num_block'), 0), (('train', 'pixel_opt', 'loss_weight'), 'abc'), (('val',), {}),
    (('val', 'suffix'), '../x'), (('val', 'metrics', 'psnr', 'crop_border'), -1),
    (('train', 'scheduler', 'periods'), 3), (('train', 'scheduler', 'eta_min'), float('nan')),
    (('model_type',), ['x']), (('network_g', 'type'), {})])
def test_nonsense_that_classes_do_not_check_themselves(training_options, key, value):
    section = training_options
    for part in key[:-1]:
        section = section[part]
    section[key[-1]] = value
    with pytest.raises(UserError, match=rf'my\.yml: {key[0]}: .*{key[-1] if len(key) > 1 else ""}'):
        checks.check(training_options, 'my.yml', is_train=True)


def test_sections_of_other_plugins_pass(training_options):
    from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY

    class SomebodysNet:
        __module__ = 'somebody.archs'

    class SomebodysModel:
        __module__ = 'somebody.models'

    for registry, cls in ((ARCH_REGISTRY, SomebodysNet), (MODEL_REGISTRY, SomebodysModel)):
        if cls.__name__ not in registry:
            registry.register()(cls)
    training_options['network_g'] = {'type': 'SomebodysNet', 'anything': 1}
    checks.check(training_options, 'x.yml', is_train=True)
    training_options['model_type'] = 'SomebodysModel'
    training_options['somebodys_key'] = 1
    checks.check(training_options, 'x.yml', is_train=True)


def test_basicsr_models_and_datasets_are_checked_by_the_keys_they_read(training_options):
    training_options['model_type'] = 'RealESRNetModel'
    training_options['queue_size'] = 16
    training_options['datasets']['train'] = {'type': 'PairedImageDataset', 'dataroot_gt': 'x', 'dataroot_lq': 'y',
                                             'filename_tmpl': '{}', 'io_backend': {'type': 'disk'}, 'gt_size': 32}
    checks.check(training_options, 'x.yml', is_train=True)
    training_options['datasets']['train']['filename_tmp'] = 'x'
    with pytest.raises(UserError, match="did you mean 'filename_tmpl'"):
        checks.check(training_options, 'x.yml', is_train=True)
    del training_options['datasets']['train']['filename_tmp']
    training_options['queue_sise'] = 16
    with pytest.raises(UserError, match="did you mean 'queue_size'"):
        checks.check(training_options, 'x.yml', is_train=True)


def test_swinir_does_not_swallow_misspelt_keys(training_options):
    training_options['network_g'] = {'type': 'SwinIR', 'upscale': 4, 'embed_dm': 60}
    with pytest.raises(UserError, match=r"network_g: embed_dm: .*'embed_dim'"):
        checks.check(training_options, 'x.yml', is_train=True)


def test_batch_is_divided_over_the_processes(training_options, tmp_path):
    training_options['path'] = {}
    option_file.expand(training_options, tmp_path, is_train=True, world_size=2)
    assert training_options['datasets']['train']['batch_size_per_gpu'] == 1
    training_options['datasets']['train']['total_batch_size'] = 3
    with pytest.raises(UserError, match='total_batch_size: 3 cannot be divided over 2 processes; write 4'):
        option_file.expand(training_options, tmp_path, is_train=True, world_size=2)


def test_a_file_survives_being_written_and_read(training_options, tmp_path):
    path = write(tmp_path / 'x.yml', yaml.safe_dump(training_options))
    assert option_file.load(path) == training_options


LAUGHS = 'a: &a [x, x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'{new}: &{new} [{", ".join([f"*{old}"] * 10)}]\n' for old, new in zip('abcdefgh', 'bcdefghi'))
MERGES = 'a: &a {k: 1}\n' + ''.join(
    f'{new}: &{new} {{<<: [{", ".join([f"*{old}"] * 10)}]}}\n' for old, new in zip('abcdefgh', 'bcdefghi'))
KEYS = ''.join(f'{one}: &{one} {{{", ".join(f"{one}{i}: 1" for i in range(600))}}}\n' for one in 'ab')
KEYS += 'c: {<<: [*a, *b]}'


@pytest.mark.parametrize(('text', 'message'), [
    (LAUGHS, 'more than 10,000 values'), (KEYS, 'more than 1000 keys'), ('a: ' + '[' * 9999, 'more than 20 sections'),
    ('a: ' + '[' * 30 + ']' * 30, 'more than 20 sections'), ('a: &a [*a]', 'more than 20 sections'),
    ('a: 0x' + 'f' * 5000, 'more than 64 bits'), ('a: ' + '9' * 5000, 'Exceeds the limit'),
    ('a: "\\ud800"', 'holds a character'), ('a: "\\0"', 'holds a character'), ('a: !!set {x}', 'plain values only'),
    ('a: x\n' * 99999, 'larger than 256 KB'), ('? [a]\n: 1', 'a key must be text'),
], ids=range(12))
def test_files_that_would_eat_memory_or_time_are_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=rf'x\.yml: .*{message}'):
        option_file.load(write(tmp_path / 'x.yml', text))


def test_merge_keys_do_not_multiply(tmp_path):
    file = write(tmp_path / 'x.yml', MERGES)
    try:
        opt = option_file.load(file)
    except UserError as error:  # PyYAML before 6.0.4 keeps every copy of a key until the end
        assert 'more than 1000 keys' in str(error)
    else:
        assert opt == {key: {'k': 1} for key in 'abcdefghi'}


@pytest.mark.parametrize('data', [b'\xef\xbb\xbfname: x\r\nscale: 4\r\n', b'a: &a {scale: 4}\n<<: *a\nname: x'])
def test_marks_line_ends_and_merges_of_any_editor(tmp_path, data):
    (tmp_path / 'x.yml').write_bytes(data)
    opt = option_file.load(tmp_path / 'x.yml')
    assert (opt['name'], opt['scale']) == ('x', 4)


@pytest.mark.parametrize('data', ['name: é'.encode('latin-1'), 'name: x'.encode('utf-16'), bytes(range(256))])
def test_other_encodings_and_binary_files_are_named(tmp_path, data):
    (tmp_path / 'x.yml').write_bytes(data)
    with pytest.raises(UserError, match=r'x\.yml: not an option file, or not UTF-8'):
        option_file.load(tmp_path / 'x.yml')


def test_pipes_and_folders_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / 'x.yml')
    for path, message in ((tmp_path / 'x.yml', 'a pipe'), (tmp_path, 'a folder')):
        with pytest.raises(UserError, match=message):
            option_file.load(path)


@pytest.mark.parametrize(('net', 'p'), [('srresnet', 0.7), ('rrdb', 0.5)])
def test_the_papers_twins_differ_in_dropout_alone(net, p):
    plain, dropped = (option_file.load(f'options/train_{net}_real_{name}.yml') for name in ('p0', f'p0{p * 10:.0f}'))
    assert (plain['network_g'].pop('dropout_p'), dropped['network_g'].pop('dropout_p')) == (0, p)
    assert {**plain, 'name': ''} == {**dropped, 'name': ''}


@pytest.mark.parametrize(('train', 'test'), [('quickstart', 'test_quickstart'), ('train_tiny', 'test_tiny')])
def test_the_test_of_a_small_run_gives_the_table_of_its_training(train, test):
    train, test = (option_file.load(f'options/{name}.yml') for name in (train, test))
    assert test['network_g'].items() <= train['network_g'].items()
    assert test['datasets']['test_1'] == train['datasets']['val']
    assert test['val']['metrics'] == train['val']['metrics']
    assert test['path']['pretrain_network_g'] == f"experiments/{train['name']}/models/net_g_latest.pth"
    assert test['path']['param_key_g'] == 'params_ema'


def test_a_test_that_would_give_nothing_is_refused(training_options):
    """As older files of BasicSR and SRFormer would, whose save_img and suffix stand at the top."""
    data = training_options['datasets']['val']
    opt = {**{key: training_options[key] for key in ('name', 'scale', 'network_g')}, 'model_type': 'SRModel',
           'datasets': {'test_1': data}, 'path': {}, 'suffix': None, 'print_network': False, 'save_img': True}
    with pytest.raises(UserError, match=r'x\.yml: val: has neither metrics nor save_img: true'):
        checks.check(copy.deepcopy(opt), 'x.yml', is_train=False)
    checks.check({**opt, 'val': {'save_img': True}}, 'x.yml', is_train=False)


def test_a_seed_may_be_empty_as_in_basicsr(training_options):
    checks.check({**training_options, 'manual_seed': None}, 'x.yml', is_train=True)
