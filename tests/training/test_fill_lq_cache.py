"""Runs that read their pairs from a cache."""

import logging
import re
import shutil

import pytest

from reflash_sr.data.lq_cache import BLOCK
from reflash_sr.training.fill_lq_cache import make_pairs
from tests import forked
from tests.data.test_lq_cache import make


@pytest.mark.slow
def test_a_run_does_not_depend_on_what_the_cache_holds(training_options, tmp_path):
    train = training_options['datasets']['train']
    train['gt_usm'] = False  # with it, the last bit of a GT value may differ from a run without the cache
    train['pairs_cache'] = str(tmp_path / 'cache')
    outcomes = []
    for name, workers in (('fills', 0), ('reads', 1)):
        train['num_worker_per_gpu'] = workers
        folder = forked.write(tmp_path / name, training_options)
        status, said = forked.train(folder)
        assert status == 0, said
        assert f'{BLOCK if name == "reads" else 0} of {BLOCK} exist' in said
        outcomes.append(forked.outcome(folder, 6))
    forked.assert_same(*outcomes)
    shutil.rmtree(tmp_path / 'cache')
    train.pop('pairs_cache')
    folder = forked.write(tmp_path / 'without', training_options)
    status, said = forked.train(folder)
    assert status == 0, said
    forked.assert_same(outcomes[0], forked.outcome(folder, 6))


def test_a_shorter_run_reads_the_beginning_of_a_longer_one(image_folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO, 'basicsr'):
        for draws in (BLOCK + 1, 50, BLOCK, 2 * BLOCK):
            make_pairs(make('single', image_folder, tmp_path), draws, 0)
    assert re.findall(r'(\d+) of (\d+) exist', caplog.text) == [
        ('0', f'{2 * BLOCK}'), (f'{BLOCK}', f'{BLOCK}'), (f'{BLOCK}', f'{BLOCK}'), (f'{2 * BLOCK}', f'{2 * BLOCK}')]


def test_the_seed_of_the_cache_is_that_of_the_run(training_options, tmp_path):
    training_options['datasets']['train'].update(manual_seed=7, pairs_cache=str(tmp_path / 'cache'))
    status, said = forked.train(forked.write(tmp_path / 'run', training_options))
    assert status == 2
    assert 'datasets: train: manual_seed: 7 differs from that of the run, 3' in said
    assert not (tmp_path / 'cache').exists()


def test_a_cache_that_cannot_be_is_found_before_anything_is_written(training_options, tmp_path):
    (tmp_path / 'file').write_text('')
    folder = forked.write(tmp_path / 'run', training_options)
    assert forked.train(folder)[0] == 0
    earlier = forked.outcome(folder, 6)
    training_options['datasets']['train']['pairs_cache'] = str(tmp_path / 'file')
    forked.write(folder, training_options)
    status, said = forked.train(folder)
    assert status == 2
    assert said.strip().splitlines()[-1].startswith('basicsr: error: run.yml: pairs_cache: ')
    assert [path.name for path in (folder / 'experiments').iterdir()] == ['tiny']
    forked.assert_same(earlier, forked.outcome(folder, 6))
