"""Option files of Real-ESRGAN and of the paper's authors, written anew: the same keys, small values."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

KERNELS = ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
# At the top of a file, read by the models
FIRST = {'resize_prob': [0.3, 0.6, 0.1], 'resize_range': [0.5, 1.4], 'gaussian_noise_prob': 0.6, 'noise_range': [2, 20],
         'poisson_scale_range': [0.1, 2], 'gray_noise_prob': 0.3, 'jpeg_range': [40, 90]}
SECOND = {'second_blur_prob': 0.7, 'resize_prob2': [0.2, 0.5, 0.3], 'resize_range2': [0.6, 1.1],
          'gaussian_noise_prob2': 0.4, 'noise_range2': [1, 15], 'poisson_scale_range2': [0.06, 2],
          'gray_noise_prob2': 0.2, 'jpeg_range2': [50, 95]}
# In the section of the training set
BLUR = {'blur_kernel_size': 13, 'kernel_list': KERNELS, 'kernel_prob': [0.4, 0.2, 0.1, 0.1, 0.1, 0.1], 'sinc_prob': 0.2,
        'blur_sigma': [0.3, 2], 'betag_range': [0.6, 3], 'betap_range': [1, 1.5]}
BLUR2 = {'blur_kernel_size2': 11, 'kernel_list2': KERNELS, 'kernel_prob2': [0.3, 0.3, 0.1, 0.1, 0.1, 0.1],
         'sinc_prob2': 0.3, 'blur_sigma2': [0.3, 1.2], 'betag_range2': [0.7, 2], 'betap_range2': [1, 1.8]}
LOADER = {'use_hflip': True, 'use_rot': False, 'use_shuffle': True, 'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2,
          'dataset_enlarge_ratio': 1, 'prefetch_mode': None}
ADAM = {'type': 'Adam', 'lr': 1e-4, 'weight_decay': 0, 'betas': [0.9, 0.99]}
L1 = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}
METRICS = {'psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': False}}
RRDB = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}
SRRESNET = {'type': 'MSRResNet_details', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 2, 'upscale': 4}
UNET = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4, 'skip_connection': True}
VGG = {'type': 'PerceptualLoss', 'vgg_type': 'vgg19',
       'layer_weights': {'conv1_2': 0.1, 'conv2_2': 0.1, 'conv3_4': 1, 'conv4_4': 1, 'conv5_4': 1},
       'use_input_norm': True, 'perceptual_weight': 1.0, 'style_weight': 0, 'range_norm': False, 'criterion': 'l1'}
GAN = {'type': 'GANLoss', 'gan_type': 'vanilla', 'real_label_val': 1.0, 'fake_label_val': 0.0, 'loss_weight': 0.1}
BENCHMARKS = [f'{name}_{degradation}' for degradation in ('bicubic', 'blur2_bicubic') for name in ('Set5', 'Set14')]


def own(values: dict[str, Any]) -> dict[str, Any]:
    """A copy in which no two sections are one object."""
    return json.loads(json.dumps(values))


def pairs(lq: str, gt: str, name: str = 'validation') -> dict[str, Any]:
    return {'name': name, 'type': 'PairedImageDataset', 'dataroot_gt': gt, 'dataroot_lq': lq,
            'io_backend': {'type': 'disk'}}


def real_esrgan(roots: dict[str, str], name: str, scale: int, network: dict[str, Any], gan: bool = False,
                given: bool = False, netd: bool = False, **top: Any) -> dict[str, Any]:
    """A training file; ``given`` pairs, a ``gan``, weights of its discriminator (``netd``), other values at the top."""
    usm = {'l1_gt_usm': True, 'percep_gt_usm': True, 'gan_gt_usm': False} if gan else {'gt_usm': True}
    source = {'dataroot_gt': roots['gt'], **({'dataroot_lq': roots['lq']} if given else {}),
              'meta_info': roots['pairs' if given else 'list'], 'io_backend': {'type': 'disk'}}
    data = {'name': 'DF2K+OST', 'type': 'RealESRGANPairedDataset' if given else 'RealESRGANDataset', **source,
            **({} if given else {**BLUR, **BLUR2, 'final_sinc_prob': 0.7}), 'gt_size': 32, **LOADER}
    path = {'pretrain_network_g': None, 'param_key_g': 'params_ema', 'strict_load_g': True, 'resume_state': None}
    path |= {'pretrain_network_d': None, 'param_key_d': 'params', 'strict_load_d': True} if netd else {}
    train = {'ema_decay': 0.999, 'optim_g': ADAM, 'scheduler': {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5},
             'total_iter': 2, 'warmup_iter': -1, 'pixel_opt': L1}
    train |= {'optim_d': ADAM, 'perceptual_opt': VGG, 'gan_opt': GAN, 'net_d_iters': 1,
              'net_d_init_iters': 0} if gan else {}
    return own({
        'name': name, 'model_type': 'RealESRGANModel' if gan else 'RealESRNetModel', 'scale': scale, 'num_gpu': 'auto',
        'manual_seed': 0, **usm,
        **({'high_order_degradation': False} if given else {**FIRST, **SECOND, 'gt_size': 32, 'queue_size': 4}),
        'datasets': {'train': data}, 'network_g': network, **({'network_d': UNET} if gan else {}),
        'path': path, 'train': train,
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 5e3, 'use_tb_logger': False,
                   'wandb': {'project': None, 'resume_id': None}},
        'dist_params': {'backend': 'nccl', 'port': 29500},
        **top,
    })  # yapf: disable


def authors_train(roots: dict[str, str], network: dict[str, Any]) -> dict[str, Any]:
    """A training file of the paper's authors: Real-ESRGAN's, with a validation and for two GPUs."""
    opt = real_esrgan(roots, 'train_Real', 4, network, num_gpu=2, val={'val_freq': 2.0, 'save_img': True,
                                                                       'metrics': METRICS})
    opt['datasets']['val'] = pairs(roots['val_lq'], roots['val_gt'])
    opt['train']['scheduler'] = {'type': 'CosineAnnealingRestartLR', 'periods': [2, 4], 'restart_weights': [1, 1]}
    return opt


def authors_test(roots: dict[str, str], network: dict[str, Any]) -> dict[str, Any]:
    """A test file of the paper's authors; theirs has 40 sets."""
    sets = {f'test_{i:02}': pairs(roots['val_lq'], roots['val_gt'], name) for i, name in enumerate(BENCHMARKS, 1)}
    return own({
        'name': 'test_Real', 'model_type': 'SRModel', 'scale': 4, 'num_gpu': 1, 'manual_seed': 0, 'network_g': network,
        'path': {'pretrain_network_g': roots['weights'], 'strict_load_g': True},
        'val': {'save_img': True, 'suffix': None, 'metrics': METRICS}, 'datasets': sets,
    })  # yapf: disable


