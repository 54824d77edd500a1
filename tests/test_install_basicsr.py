"""The command that installs BasicSR where pip cannot, with a package index of our own and no network."""

import ast
import hashlib
import importlib.metadata
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import install_basicsr

SETUP = '''
from setuptools import setup

version_file = 'basicsr/version.py'

def get_version():
    with open(version_file, 'r') as f:
        exec(compile(f.read(), version_file, 'exec'))
    return locals()['__version__']

if __name__ == '__main__':
    setup(name='basicsr', version=get_version(), packages=['basicsr'],
          install_requires=open('requirements.txt').read().split(), setup_requires=['not-in-any-index'])
'''


def _archive(path: Path, setup: str = SETUP) -> str:
    """Write a source archive as BasicSR's; returns its SHA-256."""
    files = {'setup.py': setup, 'requirements.txt': 'tb-nightly\n', 'basicsr/__init__.py': '',
             'basicsr/version.py': "__version__ = '1.4.2'\n",
             'PKG-INFO': 'Metadata-Version: 2.1\nName: basicsr\nVersion: 1.4.2\n'}
    with tarfile.open(path, 'w:gz') as file:
        for name, text in files.items():
            member = tarfile.TarInfo(f'basicsr-1.4.2/{name}')
            member.size = len(text)
            file.addfile(member, io.BytesIO(text.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _wheel(path: Path) -> None:
    name, version = path.name.split('-')[:2]
    info = f'{name}-{version}.dist-info'
    name = name.replace('_', '-')
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
        file.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        file.writestr(f'{info}/RECORD', '')


@pytest.fixture
def index(tmp_path):
    """A package index in a folder, as its address for pip; every archive in ``index/NAME`` is in it."""
    for file in ('basicsr/basicsr-1.4.2.tar.gz', 'tb-nightly/tb_nightly-2.0-py3-none-any.whl',
                 'tensorboard/tensorboard-2.0-py3-none-any.whl'):
        path = tmp_path / 'index' / file
        path.parent.mkdir(parents=True)
        _wheel(path) if path.suffix == '.whl' else _archive(path)
        (path.parent / 'index.html').write_text(f'<a href="{path.name}">{path.name}</a>')
    return (tmp_path / 'index').as_uri()


@pytest.fixture(scope='module')
def python(tmp_path_factory):
    """A new environment that has pip, this environment's setuptools, and ``wheel``: for older pips a reason to run
    ``setup.py`` itself."""
    folder = tmp_path_factory.mktemp('environment')
    subprocess.run([sys.executable, '-m', 'venv', folder], check=True)
    python = next(folder.glob('bin/python')) if os.name == 'posix' else folder / 'Scripts' / 'python.exe'
    site = subprocess.run([python, '-c', "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True,
                          capture_output=True, text=True).stdout.strip()
    subprocess.run([python, '-m', 'pip', 'uninstall', '--quiet', '--yes', 'setuptools'], check=True)
    found = importlib.metadata.distribution('setuptools')
    for name in {file.parts[0] for file in found.files if file.parts[0] not in ('..', '__pycache__')}:
        source = Path(found.locate_file(name))
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, Path(site, name))
    shutil.copytree(Path(site, 'setuptools/_vendor/wheel'), Path(site, 'wheel'))
    return python


def _run(python: Path, index: str, *arguments: str, sha256: str = install_basicsr.SHA256, fails: tuple = (3, 0),
         **environment: str) -> subprocess.CompletedProcess:
    code = (f'import sys, install_basicsr as i; i.SHA256 = {sha256!r}; i.FAILS_SINCE = {fails}; '
            f'sys.exit(i.main({list(arguments)}))')
    pip = {'PIP_CONFIG_FILE': os.devnull, 'PIP_INDEX_URL': index, 'PIP_DISABLE_PIP_VERSION_CHECK': '1', **environment}
    others = {name: value for name, value in os.environ.items() if not name.startswith('PIP_')}
    return subprocess.run([python, '-c', code], capture_output=True, text=True, timeout=600,
                          env={**others, **pip, 'PYTHONPATH': str(Path(install_basicsr.__file__).parent)})


def _pip(python: Path, *arguments: str) -> str:
    return subprocess.run([python, '-m', 'pip', *arguments], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize(('arguments', 'required'), [([], 'tb-nightly'), (['--tensorboard'], 'tensorboard')])
def test_it_is_fetched_mended_built_and_installed_once(tmp_path, index, python, arguments, required):
    """Also from an index that has a wheel of its own, which pip prefers for its build number."""
    archive, wheel = (tmp_path / 'index/basicsr' / f'basicsr-1.4.2{end}' for end in ('.tar.gz', '-9-py3-none-any.whl'))
    _wheel(wheel)
    archive.with_name('index.html').write_text(''.join(f'<a href="{name}">{name}</a>\n'
                                                       for name in (archive.name, wheel.name)))
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    run = _run(python, index, *arguments, sha256=sha256)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == 'BasicSR: installed'
    frozen = _pip(python, 'freeze').split()
    assert 'basicsr==1.4.2' in frozen and any(line.startswith(required) for line in frozen)
    assert 'version.py' in _pip(python, 'show', '--files', 'basicsr')
    _pip(python, 'check')
    again = _run(python, 'file:///nowhere', *arguments)
    assert (again.returncode, again.stdout.count('nothing to do, it is there already')) == (0, 1)
    _pip(python, 'uninstall', '--yes', 'basicsr', required)


@pytest.mark.slow
def test_nothing_else_is_installed(tmp_path, index, python):
    path = tmp_path / 'index/basicsr/basicsr-1.4.2.tar.gz'
    another = _run(python, index)
    unknown = _run(python, index, sha256=_archive(path, SETUP.replace('locals()', 'vars()')))
    nowhere = _run(python, (tmp_path / 'empty').as_uri(), PIP_RETRIES='0')
    for run, message in ((another, 'pip download failed'), (nowhere, 'pip download failed'),
                         (unknown, "setup.py of the archive does not have 'return locals()")):
        assert run.returncode == 2
        last = run.stderr.splitlines()[-1]
        assert last.startswith('install_basicsr: error: ') and message in last
        assert 'Traceback' not in run.stderr
    assert 'DO NOT MATCH THE HASHES' in another.stderr
    assert 'basicsr' not in _pip(python, 'freeze')


@pytest.mark.slow
def test_before_python_3_13_pip_does_it(python):
    run = _run(python, 'file:///nowhere', fails=(4, 0))
    assert run.returncode == 0 and 'nothing to do, before Python 4.0 pip installs it by itself' in run.stdout


def test_without_pip_it_says_what_to_run(monkeypatch, capsys):
    monkeypatch.setattr(install_basicsr.importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(install_basicsr, 'FAILS_SINCE', (3, 0))
    assert install_basicsr.main([]) == 2
    assert 'this Python has no pip' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize('file', ['basicsr/__init__.py', 'basicsr/data/a.png'])
def test_a_folder_basicsr_in_the_working_directory_is_not_installed(tmp_path, python, file):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    environment = {**os.environ, 'PYTHONPATH': str(Path(install_basicsr.__file__).parent), 'PIP_NO_INDEX': '1',
                   'PIP_FIND_LINKS': '', 'PIP_CONFIG_FILE': os.devnull}
    run = subprocess.run([python, '-m', 'install_basicsr', '--tensorboard'], cwd=tmp_path, env=environment,
                         capture_output=True, text=True, timeout=600)
    assert run.returncode == 2 and 'pip download failed' in run.stderr


@pytest.mark.parametrize(('error', 'status', 'said'), [
    (KeyboardInterrupt(), 130, 'stopped'),
    (OSError(28, 'No space left on device'), 2, 'error: [Errno 28] No space left on device')])
def test_ctrl_c_and_a_full_disk_are_one_line(monkeypatch, capsys, error, status, said):
    def pip(*arguments, **environment):
        raise error

    monkeypatch.setattr(install_basicsr.importlib.util, 'find_spec', lambda name: None if name == 'basicsr' else True)
    monkeypatch.setattr(install_basicsr, '_pip', pip)
    assert install_basicsr.main(['--tensorboard']) == status
    assert capsys.readouterr().err == f'install_basicsr: {said}\n'


def test_it_needs_nothing_but_the_standard_library():
    tree = ast.parse(Path(install_basicsr.__file__).read_text(encoding='utf-8'))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split('.')[0] for name in names} <= set(sys.stdlib_module_names)


def test_it_wants_the_setuptools_of_the_package():
    assert f"'{install_basicsr.BUILDER}'" in Path(install_basicsr.__file__).with_name('setup.py').read_text('utf-8')


def test_the_cuda_operations_need_pytorch_first(monkeypatch, capsys):
    monkeypatch.setenv('BASICSR_EXT', 'True')
    find = install_basicsr.importlib.util.find_spec
    monkeypatch.setattr(install_basicsr.importlib.util, 'find_spec',
                        lambda name: None if name in ('basicsr', 'torch') else find(name))
    assert install_basicsr.main(['--tensorboard']) == 2
    assert 'BASICSR_EXT=True builds against PyTorch, which is not installed; pip install torch first' in (
        capsys.readouterr().err)
