"""Mutations of the shipped option files that really run: two iterations, or one line that says why not."""

import contextlib
import shutil

import pytest
import yaml
from hypothesis import event, given, settings
from hypothesis import strategies as st

from reflash_sr.errors import UserError
from reflash_sr.options import option_file as options
from reflash_sr.training import pipeline
from tests.conftest import fill
from tests.fuzz.strategies import LONG, examples, is_one_line
from tests.fuzz.test_option_files import SHIPPED, mutants, small

TRAINING = [path for path in SHIPPED if path.stem.startswith(('train', 'quickstart'))]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    fill(folder / 'images', 2, 64, 64)
    return folder


def shorten(opt):
    """Keep a mutant's run as short as the file's, where it still has the keys."""
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        opt['train']['total_iter'] = 2
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        opt['datasets']['train']['num_worker_per_gpu'] = 0
    return opt


@settings(examples(8), max_examples=min(LONG, 200) or 8)
@given(data=st.data(), shipped=st.sampled_from(TRAINING))
def test_a_mutated_file_trains_or_is_refused_before_anything_is_written(folder, data, shipped):
    base = small(options.load(shipped), folder / 'images')
    opt = shorten(data.draw(mutants(base)))
    path = folder / 'mine.yml'
    path.write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
    root = folder / 'root'
    root.mkdir()
    try:
        weights = pipeline.train(str(path), root=root)
    except UserError as error:
        event('refused')
        assert is_one_line(error)
        if error.exit_status == 2:
            assert 'mine.yml: ' in str(error)
            assert not list(root.rglob('*'))
    else:
        event('trained')
        assert weights.is_file()
    finally:
        shutil.rmtree(root)
