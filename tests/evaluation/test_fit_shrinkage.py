"""α of the shrinkage control: fitted on other images than those it is measured on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.errors import UserError
from reflash_sr.evaluation.comparison import Settings
from reflash_sr.evaluation.fit_shrinkage import Control, Fit
from reflash_sr.evaluation.metrics import measure
from reflash_sr.evaluation.own_interpolation import find_base
from reflash_sr.evaluation.shrinkage import ALPHAS, shrink
from reflash_sr.evaluation.shrunk_rows import ONCE, PER_DEGRADATION
from reflash_sr.evaluation.tiled_inference import Restorer
from reflash_sr.weights.network_from_file import open_network
from tests.conftest import smooth_image

WEIGHTS = Path(__file__).parents[2] / 'docs/evidence/weights'
NAMES = ('clean', 'noise:10')


@pytest.fixture(scope='module')
def network():
    return open_network(WEIGHTS / 'srresnet32x8_p0_seed0.pth', label='net')


def folder(path, seeds, height=64):
    path.mkdir()
    for seed in seeds:
        Image.fromarray(smooth_image(seed, height, 72)).save(path / f'{seed}.png')
    return str(path)


def pairs(path, seeds):
    """A set of pairs, ×4, whose LQ images are sharp, and whose GT images are not."""
    for part in ('lr', 'hr'):
        (path / part).mkdir(parents=True)
    for seed in seeds:
        image = Image.fromarray(smooth_image(seed, 48, 64))
        image.save(path / 'hr' / f'{seed}.png')
        image.resize((16, 12), Image.Resampling.BOX).save(path / 'lr' / f'{seed}.png')
    return [str(path / 'lr'), str(path / 'hr')]


def best(network, pairs):
    """The best α by trying all on pixels: of (LQ, GT) pairs."""
    restorer, base = Restorer(network.net, network.scale), find_base(network)
    images = [(restorer.restore(lq), base(lq), gt) for lq, gt in pairs]
    return ALPHAS[np.argmax([np.mean([measure('psnr', shrink(sr, low, alpha), gt, 4) for sr, low, gt in images])
                             for alpha in ALPHAS])]


def of(datasets, names=None):
    return [one.pair(place, name) for one in datasets for place in range(len(one)) for name in names or
            one.degradations]


def rows_of(network, datasets, *fit_on):
    fit = Fit(Control(fit_on), [network], datasets, Settings())
    fit.check()
    return {row.way: row for row in fit.run()}


def test_on_a_folder_once_and_per_degradation(network, tmp_path):
    measured = open_sets([folder(tmp_path / 'a', (1, 2)), folder(tmp_path / 'b', (3,))], NAMES, [], [], [], 4, 7)
    other = folder(tmp_path / 'other', (4, 5))
    rows = rows_of(network, measured, other)
    seen = open_sets([other], NAMES, [], [], [], 4, 7)
    once, each = rows[ONCE], rows[PER_DEGRADATION]
    assert once.of('a', 1, 'clean') == once.of('b', 0, 'noise:10') == pytest.approx(best(network, of(seen)), abs=0.02)
    for name in NAMES:
        assert each.of('a', 0, name) == each.of('b', 0, name) == pytest.approx(best(network, of(seen, [name])),
                                                                              abs=0.02)
    assert once.label == f"net, shrunk {once.of('a', 0, 'clean'):.2f}"
    assert each.label == 'net, shrunk per degradation' and 'noise:10 ' in each.note
    assert once.fitted_on == f'{other} (2 images × 2 degradations)' and once.base.kind == 'bilinear'


def test_on_several_folders(network, tmp_path):
    measured = open_sets([folder(tmp_path / 'a', (1,))], ['clean'], [], [], [], 4, 0)
    others = [folder(tmp_path / name, (seed,)) for name, seed in (('b', 2), ('c', 3))]
    seen = open_sets(others, ['clean'], [], [], [], 4, 0)
    rows = rows_of(network, measured, *others)
    assert list(rows) == [ONCE], 'with one degradation, both ways are the same'
    assert rows[ONCE].of('a', 0, 'clean') == pytest.approx(best(network, of(seen)), abs=0.02)


def test_on_the_other_sets_of_its_kind(network, tmp_path):
    folders = [folder(tmp_path / name, seeds) for name, seeds in (('a', (1, 2)), ('b', (3, 4)), ('c', (5,)))]
    both = [pairs(tmp_path / name, seeds) for name, seeds in (('real', (6, 7)), ('more', (8,)))]
    sets = open_sets(folders, NAMES, both, [], ['real', 'more'], 4, 0)
    rows = rows_of(network, sets, 'sets')
    for one in sets:
        others = [other for other in sets if other is not one and type(other) is type(one)]
        assert rows[ONCE].of(one.name, 0, one.degradations[0]) == pytest.approx(best(network, of(others)), abs=0.02)
    assert rows[ONCE].label.count('–') == 1
    assert rows[PER_DEGRADATION].of('real', 1, 'as given') == rows[ONCE].of('real', 0, 'as given')


def test_on_the_other_half(network, tmp_path):
    sets = open_sets([], [], [pairs(tmp_path / 'real', range(5))], [], ['real'], 4, 0)
    row = rows_of(network, sets, 'halves')[ONCE]
    halves = [[sets[0].pair(place) for place in range(start, 5, 2)] for start in (0, 1)]
    for place in range(5):
        assert row.of('real', place, 'as given') == pytest.approx(best(network, halves[1 - place % 2]), abs=0.02)
    assert [part['half'] for part in row.described['alphas']] == [1, 2]


def test_pairs_get_the_alpha_of_all_degradations(network, tmp_path):
    """A folder has no degradation like that of real pairs; the grid of the table stays whole."""
    sets = open_sets([folder(tmp_path / 'a', (1,))], NAMES, [pairs(tmp_path / 'real', (2,))], [], ['real'], 4, 0)
    rows = rows_of(network, sets, folder(tmp_path / 'other', (3,)))
    assert {way: row.of('real', 0, 'as given') for way, row in rows.items()} == dict.fromkeys(
        rows, rows[ONCE].of('a', 0, 'clean'))
    assert ' (that of all degradations)' in rows[PER_DEGRADATION].note
    only = rows_of(network, sets[1:], str(tmp_path / 'other'))
    assert list(only) == [ONCE] and '(1 image × 8 degradations)' in only[ONCE].fitted_on


def test_by_hand_nothing_is_fitted(network, tmp_path):
    sets = open_sets([folder(tmp_path / 'a', (1,))], NAMES, [], [], [], 4, 0)
    fit = Fit(Control.parse('shrink:0.125'), [network], sets, Settings())
    [row] = fit.run()
    assert row.label == 'net, shrunk 0.125' and row.of('a', 0, 'clean') == 0.125 and row.fitted_on is None
    assert 'given by hand' in row.note


@pytest.mark.parametrize(('text', 'fit_on', 'message'), [
    ('shrinkage', None, "'shrinkage' is not known; write shrink"),
    ('', None, "'' is not known"),
    ('shrink:', None, 'from 0 to 2'),
    ('shrink:2.01', None, 'from 0 to 2'),
    ('shrink:-0.1', None, 'from 0 to 2'),
    ('shrink:nan', None, 'from 0 to 2'),
    ('shrink:half', None, 'from 0 to 2'),
    ('shrink:0.5', ['sets'], 'nothing is fitted'),
    (None, ['sets'], 'give --control'),
    ('shrink', ['sets', 'halves'], "'sets' stands alone"),
    ('shrink', ['my photographs', 'halves'], r"'halves' stands alone; .* \(a folder of this name: ./halves\)"),
])
def test_what_is_asked_for(text, fit_on, message):
    with pytest.raises(UserError, match=message):
        Control.parse(text, fit_on)


def test_images_are_never_fitted_on_and_measured(network, tmp_path):
    measured = folder(tmp_path / 'a', (1, 2))
    sets = open_sets([measured], NAMES, [], [], [], 4, 0)
    (tmp_path / 'copy').mkdir()
    Image.open(Path(measured) / '2.png').save(tmp_path / 'copy' / 'renamed.bmp')
    with pytest.raises(UserError, match=r'renamed.bmp is the same image as .*2.png, which is measured'):
        rows_of(network, sets, str(tmp_path / 'copy'))
    twice = open_sets([measured, str(tmp_path / 'copy')], NAMES, [], [], [], 4, 0)
    with pytest.raises(UserError, match='is the same image as'):
        rows_of(network, twice, 'sets')
    Image.open(Path(measured) / '2.png').save(tmp_path / 'a' / '1b.png')
    with pytest.raises(UserError, match='is the same image as'):
        rows_of(network, open_sets([measured], NAMES, [], [], [], 4, 0), 'halves')


@pytest.mark.parametrize(('fit_on', 'message'), [
    ('sets', 'a is the only set of GT images; give another, or --fit_on halves'),
    ('halves', 'a has 1 image; it needs two'),
    ('empty', 'no image in this folder'),
    ('gone', 'no such folder'),
])
def test_without_images_to_fit_on(network, tmp_path, monkeypatch, fit_on, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=message):
        rows_of(network, open_sets([folder(tmp_path / 'a', (1,))], NAMES, [], [], [], 4, 0), fit_on)


def test_a_network_may_not_be_called_as_a_shrunk_row(network, tmp_path):
    sets = open_sets([folder(tmp_path / 'a', (1,))], NAMES, [], [], [], 4, 0)
    with pytest.raises(UserError, match='may be the name of a shrunk row'):
        Fit(Control(), [network, replace(network, label='net, shrunk 0.50')], sets, Settings())
