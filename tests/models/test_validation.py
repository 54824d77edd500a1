"""What validation measures: with a GT, without, and with both."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from basicsr.data import build_dataset
from basicsr.metrics import calculate_niqe
from PIL import Image
from torch.nn import functional as F

from reflash_sr import cli
from reflash_sr.models.validation import Validation, value_of
from tests.image_sets import paired, single

NIQE = {'type': 'calculate_niqe', 'crop_border': 4}
PSNR = {'type': 'calculate_psnr', 'crop_border': 4}

pytestmark = pytest.mark.usefixtures('in_tmp_path')


class Nearest:
    """A model that repeats pixels."""

    def feed_data(self, data):
        self.lq = data['lq']

    def test(self):
        self.output = F.interpolate(self.lq, scale_factor=4)


def validate(opt, sections, metrics):
    opt['datasets'] = {f'val_{i}': {'name': f'set {i}', 'phase': 'val', 'scale': 4, **section}
                       for i, section in enumerate(sections)}
    opt['val']['metrics'] = metrics
    validation, means, scalars = Validation(opt), {}, {}
    validation.on_means = lambda iteration, values: means.update(values)
    logger = SimpleNamespace(add_scalar=lambda name, value, iteration: scalars.update({name: value}))
    for section in opt['datasets'].values():
        validation.run(Nearest(), build_dataset(section), 5, logger, save_img=True)
    path = validation.table_path(5)
    return pd.read_csv(path) if path.is_file() else None, means, scalars


def test_niqe_of_images_without_gt_is_that_of_basicsr_in_table_and_tensorboard(opt):
    table, means, scalars = validate(opt, [single('images', [(64, 64), (64, 70)])], {'niqe': dict(NIQE)})
    saved = sorted(Path(opt['path']['visualization']).rglob('*_5.png'))
    wanted = np.mean([calculate_niqe(np.asarray(Image.open(path))[..., ::-1], 4) for path in saved])
    row = table[table.method == 'network'].iloc[0]
    assert row.value == pytest.approx(wanted, abs=1e-5)
    assert row.images == 2
    assert means['niqe'] == pytest.approx(wanted)
    assert scalars['niqe/set 0/as given'] == pytest.approx(wanted)
    bicubic = [np.asarray(Image.open(f'images/{i}.png')) for i in (0, 1)]
    bicubic = [Image.fromarray(lq).resize((lq.shape[1] * 4, 256), Image.Resampling.BICUBIC) for lq in bicubic]
    wanted = np.mean([calculate_niqe(np.asarray(one)[..., ::-1], 4) for one in bicubic])
    assert table[table.method == 'bicubic'].value.item() == pytest.approx(wanted, abs=1e-5)


def test_with_and_without_gt_each_metric_is_measured_where_it_can_be(opt, capsys):
    sections = [single('images', [(64, 64)]), paired('pairs', [(256, 256)], [(64, 64)])]
    table, means, _ = validate(opt, sections, {'psnr': dict(PSNR), 'niqe': {**NIQE, 'better': 'lower'}})
    found = {(row.method, row.dataset, row.metric) for row in table.itertuples()}
    assert found == {(method, *rest) for method in ('network', 'bicubic')
                     for rest in (('set 0', 'niqe'), ('set 1', 'niqe'), ('set 1', 'psnr'))}
    assert means.keys() == {'psnr', 'niqe'}


def test_a_metric_that_nothing_could_be_measured_with_is_said(opt, monkeypatch):
    said = []
    monkeypatch.setattr('reflash_sr.models.validation.get_root_logger',
                        lambda: SimpleNamespace(warning=lambda text, *args: said.append(text % args)))
    table, _, _ = validate(opt, [single('images', [(16, 16)])], {'psnr': dict(PSNR)})
    assert table is None
    assert said == ['val: metrics: psnr: is not measured, because no validation set has a GT']


@pytest.mark.filterwarnings('error')
def test_an_image_without_structure_has_no_niqe_and_ends_no_run():
    assert np.isnan(value_of(NIQE, np.full((256, 256, 3), 128, np.uint8), None))


def test_training_keeps_the_weights_of_the_lowest_niqe(training_options):
    training_options['datasets']['val'] = single('images', [(64, 64)])
    training_options['val'].update(metrics={'niqe': dict(NIQE)}, keep_best=True)
    Path('x.yml').write_text(yaml.safe_dump(training_options), encoding='utf-8')
    assert cli.main(['train', '-opt', 'x.yml']) == 0
    values = {i: pd.read_csv(f'experiments/tiny/validation/iter_{i}.csv').value[0] for i in (3, 6)}
    best = torch.load('experiments/tiny/models/net_g_best_niqe.pth', weights_only=True)['trained']
    assert best['iter'] == min(values, key=values.get)
    assert best['value'] == pytest.approx(min(values.values()), abs=1e-5)
