"""Option files of Real-ESRGAN and of the paper's authors, with nothing changed but paths."""

import collections
import copy
import logging
from pathlib import Path

import pytest

from reflash_sr.data.training_degradation.second_order import DEFAULTS
from reflash_sr.errors import UserError
from reflash_sr.options import check_options as checks
from reflash_sr.options import option_file, real_esrgan
from tests.options.real_esrgan_files import BLUR, BLUR2, FILES, FIRST, GANS, SECOND, TRAINING

SHIPPED = Path(__file__).parents[2] / 'options'
NETS = [name for name in TRAINING if name not in GANS]
DEGRADATION = {**FIRST, **SECOND, **BLUR, **BLUR2, 'final_sinc_prob': 0.7}


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(real_esrgan.torch.cuda, 'is_available', lambda: True)


@pytest.fixture
def no_cuda(monkeypatch):
    monkeypatch.setattr(real_esrgan.torch.cuda, 'is_available', lambda: False)


@pytest.fixture
def notes(caplog):
    """What was logged."""
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def options(name, **changes):
    class Paths(dict):
        __missing__ = staticmethod(str)

    return {**FILES[name](Paths()), **changes}


def checked(opt):
    checks.check(opt, 'x.yml', is_train='train' in opt)
    return opt


@pytest.mark.parametrize('name', [name for name in FILES if name not in GANS])
def test_they_pass_without_cuda(no_cuda, name):
    checked(options(name))


@pytest.mark.parametrize('name', FILES)
def test_with_cuda_their_own_classes_run_and_nothing_is_moved(cuda, name):
    before = options(name)
    opt = checked(copy.deepcopy(before))
    for section in ('model_type', 'scale', 'num_gpu', 'path', *FIRST, *SECOND, 'queue_size', 'l1_gt_usm'):
        assert opt.get(section) == before.get(section)
    assert [data['type'] for data in opt['datasets'].values()] == [data['type'] for data in before['datasets'].values()]


@pytest.mark.parametrize('name', NETS)
def test_every_value_is_carried_over(no_cuda, name):
    assert not {key for key, value in DEGRADATION.items() if DEFAULTS[key] == value} - {'kernel_list', 'kernel_list2'}
    before = options(name)
    opt = checked(copy.deepcopy(before))
    data = opt['datasets']['train']
    assert (opt['model_type'], data['type']) == ('ReflashSRModel', 'RealDegradationDataset')
    assert {key: data[key] for key in DEGRADATION} == DEGRADATION
    assert data['gt_usm'] is True
    for key in ('gt_size', 'dataroot_gt', 'meta_info', 'use_hflip', 'use_rot', 'io_backend'):
        assert data[key] == before['datasets']['train'][key]
    for key in ('scale', 'manual_seed', 'dist_params'):
        assert opt[key] == before[key]
    for key, value in before['train'].items():
        assert opt['train'][key] == value


@pytest.mark.parametrize('key', sorted({**FIRST, **SECOND, 'gt_size': 32, 'gt_usm': True}))
def test_the_value_at_the_top_is_the_one_that_counts(no_cuda, notes, key):
    """Their models read it there, whatever the section of the dataset says."""
    opt = options('train_realesrnet_x4plus')
    opt['datasets']['train'][key] = 64 if key == 'gt_size' else None
    before = opt[key]
    assert checked(opt)['datasets']['train'][key] == before
    assert key in notes.text


def test_the_log_says_what_became_what(no_cuda, notes):
    checked(options('train_realrrdbnet'))
    assert 'model_type: RealESRNetModel → ReflashSRModel (no CUDA device)' in notes.text
    assert 'datasets: train: type: RealESRGANDataset → RealDegradationDataset' in notes.text
    assert 'from the top of the file to datasets: train: resize_prob, ' in notes.text
    assert 'left out: queue_size (every sample is degraded on its own)' in notes.text
    assert 'num_gpu: 2 × batch_size_per_gpu: 2 → total_batch_size: 4' in notes.text
    assert not any('\n' in record.getMessage() for record in notes.records)


def test_the_batch_of_several_gpus_is_kept(no_cuda):
    opt = checked(options('train_realrrdbnet'))
    assert opt['datasets']['train']['total_batch_size'] == 4
    assert opt['train']['accumulate'] == 2
    assert opt['num_gpu'] == 'auto'


@pytest.mark.parametrize('name', GANS)
def test_a_gan_without_cuda_is_refused_in_one_line(no_cuda, name):
    with pytest.raises(UserError, match=r'^x\.yml: model_type: RealESRGANModel needs a CUDA device.*ReflashSR') as told:
        checked(options(name))
    assert '\n' not in str(told.value)


@pytest.mark.parametrize('device', [{'num_gpu': 0}, {'device': 'cpu'}])
def test_a_user_of_a_gpu_may_ask_for_the_cpu(cuda, device):
    assert checked(options('train_realesrnet_x4plus', **device))['model_type'] == 'ReflashSRModel'


@pytest.mark.parametrize('machine', ['cuda', 'no_cuda'])
@pytest.mark.parametrize('name', TRAINING)
def test_the_user_may_ask_for_our_model_anywhere(request, notes, machine, name):
    request.getfixturevalue(machine)
    opt = options(name)
    if opt['model_type'] == 'RealESRGANModel':
        option_file.force(opt, ['train:perceptual_opt=~'])
    option_file.force(opt, ['model_type=ReflashSRModel'])
    data = checked(opt)['datasets']['train']
    assert data['type'] == ('SharpenedPairDataset' if 'pair' in name else 'RealDegradationDataset')
    assert not {'network_d', 'queue_size', 'high_order_degradation', 'percep_gt_usm'} & opt.keys()
    assert not {'optim_d', 'gan_opt'} & opt['train'].keys()
    if name in GANS:
        assert 'without a GAN loss' in notes.text
    else:
        assert {key: data[key] for key in DEGRADATION} == DEGRADATION


