"""The table of sets × degradations."""

import csv

from reflash_sr.evaluation.scores import MEAN, Cell, Score, format_table, mean_cells, write_csv


def scores():
    return [Score(method, 'Set5', degradation, image, 'psnr', value)
            for method, offset in (('network', 1.0), ('bicubic', 0.0))
            for degradation, base in (('clean', 28.0), ('b+n', 22.0))
            for image, value in (('a', base + offset - 0.5), ('b', base + offset + 0.5))]


def test_means_are_over_images():
    cells = mean_cells(scores())
    assert [(c.method, c.degradation, c.value, c.images) for c in cells] == [
        ('network', 'clean', 29.0, 2), ('network', 'b+n', 23.0, 2), ('bicubic', 'clean', 28.0, 2),
        ('bicubic', 'b+n', 22.0, 2)]  # yapf: disable


def test_table_has_a_row_per_method_a_column_per_degradation_and_the_mean():
    lines = format_table(mean_cells(scores()), 'psnr', 'dB').splitlines()
    assert lines[0] == 'psnr: dB'
    assert lines[1].split() == ['dataset', 'method', 'clean', 'b+n', 'mean']
    assert lines[2].split() == ['Set5', 'network', '29.00', '23.00', '26.00']
    assert lines[3].split() == ['Set5', 'bicubic', '28.00', '22.00', '25.00']


def test_sets_with_other_degradations_leave_gaps():
    more = [*scores(), Score('network', 'Real', 'as given', 'c', 'psnr', 20.0)]
    lines = format_table(mean_cells(more), 'psnr', 'dB').splitlines()
    assert lines[1].split() == ['dataset', 'method', 'clean', 'b+n', 'as', 'given', 'mean']
    assert lines[-1].split() == ['Real', 'network', '20.00', '20.00']


def test_csv_holds_every_cell(tmp_path):
    path = tmp_path / 'inner' / 'x.csv'
    write_csv(mean_cells(scores()), path)
    rows = list(csv.DictReader(path.open()))
    assert len(rows) == 4
    assert rows[0] == {'method': 'network', 'dataset': 'Set5', 'degradation': 'clean', 'metric': 'psnr',
                       'value': '29.000000', 'images': '2'}


def test_means_that_are_given_are_not_made_anew():
    cells = [*mean_cells(scores()), Cell('network', 'Set5', MEAN, 'psnr', 25.5, 1)]
    lines = format_table(cells, 'psnr', 'dB').splitlines()
    assert lines[1].split() == ['dataset', 'method', 'clean', 'b+n', 'mean']
    assert lines[2].split() == ['Set5', 'network', '29.00', '23.00', '25.50']
    assert lines[3].split() == ['Set5', 'bicubic', '28.00', '22.00', '25.00']
