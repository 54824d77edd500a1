"""The repairs, and the way names are exchanged for a while."""

import logging
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import install_basicsr
from reflash_sr.compat import INSTALL_BASICSR, REINSTALL_OPENCV, repair, replaced, several_validation_sets


def test_basicsr_imports_after_us_in_a_fresh_process():
    code = ('import reflash_sr\nfrom basicsr.data import degradations\n'
            'from basicsr.utils.registry import ARCH_REGISTRY\n'
            "assert 'DropoutRRDBNet' in ARCH_REGISTRY\nimport basicsr.train")
    subprocess.run([sys.executable, '-c', code], check=True, timeout=600)


@pytest.mark.parametrize(('arguments', 'status', 'missing'), [(['-m', 'reflash_sr', 'train'], 2, 'archs'),
                                                              (['-m', 'reflash_sr', 'train'], 2, 'version'),
                                                              (['-c', 'import reflash_sr'], 1, 'archs')])
def test_a_copy_of_basicsr_in_the_working_directory_is_named(tmp_path, arguments, status, missing):
    """Of NAFNet, and a clone of BasicSR that nobody installed."""
    (tmp_path / 'basicsr').mkdir()
    for part in {'__init__', 'archs', 'version'} - {missing}:
        (tmp_path / f'basicsr/{part}.py').touch()
    run = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    last = run.stderr.splitlines()[-1]
    assert f'basicsr is another BasicSR, without basicsr.{missing},' in last and 'start in another folder' in last
    assert run.returncode == status
    assert ('Traceback' in run.stderr) == (status == 1)


OWN_COMMANDS = {'basicsr': ['-m', 'reflash_sr', '--help'],
                'reflash-sr': ['-c', 'import sys; sys.argv[0] = "reflash-sr"; import reflash_sr'],
                'a tool': [str(Path(__file__).parents[1] / 'tools' / 'upscale.py'), '--help']}
UNUSABLE = {  # what is the matter: a line of sitecustomize.py, a module that cannot be loaded, what is said
    'no BasicSR': ('import sys; sys.modules["basicsr"] = None', {},
                   f'BasicSR is not installed; run: {INSTALL_BASICSR}'),
    'no OpenCV': ('import sys; sys.modules["cv2"] = None', {},
                  'OpenCV is not installed; run: pip install opencv-python-headless'),
    'no libGL': ('', {'cv2.py': 'raise ImportError("libGL.so.1: cannot open shared object file: No such file")'},
                 'OpenCV cannot be loaded (libGL.so.1: cannot open shared object file: No such file); run: apt-get '
                 'install libgl1 libglib2.0-0 (as root), or install the OpenCV that needs no screen: '
                 + REINSTALL_OPENCV),
    'another NumPy': ('', {'cv2.py': 'raise ImportError("numpy.core.multiarray failed to import\\n")'},
                      'OpenCV cannot be loaded (numpy.core.multiarray failed to import); run: ' + REINSTALL_OPENCV),
    'half of OpenCV': ('', {'cv2.py': ''}, 'OpenCV lacks parts: uninstalling one OpenCV package breaks another; run: '
                       + REINSTALL_OPENCV)}


@pytest.mark.parametrize('command', OWN_COMMANDS)
@pytest.mark.parametrize('problem', UNUSABLE)
def test_what_a_bare_machine_lacks_is_said_in_one_line(tmp_path, command, problem):
    line, modules, message = UNUSABLE[problem]
    for name, text in {**modules, 'sitecustomize.py': line}.items():
        (tmp_path / name).write_text(text)
    run = subprocess.run([sys.executable, *OWN_COMMANDS[command]], env={**os.environ, 'PYTHONPATH': str(tmp_path)},
                         capture_output=True, text=True, timeout=600)
    assert (run.returncode, run.stdout, run.stderr) == (2, '', f'reflash_sr: error: {message}\n')


def test_in_a_program_of_somebody_else_it_is_an_import_error(tmp_path):
    code = "import sys; sys.modules['basicsr'] = None; import reflash_sr"
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=600)
    assert run.stderr.splitlines()[-1] == f'ImportError: BasicSR is not installed; run: {INSTALL_BASICSR}'


def test_the_command_to_run_fits_the_python():
    """pip installs BasicSR by itself where setup.py asks for it; elsewhere install_basicsr does."""
    assert (INSTALL_BASICSR == 'python -m install_basicsr') == (sys.version_info >= install_basicsr.FAILS_SINCE)


def test_repairing_twice_changes_nothing():
    before = sys.modules['torchvision.transforms.functional_tensor']
    repair()
    assert sys.modules['torchvision.transforms.functional_tensor'] is before


def test_replaced_names_come_back_after_an_error():
    module = types.SimpleNamespace(a=1, b=2)
    with pytest.raises(RuntimeError, match='inside'), replaced(module, a=3):
        assert (module.a, module.b) == (3, 2)
        raise RuntimeError('inside')
    assert module.a == 1
    with pytest.raises(AttributeError), replaced(module, c=1):
        pass


def test_a_warning_that_is_not_true_is_kept_back_for_a_while(caplog):
    logger = logging.getLogger('basicsr')
    false = 'Multiple validation datasets are *only* supported by SRModel.'
    with several_validation_sets():
        logger.warning(false)
        logger.warning('another')
    logger.warning('%s', false)
    assert [record.getMessage() for record in caplog.records] == ['another', false]