def test_a_target_that_is_not_sharpened(no_cuda, notes):
    opt = checked(options('train_realesrgan_x4plus', model_type='ReflashSRModel', l1_gt_usm=False))
    assert opt['datasets']['train']['gt_usm'] is False
    assert 'the LQ is made from the unsharpened GT, too' in notes.text
    opt = checked(options('finetune_realesrgan_x4plus_pairdata', model_type='ReflashSRModel', l1_gt_usm=False))
    assert opt['datasets']['train']['type'] == 'RealESRGANPairedDataset'


def test_pairs_of_realesrnet_are_taken_as_they_are(no_cuda, notes):
    """It sharpens what it degrades alone."""
    opt = options('finetune_realesrgan_x4plus_pairdata', model_type='RealESRNetModel', gt_usm=True)
    for section, keys in ((opt, ('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm')), (opt['train'], ('optim_d', 'gan_opt'))):
        for key in keys:
            del section[key]
    assert checked(opt)['datasets']['train']['type'] == 'RealESRGANPairedDataset'
    assert 'left out: gt_usm (the GT of pairs is taken as it is)' in notes.text


@pytest.mark.parametrize('machine', ['cuda', 'no_cuda'])
@pytest.mark.parametrize('name', NETS)
def test_a_file_without_pairs_that_asks_for_pairs_is_refused(request, machine, name):
    request.getfixturevalue(machine)
    with pytest.raises(UserError, match=r'RealESRGANDataset has no LQ images.*write type: RealESRGANPairedDataset'):
        checked(options(name, high_order_degradation=False))


@pytest.mark.parametrize('model', ['RealESRNetModel', 'RealESRGANModel'])
def test_testing_needs_no_cuda(no_cuda, notes, model):
    opt = checked(options('test_realrrdbnet', model_type=model, gt_usm=True, queue_size=180, resize_prob=[1, 1, 1]))
    assert opt['model_type'] == 'ReflashSRModel'
    assert 'left out: resize_prob (for training alone)' in notes.text


@pytest.mark.parametrize('machine', ['cuda', 'no_cuda'])
@pytest.mark.parametrize(('section', 'wrong', 'right'), [
    ((), 'resize_prb', 'resize_prob'), ((), 'queue_sise', 'queue_size'), (('datasets', 'train'), 'gt_sise', 'gt_size'),
    (('datasets', 'train'), 'sinc_prb2', 'sinc_prob2'), (('train',), 'totl_iter', 'total_iter')])
def test_misspelt_keys_are_still_refused(request, machine, section, wrong, right):
    request.getfixturevalue(machine)
    opt = options('train_realesrnet_x4plus')
    inner = opt
    for key in section:
        inner = inner[key]
    inner[wrong] = 1
    with pytest.raises(UserError, match=f"{wrong}: is not a known key; did you mean '{right}'"):
        checked(opt)


def test_our_own_files_are_left_alone(training_options, notes):
    before = copy.deepcopy(training_options)
    assert real_esrgan.translate(training_options, is_train=True) is None
    assert training_options == before
    assert not notes.records


@pytest.mark.parametrize('value', [None, [], {}, '', -1, 1e9, 'abc', True, [1], {'a': 1}], ids=str)
def test_any_value_passes_or_is_one_line(no_cuda, value):
    def places(section, path=()):
        for key, inner in section.items():
            yield (*path, key)
            yield from places(inner, (*path, key)) if isinstance(inner, dict) else ()

    for name in ('train_realrrdbnet', 'finetune_realesrgan_x4plus_pairdata'):
        whole = options(name, model_type='ReflashSRModel')
        for *path, last in places(whole):
            opt = copy.deepcopy(whole)
            inner = opt
            for key in path:
                inner = inner[key]
            inner[last] = value
            try:
                checked(opt)
            except UserError as error:
                assert str(error).startswith('x.yml: ')


def test_each_file_has_its_own_values():
    """Nothing is shared between the files, so that a test cannot change another one's."""
    ids = collections.Counter()

    def count(section):
        for inner in section.values():
            if isinstance(inner, (dict, list)):
                ids[id(inner)] += 1
                count(inner) if isinstance(inner, dict) else None

    opts = [options(name) for name in FILES]
    for opt in opts:
        count(opt)
    assert max(ids.values()) == 1


def test_the_recipe_for_a_gan_has_the_keys_of_their_files():
    """Its keys are those of the files to fine-tune from, so that a user finds each of them."""
    recipe = option_file.load(SHIPPED / 'finetune_gan_dropout.yml')
    theirs = options('finetune_realesrgan_x4plus')
    for section in ((), ('train',), ('path',), ('datasets', 'train'), ('network_d',)):
        ours, other = recipe, theirs
        for key in section:
            ours, other = ours[key], other[key]
        missing = other.keys() - ours.keys() - {'dist_params', 'dataset_enlarge_ratio', 'prefetch_mode', 'use_shuffle'}
        assert missing <= {'gt_size'}  # of the dataset, which does not read it


@pytest.mark.parametrize('machine', ['cuda', 'no_cuda'])
@pytest.mark.parametrize('model', ['SRModel', 'SRGANModel', 'SwinIRModel'])
def test_models_that_need_pairs_do_not_take_gt_alone(request, machine, model):
    request.getfixturevalue(machine)
    with pytest.raises(UserError, match=f'{model} needs LQ images, and RealESRGANDataset has none; write RealESRNet'):
        checked(options('train_realesrnet_x4plus', model_type=model))
