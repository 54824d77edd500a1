"""Metrics that cannot be measured on the validation sets are found before a run writes anything."""

import pytest
from basicsr.utils.registry import METRIC_REGISTRY

from reflash_sr.errors import UserError
from reflash_sr.training import preflight
from tests.image_sets import paired, single

PSNR = {'type': 'calculate_psnr', 'crop_border': 4}
NIQE = {'type': 'calculate_niqe', 'crop_border': 4}


@pytest.mark.parametrize('is_train', [True, False])
@pytest.mark.parametrize('model_type', ['ReflashSRModel', 'SRModel'])
def test_a_metric_that_needs_a_gt_is_refused_where_there_is_none(open_sets, is_train, model_type):
    section = single('images', [(64, 64)])
    with pytest.raises(UserError, match=r'val: metrics: psnr: calculate_psnr needs a GT, and datasets: \w+_0: has '
                                        'none; measure a metric without reference, such as calculate_niqe'):
        open_sets(section, metrics={'psnr': PSNR}, is_train=is_train, model_type=model_type)


def test_with_and_without_gt_each_metric_is_measured_where_it_can_be(open_sets, caplog):
    sets = single('images', [(64, 64)]), paired('pairs', [(256, 256)], [(64, 64)])
    metrics = {'psnr': dict(PSNR), 'niqe': dict(NIQE)}
    open_sets(*sets, metrics=metrics)
    assert 'val: metrics: psnr: is not measured on val_0, because there is no GT' in caplog.text
    with pytest.raises(UserError, match='psnr: calculate_psnr needs a GT'):  # BasicSR's model measures all on all
        open_sets(*sets, metrics=metrics, model_type='SRModel')


@pytest.mark.parametrize(('sizes', 'message'), [
    ([(64, 64)], None),
    ([(64, 64), (30, 40)], r'images of 160×120 px, such as images/1\.png \(it needs two blocks of 96×96'),
    ([(20, 300), (40, 40)], r'1200×80 px, such as images/0\.png'),
    ([(26, 200), (40, 40)], r'160×160 px, such as images/1\.png'),  # its shorter side is longer
])
def test_niqe_needs_images_of_two_blocks(open_sets, sizes, message):
    section = single('images', sizes)
    if message:
        with pytest.raises(UserError, match=f'val: metrics: niqe: .*{message}'):
            open_sets(section, metrics={'niqe': dict(NIQE)})
    else:
        open_sets(section, metrics={'niqe': dict(NIQE)})


def test_pairs_of_basicsr_are_measured_too(open_sets):
    with pytest.raises(UserError, match=r'ssim: does not accept images of 16×16 px, such as pairs/lq/0\.png'):
        open_sets(paired('pairs', [(16, 16)], [(4, 4)]), metrics={'ssim': {'type': 'calculate_ssim', 'crop_border': 4}})


def test_lower_niqe_is_better_and_other_metrics_must_say_it(open_sets, monkeypatch):
    section = paired('pairs', [(256, 256)], [(64, 64)])
    opt, _ = open_sets(section, metrics={'niqe': dict(NIQE), 'psnr': dict(PSNR)}, keep_best=True)
    assert [metric['better'] for metric in opt['val']['metrics'].values()] == ['lower', 'higher']
    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'theirs', lambda img, img2: 0)
    metrics = {'theirs': {'type': 'theirs'}}
    open_sets(section, metrics=metrics)
    with pytest.raises(UserError, match='val: metrics: theirs: better: is missing; write higher or lower'):
        open_sets(section, metrics=metrics, keep_best=True)


def test_half_a_validation_is_said(open_sets, caplog):
    opt, _ = open_sets()
    assert 'No validation: the option file has a section val, but no validation set under datasets' in caplog.text
    opt['datasets']['val'] = {**single('images', [(64, 64)]), 'phase': 'val', 'scale': 4}
    opt['val'] = None
    preflight.open_datasets(opt)
    assert 'No validation: the option file has no section val.' in caplog.text
