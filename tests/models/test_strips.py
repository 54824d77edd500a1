"""Crops side by side at the end of a run: which images, what they show, and that they survive an interruption."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from reflash_sr import cli
from reflash_sr.evaluation.detail_crop import crop_box
from reflash_sr.evaluation.metrics import bicubic_upscale
from reflash_sr.figures import draw_strips
from reflash_sr.models.strips import Strips, make_row, row_name
from tests.conftest import smooth_image

pytestmark = pytest.mark.usefixtures('in_tmp_path')


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn: rows by figure."""
    found = {}
    monkeypatch.setattr(draw_strips, 'draw_strips', lambda rows, path, title: found.update({Path(path): rows}))
    return found


def train(options, *more, **val):
    options['val'] |= val
    Path('x.yml').write_text(yaml.safe_dump(options), encoding='utf-8')
    return cli.main(['train', '-opt', 'x.yml', *more])


def images(height=40, width=56, scale=4, channels=3):
    gt = smooth_image(0, height, width)[..., :channels]
    lq = np.ascontiguousarray(gt[::scale, ::scale])
    return {'GT': gt, 'LQ': lq, 'bicubic': bicubic_upscale(lq, scale), 'network': 255 - gt}


@pytest.mark.parametrize('channels', [1, 3])
def test_all_columns_show_the_same_part_of_the_image(channels):
    row = make_row(0, 'a', images(channels=channels), {'network': '30.00 dB'})
    assert [(column.head, column.caption) for column in row.columns] == [
        ('GT', ''), ('LQ', ''), ('bicubic', ''), ('network', '30.00 dB')]
    gt, lq, _, network = (column.crop for column in row.columns)
    assert {column.crop.shape for column in row.columns} == {(40, 40, 3)}
    assert np.array_equal(network, 255 - gt)
    assert np.array_equal(lq[::4, ::4], gt[::4, ::4])
    whole = images(channels=channels)['GT'].repeat(3 // channels, 2)
    assert np.array_equal(gt, whole[crop_box(whole, 4)])


def test_without_a_gt_the_other_columns_are_shown():
    row = make_row(0, 'a', {**images(), 'GT': None}, {})
    assert [column.head for column in row.columns] == ['LQ', 'bicubic', 'network']


def test_the_first_images_of_a_dataset_under_the_chosen_degradations_at_both_ends_of_the_run(opt):
    opt['val'] |= {'strips': 2, 'strip_degradations': ['noise']}
    strips, names = Strips(opt), ['clean', 'noise']
    dataset = SimpleNamespace(degradations=names)
    wanted = [place for place in range(8) if strips.wants(dataset, place, names[place % 2], 6)]
    assert wanted == [1, 3]
    assert [place for place in range(4) if strips.wants(object(), place, 'as given', 6)] == [0, 1]
    assert [step for step in (0, 3, 6) if strips.wants(dataset, 1, 'noise', step)] == [0, 6]
    assert not Strips({**opt, 'val': {}}).wants(dataset, 0, 'clean', 6)


def test_rows_are_named_by_image_and_degradation():
    assert row_name(['photos/a b.png'], 'b+n') == 'b+n, a b'
    assert row_name(['photos/a b.png'], 'as given') == 'a b'


def test_a_figure_stands_beside_the_last_table_and_the_log_says_where(training_options, image_folder):
    assert train(training_options, strips=2, at_start=True, strip_degradations=['b+n']) == 0
    folder = Path('experiments/tiny/validation')
    assert {path.name for path in folder.iterdir()} == {
        'iter_0.csv', 'iter_3.csv', 'iter_6.csv', 'iter_6_val.png', 'start_crops.npz'}
    assert Image.open(folder / 'iter_6_val.png').width > 1000
    log = next(Path('experiments/tiny').glob('train*.log')).read_text(encoding='utf-8')
    assert log.count('Crops side by side: experiments/tiny/validation/iter_6_val.png') == 1


def test_the_start_is_shown_after_a_resume_and_is_not_the_network(training_options, drawn):
    training_options['train']['optim_g']['lr'] = 0.05
    training_options['val'] |= {'strips': 1, 'at_start': True}
    training_options['train']['total_iter'] = 3
    assert train(training_options) == 0
    training_options['train']['total_iter'] = 6
    assert train(training_options, '--auto_resume') == 0
    assert [path.name for path in drawn] == ['iter_3_val.png', 'iter_6_val.png']
    first, last = drawn.values()
    assert [name for name, _ in last] == ['clean, a 1', 'b+n, a 1']
    for (_, before), (_, cells) in zip(first, last):
        assert [head for head, _, _ in cells] == ['GT', 'LQ', 'bicubic', 'start', 'network']
        assert all(caption.endswith(' dB') for head, _, caption in cells[2:])
        assert np.array_equal(before[3][1], cells[3][1])
        assert before[3][2] == cells[3][2]
        assert not np.array_equal(cells[3][1], cells[4][1])


@pytest.mark.parametrize('kept', [None, b'damaged', b'', b'PK\x03\x04 cut off'])
def test_without_its_crops_the_start_is_left_out_and_that_is_said(kept, training_options, drawn):
    training_options['val'] |= {'strips': 1, 'at_start': True}
    training_options['train']['total_iter'] = 3
    assert train(training_options) == 0
    crops = Path('experiments/tiny/validation/start_crops.npz')
    crops.unlink() if kept is None else crops.write_bytes(kept)
    training_options['train']['total_iter'] = 6
    assert train(training_options, '--auto_resume') == 0
    assert [head for head, _, _ in drawn[Path('experiments/tiny/validation/iter_6_val.png').absolute()][0][1]] == [
        'GT', 'LQ', 'bicubic', 'network']
    said = ''.join(path.read_text(encoding='utf-8') for path in Path('experiments/tiny').glob('train*.log'))
    assert 'val: strips: val: the start of the run is not shown, because its crops are not in' in said


@pytest.mark.parametrize(('val', 'message'), [
    ({'strips': 2, 'strip_degradations': ['nois']},
     "strip_degradations: 'nois' is in no validation set; known: b+n, clean"),
    ({'strip_degradations': ['clean']}, 'val: strip_degradations: needs strips, the number of images'),
    ({'strips': 1, 'metrics': None}, 'val: strips: needs val: metrics; write it, or remove strips'),
    ({'strips': -1}, 'val: strips: must be a whole number, 0 or above'),
])
def test_strips_that_cannot_be_drawn_are_one_line(val, message, training_options, capfd):
    assert train(training_options, **val) == 2
    error = capfd.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert message in error
    assert not Path('experiments').exists()
