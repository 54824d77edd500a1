"""What the tests of checks before a run share."""

import pytest

from reflash_sr.options import check_options as option_checks
from reflash_sr.options import option_file as options
from reflash_sr.training import preflight


@pytest.fixture
def open_sets(training_options, tmp_path, monkeypatch):
    """A function that opens the datasets of an option file, below the working directory; returns options and sets."""
    monkeypatch.chdir(tmp_path)

    def opened(*val, train=None, is_train=True, model_type='ReflashSRModel', **of_val):
        sets = {'train': train or training_options['datasets']['train']} if is_train else {}
        sets |= {f"{'val' if is_train else 'test'}_{i}": section for i, section in enumerate(val)}
        opt = {**training_options, 'model_type': model_type, 'datasets': sets}
        opt['val'] = {**training_options['val'], **of_val}
        option_checks.check(opt, 'x.yml', is_train)
        opt.update(dist=False, rank=0, world_size=1)
        options.expand(opt, tmp_path, is_train)
        return opt, preflight.open_datasets(opt)

    return opened
