"""What RealESRNetModel, RealESRGANModel and BasicSR's GANs would find only in the first steps, on a GPU."""

import pytest
import torch
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN

from reflash_sr.errors import UserError
from reflash_sr.training.check_gan import check_gan, check_real_esrgan, check_sample
from tests.options.real_esrgan_files import FILES, GANS, TRAINING


def options(name='train_realesrgan_x4plus', **changes):
    class Paths(dict):
        __missing__ = staticmethod(str)

    opt = {**FILES[name](Paths()), 'is_train': True, **changes}
    opt['datasets']['train'].update(phase='train', scale=opt['scale'])
    return opt


@pytest.mark.parametrize('name', TRAINING)
def test_the_published_files_pass(name):
    check_real_esrgan(options(name))
    check_gan(options(name))


@pytest.mark.parametrize(('changes', 'message'), [
    ({'queue_size': 5}, 'queue_size: 5 is not a multiple of batch_size_per_gpu, 2; write 6'),
    ({'gt_size': 34}, 'gt_size: 34 px is not a multiple of the scale, 4'),
    ({'gt_size': 404}, 'gt_size: 404 px is larger than the crop of RealESRGANDataset, 400 px'),
    ({'gt_size': 33, 'scale': 3}, '400 px is not a multiple of the scale, 3'),
    ({'noise_range': 'wide'}, r'noise_range: must be two numbers .*, not .wide'),
    ({'gt_size': None}, 'gt_size: must be a whole number'),
    ({'high_order_degradation': True, 'kind': 'PairedImageDataset'}, 'PairedImageDataset lacks the kernels'),
])
@pytest.mark.parametrize('name', ['train_realesrnet_x4plus', 'train_realesrgan_x4plus'])
def test_sizes_and_values_that_break_the_first_step_are_named(name, changes, message):
    opt = options(name, **changes)
    opt['datasets']['train']['type'] = changes.get('kind', 'RealESRGANDataset')
    with pytest.raises(UserError, match=message) as told:
        check_real_esrgan(opt)
    assert '\n' not in str(told.value)


@pytest.mark.parametrize(('name', 'key'), [
    *(('train_realesrnet_x4plus', key) for key in ('gt_usm', 'gt_size', 'resize_prob', 'jpeg_range2')),
    *(('train_realesrgan_x4plus', key) for key in ('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm', 'second_blur_prob')),
    ('finetune_realesrgan_x4plus_pairdata', 'l1_gt_usm')])
def test_keys_that_their_models_need_at_the_top_are_named(name, key):
    opt = options(name)
    del opt[key]
    with pytest.raises(UserError, match=f'{key}: is missing; RealESR.*Model reads it at the top'):
        check_real_esrgan(opt)


def test_testing_needs_none_of_it():
    opt = {'model_type': 'RealESRGANModel', 'is_train': False, 'datasets': {'test': {}}}
    check_real_esrgan(opt)
    check_gan(opt)


@pytest.mark.parametrize('model', ['SRGANModel', 'ESRGANModel', 'RealESRGANModel'])
@pytest.mark.parametrize(('section', 'key', 'value', 'message'), [
    (None, 'network_d', None, 'network_d: is missing; .* trains a discriminator'),
    ('train', 'optim_d', None, 'train: optim_d: is missing'),
    ('train', 'gan_opt', None, 'train: gan_opt: is missing'),
    (None, 'network_d', {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4, 'input_size': 128},
     r'network_d, for GT patches of 32 px: .*128|network_d, for GT patches of 32 px: .*input_size'),
    (None, 'network_d', {'type': 'UNetDiscriminatorSN', 'num_in_ch': 1}, 'network_d, for GT patches of 32 px: '),
    ('train', 'gan_opt', {'type': 'GANLoss', 'gan_type': 'best'}, 'train: gan_opt: GANLoss does not accept'),
    ('train', 'optim_d', {'type': 'Adam', 'lr': 1e-4, 'betas': [2, 2]}, 'train: optim_d: Adam does not accept'),
])
def test_a_discriminator_that_cannot_train_is_named(model, section, key, value, message):
    opt = options(model_type=model)
    (opt[section] if section else opt)[key] = value
    with pytest.raises(UserError, match=message) as told:
        check_gan(opt)
    assert '\n' not in str(told.value)


def test_weights_of_another_discriminator_are_refused(tmp_path):
    opt = options(GANS[2])
    for feat in (4, 8):
        torch.save({'params': UNetDiscriminatorSN(3, feat).state_dict()}, tmp_path / f'{feat}.pth')
    opt['path']['pretrain_network_d'] = str(tmp_path / '4.pth')
    check_gan(opt)
    opt['path']['pretrain_network_d'] = str(tmp_path / '8.pth')
    with pytest.raises(UserError, match=r'8\.pth'):
        check_gan(opt)


@pytest.mark.parametrize(('model', 'given', 'message'), [
    ('ReflashSRModel', ('lq',), 'gives no GT image, which ReflashSRModel needs'),
    ('SRModel', ('gt', 'kernel1'), 'gives no LQ image'), ('SRGANModel', (), 'gives no GT and no LQ image'),
    ('RealESRNetModel', ('lq',), 'gives no GT image'), ('RealESRNetModel', ('gt', 'kernel1'), None),
    ('SRModel', ('gt', 'lq'), None), ('SomebodysModel', (), None)])
def test_a_training_set_without_the_images_of_its_model_is_refused(model, given, message):
    sample = dict.fromkeys(given, torch.zeros(1))
    if message is None:
        return check_sample({'model_type': model}, sample)
    with pytest.raises(UserError, match=message):
        check_sample({'model_type': model}, sample)
