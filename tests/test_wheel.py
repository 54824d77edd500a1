"""A plain install, without the repository: the wheel is whole, and every tool runs from it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from reflash_sr.commands.console import COMMANDS
from tests.conftest import fill

ROOT = Path(__file__).parents[1]
P0, P07 = 'options/weights/srresnet32x8_p0_seed0.pth', 'options/weights/srresnet32x8_p0.7_seed0.pth'
SMALL = ['--images', 'photos:val', '--limit', '1', '--crop', '16']
RUNS = {
    'options': ['options'],
    'prepare': ['--input', 'photos', '--output', 'cut', '--size', '48', '--step', '24'],
    'evaluate': ['--weights', P0, P07, '--gt', 'photos', '--degradations', 'clean', 'b+n', '--out', 'evaluate'],
    'compare': ['--results', 'evaluate', '--out', 'compare'],
    'ablate': ['--weights', P0, *SMALL, '--out', 'ablate'],
    'saliency': ['--weights', P0, *SMALL, '--out', 'saliency'],
    'attribute': ['--weights', P0, *SMALL, '--steps', '2', '--out', 'attribute'],
    'clusters': ['--weights', P0, '--images', 'photos:val', '--samples', '4', '--sample', '16', '--perplexity', '3',
                 '--tsne_seeds', '1', '--out', 'clusters'],
    'report': ['--weights', P0, P07, *SMALL, '--degradations', 'clean', '--samples', '4', '--out', 'report'],
    'upscale': ['--weights', 'bundled:srresnet32x8_p0_seed0', '--input', 'photos', '--output', 'upscaled'],
    'sweep': ['--opt', 'options/study_tiny.yml', '--dry-run'],
}
SCRIPT = f'''
import reflash_sr
from reflash_sr.commands.console import main
print('installed at', reflash_sr.__file__)
for name, arguments in {RUNS!r}.items():
    status = main([name, *arguments])
    print(name, 'ended with', status)
'''


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'  # a build leaves files in its source
    left_out = shutil.ignore_patterns('.git', '*.egg-info', 'build', 'experiments', 'results', 'tb_logger', 'datasets')
    shutil.copytree(ROOT, source, ignore=left_out)
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', folder, source]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return next(folder.glob('*.whl'))


@pytest.mark.slow
def test_the_wheel_holds_the_option_files_weights_and_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    options = {f'reflash_sr/shipped/{path.name}' for path in (ROOT / 'options').glob('*.yml')}
    assert options <= names
    assert {f'reflash_sr/shipped/{Path(path).name}' for path in (P0, P07)} <= names
    assert {'reflash_sr/py.typed', 'reflash_sr/commands/report.html.j2'} <= names
    assert not {name.split('/')[0] for name in names} & {'tests', 'tools', 'benchmarks', 'options'}


@pytest.mark.slow
def test_every_command_runs_from_a_plain_install(wheel, tmp_path):
    assert RUNS.keys() == COMMANDS.keys()
    place = tmp_path / 'installed'
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', place, wheel], check=True,
                   capture_output=True, timeout=300)
    work = tmp_path / 'work'
    work.mkdir()
    fill(work / 'photos', 2, 72, 96)
    done = subprocess.run([sys.executable, '-c', SCRIPT], cwd=work, env={**os.environ, 'PYTHONPATH': str(place)},
                          capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert f'installed at {place}/reflash_sr/__init__.py' in lines
    for name in RUNS:
        assert f'{name} ended with 0' in lines, done.stderr[-2000:]