DETAILS = {**SRRESNET, 'num_block': 16}  # the number of blocks of MSRResNet_details is fixed
FILES: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
    'train_realesrnet_x4plus': lambda at: real_esrgan(at, 'net_x4', 4, RRDB),
    'train_realesrnet_x2plus': lambda at: real_esrgan(at, 'net_x2', 2, {**RRDB, 'scale': 2}),
    'train_realesrnet_x1': lambda at: real_esrgan(at, 'net_x1', 1, {**RRDB, 'scale': 1}),
    'train_realesrgan_x4plus': lambda at: real_esrgan(at, 'gan_x4', 4, RRDB, gan=True),
    'train_realesrgan_x2plus': lambda at: real_esrgan(at, 'gan_x2', 2, {**RRDB, 'scale': 2}, gan=True),
    'finetune_realesrgan_x4plus': lambda at: real_esrgan(at, 'tune', 4, RRDB, gan=True, netd=True),
    'finetune_realesrgan_x4plus_pairdata': lambda at: real_esrgan(at, 'pairs', 4, RRDB, gan=True, netd=True,
                                                                  given=True),
    'train_realsrresnet': lambda at: authors_train(at, {**DETAILS, 'type': 'MSRResNet_detailss'}),
    'train_realsrresnet_withdropout': lambda at: authors_train(
        at, {**DETAILS, 'type': 'MSRResNet_details_dropoutlast_channel07'}),
    'train_realrrdbnet': lambda at: authors_train(at, RRDB),
    'train_realrrdbnet_withdropout': lambda at: authors_train(at, {**RRDB, 'type': 'RRDBNet_dropoutlast_channel05'}),
    'test_realsrresnet': lambda at: authors_test(at, DETAILS),
    'test_realsrresnet_withdropout': lambda at: authors_test(at, DETAILS),
    'test_realrrdbnet': lambda at: authors_test(at, RRDB),
    'test_realrrdbnet_withdropout': lambda at: authors_test(at, RRDB),
}
TRAINING = [name for name in FILES if not name.startswith('test_')]
GANS = [name for name in TRAINING if 'gan' in name]
