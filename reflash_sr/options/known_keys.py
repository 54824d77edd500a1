"""Tables of the keys of an option file, with a rule for each value."""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from basicsr.models import lr_scheduler

from reflash_sr.options.value_rules import (
    BOOL,
    COUNT,
    DROP_RATE,
    INT,
    NOT_NEGATIVE,
    NUMBERS,
    POSITIVE,
    POSITIVE_INT,
    SECTION,
    TEXT,
    TEXT_OR_NONE,
    Rule,
    list_of,
    one_of,
    or_none,
    up_to,
)

NAME = Rule('a name without slashes, of at most 100 letters',
            lambda v: isinstance(v, str) and bool(re.fullmatch(r'[^/\\\0]{1,100}', v)) and v.strip('.') != '')
# BasicSR's files write '!!float 5e3' for counts.
WHOLE = Rule('a whole number above 0', lambda v: POSITIVE.holds(v) and v < 2**31 and v == int(v))
NUM_GPU = Rule('auto or a whole number, 0 or above', lambda v: v == 'auto' or COUNT.holds(v))
COUNTS = list_of(POSITIVE_INT, 'whole numbers above 0, or of the word total_iter')
DEPTHS = list_of(up_to(1000), 'whole numbers, 1 to 1000', most=100)
NETWORKS = Rule('a network or a list of networks, such as network_g, or ~',
                lambda v: v is None or all(isinstance(one, str) for one in (v if isinstance(v, list) else [v])))
SIDES = Rule('one or two whole numbers, 1 to 1024',
             lambda v: all(map(up_to(1024).holds, v if isinstance(v, list) else [v])))
RATIO = Rule('a number above 0, at most 64', lambda v: POSITIVE.holds(v) and v <= 64)
SECTION_OR_NONE = or_none(SECTION)
# BasicSR overwrites these, so that a folder in the file would be silently ignored.
BELOW = Rule('~ (results go to experiments/ and results/ below the working directory)', lambda v: v is None)
ENLARGE = Rule('a number above 0, or auto', lambda v: v == 'auto' or POSITIVE.holds(v))
# The datasets of this package have a rule of their own for dataroot_gt.
ONE_FOLDER = Rule('one folder (only the datasets of this package take a list, in dataroot_gt)', TEXT.holds)

TOP = {
    'name': NAME, 'model_type': TEXT, 'scale': up_to(16), 'num_gpu': NUM_GPU, 'manual_seed': or_none(COUNT),
    'datasets': SECTION, 'path': SECTION_OR_NONE, 'train': SECTION, 'val': SECTION_OR_NONE, 'logger': SECTION,
    'dist_params': SECTION_OR_NONE, 'find_unused_parameters': BOOL, 'study': SECTION, 'allow_tf32': BOOL,
    'deterministic': BOOL,
}  # yapf: disable
REQUIRED = {'name': 'a name for the run', 'model_type': 'ReflashSRModel', 'scale': 'the factor, such as 4',
            'datasets': 'the data', 'network_g': 'the network'}  # yapf: disable
# Keys at the top of option files of other projects, which have the sections of BasicSR's, but not its classes.
OTHER_PROJECTS = dict.fromkeys(('netG', 'gpu_ids'), 'KAIR') | dict.fromkeys(
    ('use_amp', 'use_channels_last', 'fast_matmul', 'use_compile'), 'traiNNer-redux and neosr')
SECTIONS = {
    'path': {
        'resume_state': TEXT_OR_NONE, 'ignore_resume_networks': NETWORKS,
        'experiments_root': BELOW, 'results_root': BELOW,
    },
    'train': {
        'total_iter': WHOLE, 'warmup_iter': INT, 'ema_decay': replace(DROP_RATE, wanted='a number in [0, 1)'),
        'optim_g': SECTION, 'scheduler': SECTION, 'pixel_opt': SECTION_OR_NONE, 'perceptual_opt': SECTION_OR_NONE,
        'align_opt': SECTION_OR_NONE,
        'grad_clip': or_none(POSITIVE), 'accumulate': POSITIVE_INT, 'detect_anomaly': BOOL,
    },
    'val': {
        'val_freq': WHOLE, 'save_img': BOOL, 'suffix': or_none(NAME), 'metrics': SECTION_OR_NONE, 'pbar': BOOL,
        'keep_best': BOOL, 'tile': or_none(COUNT), 'tile_overlap': COUNT, 'at_start': BOOL, 'amp': one_of('bf16', None),
        'strips': COUNT, 'strip_degradations': or_none(list_of(TEXT, 'names of degradations')),
    },
    'logger': {
        'print_freq': WHOLE, 'save_checkpoint_freq': WHOLE, 'use_tb_logger': BOOL, 'wandb': SECTION_OR_NONE,
        'keep_last': or_none(POSITIVE_INT), 'save_format': one_of('pth', 'safetensors'),
    },
    'dist_params': {'backend': one_of('nccl', 'gloo'), 'port': up_to(65535), 'timeout': POSITIVE},
}  # yapf: disable
# Keys that only ReflashSRModel reads; BasicSR's models would silently ignore them.
OURS = {'train': ('grad_clip', 'accumulate', 'detect_anomaly', 'align_opt'),
        'val': ('keep_best', 'tile', 'tile_overlap', 'at_start', 'strips', 'strip_degradations'),
        'logger': ('keep_last', 'save_format')}  # yapf: disable
