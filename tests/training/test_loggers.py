"""TensorBoard and wandb are checked before a run writes anything; wandb is started as BasicSR starts it."""

import importlib.metadata
import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

from reflash_sr import cli
from reflash_sr.errors import UserError
from reflash_sr.training.loggers import check_loggers, tensorboard_command, writes_tensorboard

pytestmark = pytest.mark.usefixtures('in_tmp_path')


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for a current wandb, which has no ``util.generate_id``; ``calls`` are what was called."""
    module = types.ModuleType('wandb')
    module.util, module.calls = types.SimpleNamespace(), {}
    module.login = lambda **given: module.calls.update(login=given)
    module.init = lambda **given: module.calls.update(init=given)
    monkeypatch.setitem(sys.modules, 'wandb', module)
    return module


def options(name='x', **logger):
    return {'name': name, 'logger': {'use_tb_logger': False, **logger}}


@pytest.mark.parametrize('section', [None, {}, {'project': None}, {'project': None, 'resume_id': None}])
def test_wandb_without_a_project_is_off(monkeypatch, section):
    monkeypatch.setitem(sys.modules, 'wandb', None)  # importing it would fail
    for use in (True, False):
        check_loggers(options(wandb=section, use_tb_logger=use))


def test_debug_mode_uses_no_logger(monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    check_loggers(options('debug_x', wandb={'project': 'mine'}))


def test_tensorboard_starts_as_it_is_installed(tmp_path):
    command = tensorboard_command({'root_path': 'somewhere'})
    assert command == f'tensorboard --logdir {Path("somewhere", "tb_logger")}'  # nothing to install before
    run = subprocess.run([sys.executable, '-m', 'tensorboard.main', '--inspect', '--logdir', tmp_path],
                         capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr


def test_a_setuptools_that_tb_nightly_cannot_use_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'pkg_resources' else found(name))
    for nightly in (True, False):
        monkeypatch.setattr(importlib.metadata, 'distributions', lambda name, there=nightly: iter([name] * there))
        command = tensorboard_command({'root_path': 'somewhere'})
        assert ('(before that: pip install "setuptools<82"' in command) == nightly


def test_the_command_can_be_pasted_where_folders_have_blanks():
    assert tensorboard_command({'root_path': 'my runs'}).endswith(f' "{Path("my runs", "tb_logger")}"')


@pytest.mark.parametrize(('name', 'use', 'expected'),
                         [('x', True, True), ('x', False, False), ('debug_x', True, False)])
def test_a_run_writes_tensorboard_files_unless_it_is_a_debug_run(name, use, expected):
    assert writes_tensorboard(options(name, use_tb_logger=use)) == expected


@pytest.mark.parametrize(('logger', 'absent', 'message'), [
    ({'wandb': {'project': 'mine'}}, None, 'logger: wandb: project: wandb shows what TensorBoard writes; write '
                                           'use_tb_logger: true, or project: ~'),
    ({'wandb': {'project': 'mine'}, 'use_tb_logger': True}, 'wandb', r'logger: wandb: project: wandb cannot be used '
                                                                     r'\(.*\); pip install wandb, or write project: ~'),
    ({'use_tb_logger': True}, 'torch.utils.tensorboard', r'logger: use_tb_logger: tensorboard cannot be used \(.*\); '
                                                         'pip install tensorboard, or write use_tb_logger: false'),
    ({'wandb': {'projct': 'mine'}}, None, "logger: wandb: projct: is not a known key; did you mean 'project'"),
])
def test_what_is_missing_is_named_before_anything_is_written(training_options, wandb, monkeypatch, capsys, logger,
                                                             absent, message):
    if absent:
        monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(UserError, match=message):
        check_loggers(options(**logger))
    training_options['logger'].update(logger)
    Path('x.yml').write_text(yaml.safe_dump(training_options), encoding='utf-8')
    before = sorted(Path.cwd().rglob('*'))
    assert cli.main(['train', '-opt', 'x.yml']) == 2
    assert capsys.readouterr().err.count('\n') == 1
    assert sorted(Path.cwd().rglob('*')) == before


def test_wandb_that_is_not_logged_in_is_refused(wandb):
    def login():
        raise RuntimeError('No API key configured.\nMore lines.')

    wandb.login = login
    with pytest.raises(UserError, match=r'wandb cannot be started \(No API key configured\); run wandb login, or set '
                                        'WANDB_MODE=offline, or write project: ~$'):
        check_loggers(options(use_tb_logger=True, wandb={'project': 'mine'}))


def test_wandb_is_started_once_with_the_project(training_options, wandb):
    training_options['logger'].update(use_tb_logger=True, wandb={'project': 'mine', 'resume_id': None})
    training_options.update(val=None, datasets={'train': training_options['datasets']['train']})
    training_options['train'].update(total_iter=1, scheduler={'type': 'MultiStepLR', 'milestones': [1]})
    Path('x.yml').write_text(yaml.safe_dump(training_options), encoding='utf-8')
    assert cli.main(['train', '-opt', 'x.yml']) == 0
    assert wandb.calls['init'].items() >= {'project': 'mine', 'name': 'tiny', 'sync_tensorboard': True,
                                           'resume': 'never'}.items()
    assert len(wandb.calls['init']['id']) == 8


def test_a_server_that_is_not_reached_is_one_line(training_options, wandb, capsys):
    def init(**given):
        raise TimeoutError('no answer')

    wandb.init = init
    training_options['logger'].update(use_tb_logger=True, wandb={'project': 'mine'})
    Path('x.yml').write_text(yaml.safe_dump(training_options), encoding='utf-8')
    assert cli.main(['train', '-opt', 'x.yml']) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(
        'basicsr: error: logger: wandb: project: wandb cannot be started (no answer)')
