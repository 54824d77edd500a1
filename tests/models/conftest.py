"""What the tests of models share."""

import pytest

from reflash_sr.options import check_options as option_checks
from reflash_sr.options import option_file as options


@pytest.fixture
def opt(training_options, tmp_path):
    """Options of the smallest training, expanded."""
    option_checks.check(training_options, 'x.yml', is_train=True)
    options.expand(training_options, tmp_path, is_train=True)
    training_options.update(dist=False, rank=0, world_size=1, device='cpu')
    return training_options