NETWORK_PATHS = {'pretrain_network_': TEXT_OR_NONE, 'param_key_': TEXT_OR_NONE, 'strict_load_': BOOL}
DATASET = {
    'name': TEXT, 'type': TEXT, 'scale': up_to(16), 'phase': TEXT, 'dataroot_gt': ONE_FOLDER, 'dataroot_lq': ONE_FOLDER,
    'io_backend': SECTION, 'num_worker_per_gpu': up_to(512, least=0), 'batch_size_per_gpu': up_to(65536),
    'total_batch_size': up_to(65536), 'dataset_enlarge_ratio': ENLARGE, 'use_shuffle': BOOL, 'pin_memory': BOOL,
    'persistent_workers': BOOL, 'prefetch_mode': one_of(None, 'cpu', 'cuda'), 'num_prefetch_queue': up_to(1024),
}  # yapf: disable
# Arguments of networks, losses, metrics, optimisers and schedulers; their classes do not check them, or too late.
ARGUMENTS = {
    'num_in_ch': up_to(4096), 'num_out_ch': up_to(4096), 'num_feat': up_to(16384), 'num_block': up_to(1000),
    'num_grow_ch': up_to(16384), 'embed_dim': up_to(16384), 'window_size': or_none(up_to(64)), 'in_chans': up_to(4096),
    'img_size': SIDES, 'patch_size': up_to(64), 'depths': DEPTHS, 'num_heads': DEPTHS, 'upscale': up_to(16),
    'mlp_ratio': RATIO, 'loss_weight': NOT_NEGATIVE, 'crop_border': COUNT, 'test_y_channel': BOOL,
    'input_order': one_of('HWC', 'CHW'), 'better': one_of('higher', 'lower'), 'lr': NOT_NEGATIVE,
    'eta_min': NOT_NEGATIVE, 'weight_decay': NOT_NEGATIVE, 'periods': COUNTS, 'milestones': COUNTS, 'gamma': POSITIVE,
    'restart_weights': NUMBERS,
}  # yapf: disable
NOT_FOR_SR = ('Optimizer', 'LBFGS', 'SparseAdam')  # the base class; needs a closure; needs sparse gradients
BASICSR_SCHEDULERS = {name: cls for name, cls in vars(lr_scheduler).items() if name.endswith('RestartLR')}
BASICSR_SCHEDULERS['MultiStepLR'] = BASICSR_SCHEDULERS['MultiStepRestartLR']
# Schedulers of torch that an option file can describe: without functions, other schedulers or a measured value.
SCHEDULERS = BASICSR_SCHEDULERS | {name: getattr(torch.optim.lr_scheduler, name) for name in (
    'ConstantLR', 'CosineAnnealingLR', 'CosineAnnealingWarmRestarts', 'CyclicLR', 'ExponentialLR', 'LinearLR',
    'OneCycleLR', 'PolynomialLR', 'StepLR')}
# Keys that stand in published option files of BasicSR and Real-ESRGAN, although the class does not read them.
UNREAD = {'RealESRGANDataset': ('gt_size',), 'Vimeo90KRecurrentDataset': ('interval_list',),
          'VideoTestVimeo90KDataset': ('padding',), 'REDSRecurrentDataset': ('dataroot_flow',)}  # yapf: disable
UNREAD_AT_TOP = ('crop_border', 'save_img', 'suffix', 'print_network')
# Keys at the top of Real-ESRGAN's option files that cannot be moved under datasets: train as they are.
REAL_ESRGAN = {'queue_size': 'remove it: every sample is degraded on its own'} | dict.fromkeys(
    ('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm'), 'write gt_usm under datasets: train, for the whole run')
# Models whose network maps one image to one image; other models of BasicSR use a clip, a latent code or a pair.
IMAGE_MODELS = ('ReflashSRModel', 'SRModel', 'SwinIRModel', 'RealESRNetModel')
GAN_MODELS = ('SRGANModel', 'ESRGANModel', 'RealESRGANModel')  # likewise, with a discriminator
# Keys, as section:key, that change neither the weights nor the measured values of a run.
WITHOUT_EFFECT = re.compile(
    r'logger:(?!save_format).+|dist_params:.+|find_unused_parameters|train:detect_anomaly|'
    r'val:(pbar|save_img|suffix|keep_best|at_start|strips|strip_degradations)|'
    r'datasets:[^:]+:(num_worker_per_gpu|pin_memory|persistent_workers|prefetch_mode|num_prefetch_queue|'
    r'use_shuffle|dataset_enlarge_ratio)')
