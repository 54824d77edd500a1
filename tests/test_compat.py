"""The repairs, and the way names are exchanged for a while."""

import logging
import subprocess
import sys
import types

import pytest

from reflash_sr.compat import repair, replaced, several_validation_sets


def test_basicsr_imports_after_us_in_a_fresh_process():
    code = ('import reflash_sr\nfrom basicsr.data import degradations\n'
            'from basicsr.utils.registry import ARCH_REGISTRY\n'
            "assert 'DropoutRRDBNet' in ARCH_REGISTRY\nimport basicsr.train")
    subprocess.run([sys.executable, '-c', code], check=True, timeout=600)


@pytest.mark.parametrize(('arguments', 'status'), [(['-m', 'reflash_sr', 'train'], 2),
                                                   (['-c', 'import reflash_sr'], 1)])
def test_a_copy_of_basicsr_in_the_working_directory_is_named(tmp_path, arguments, status):
    (tmp_path / 'basicsr').mkdir()
    (tmp_path / 'basicsr/__init__.py').touch()
    run = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    last = run.stderr.splitlines()[-1]
    assert 'basicsr is another BasicSR, without basicsr.archs' in last and 'start in another folder' in last
    assert run.returncode == status
    assert ('Traceback' in run.stderr) == (status == 1)


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
