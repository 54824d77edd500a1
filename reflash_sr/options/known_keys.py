"""Tables of the keys that may stand in an option file, and what their values may be."""

from __future__ import annotations

import re

from basicsr.models import lr_scheduler

from reflash_sr.options.rules import (
    ANY,
    BOOL,
    COUNT,
    INT,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_INT,
    SECTION,
    TEXT,
    TEXT_OR_NONE,
    Rule,
    is_int,
    is_number,
    one_of,
    up_to,
)

NAME = Rule('a name without slashes, of at most 100 letters',
            lambda v: isinstance(v, str) and bool(re.fullmatch(r'[^/\\\0]{1,100}', v)) and v.strip('.') != '')
# BasicSR's files write '!!float 5e3' for counts.
WHOLE = Rule('a whole number above 0', lambda v: is_number(v) and 0 < v < 2**31 and v == int(v))
NUM_GPU = Rule('auto or a whole number, 0 or above', lambda v: v == 'auto' or (is_int(v) and v >= 0))
SECTION_OR_NONE = Rule(SECTION.wanted + ' or ~', lambda v: v is None or isinstance(v, dict))
WORKERS = Rule('a whole number, 0 to 512', lambda v: is_int(v) and 0 <= v <= 512)
NAME_OR_NONE = Rule('a name without slashes or ~', lambda v: v is None or NAME.holds(v))
POSITIVE_OR_NONE = Rule('a number above 0 or ~', lambda v: v is None or POSITIVE.holds(v))
INT_OR_NONE = Rule('a whole number above 0 or ~', lambda v: v is None or POSITIVE_INT.holds(v))
SHARE = Rule('a number in [0, 1)', lambda v: is_number(v) and 0 <= v < 1)
COUNTS = Rule('a list of whole numbers above 0',
              lambda v: isinstance(v, list) and len(v) > 0 and all(is_int(one) and one > 0 for one in v))
NUMBERS = Rule('a list of numbers, 0 or above',
               lambda v: isinstance(v, list) and len(v) > 0 and all(is_number(one) and one >= 0 for one in v))
NETWORKS = Rule('a network or a list of networks, such as network_g, or ~',
                lambda v: v is None or all(isinstance(one, str) for one in (v if isinstance(v, list) else [v])))
WINDOW = Rule('a whole number, 1 to 64, or ~', lambda v: v is None or (is_int(v) and 0 < v <= 64))
RATIO = Rule('a number above 0, at most 64', lambda v: is_number(v) and 0 < v <= 64)
DEPTHS = Rule('a list of whole numbers, 1 to 1000',
              lambda v: isinstance(v, list) and 0 < len(v) <= 100 and all(is_int(one) and 0 < one <= 1000 for one in v))
SIDES = Rule('one or two whole numbers, 1 to 1024',
             lambda v: all(is_int(one) and 0 < one <= 1024 for one in (v if isinstance(v, list) else [v])))

TOP = {
    'name': NAME, 'model_type': TEXT, 'scale': up_to(16), 'num_gpu': NUM_GPU, 'manual_seed': COUNT,
    'datasets': SECTION, 'path': SECTION_OR_NONE, 'train': SECTION, 'val': SECTION_OR_NONE, 'logger': SECTION,
    'dist_params': SECTION, 'find_unused_parameters': BOOL, 'study': SECTION,
}  # yapf: disable
SECTIONS = {
    'path': {
        'resume_state': TEXT_OR_NONE, 'ignore_resume_networks': NETWORKS, 'experiments_root': ANY, 'results_root': ANY,
    },
    'train': {
        'total_iter': WHOLE, 'warmup_iter': INT, 'ema_decay': SHARE, 'optim_g': SECTION, 'scheduler': SECTION,
        'pixel_opt': SECTION_OR_NONE, 'perceptual_opt': SECTION_OR_NONE, 'grad_clip': POSITIVE_OR_NONE,
        'accumulate': POSITIVE_INT, 'detect_anomaly': BOOL,
    },
    'val': {
        'val_freq': WHOLE, 'save_img': BOOL, 'suffix': NAME_OR_NONE, 'metrics': SECTION_OR_NONE, 'pbar': BOOL,
        'keep_best': BOOL,
    },
    'logger': {
        'print_freq': WHOLE, 'save_checkpoint_freq': WHOLE, 'use_tb_logger': BOOL, 'wandb': SECTION_OR_NONE,
        'keep_last': INT_OR_NONE,
        'save_format': one_of('pth', 'safetensors'),
    },
    'dist_params': {'backend': one_of('nccl', 'gloo'), 'port': up_to(65535), 'timeout': POSITIVE},
}  # yapf: disable
# Of these, what ReflashSRModel alone does; BasicSR's models would pass over it in silence.
OURS = {'train': ('grad_clip', 'accumulate', 'detect_anomaly'), 'val': ('keep_best',),
        'logger': ('keep_last', 'save_format')}  # yapf: disable
NETWORK_PATHS = {'pretrain_network_': TEXT_OR_NONE, 'param_key_': TEXT_OR_NONE, 'strict_load_': BOOL}
DATASET = {
    'name': TEXT, 'type': TEXT, 'scale': up_to(16), 'phase': TEXT, 'dataroot_gt': TEXT, 'dataroot_lq': TEXT,
    'io_backend': SECTION, 'num_worker_per_gpu': WORKERS, 'batch_size_per_gpu': up_to(65536),
    'total_batch_size': up_to(65536), 'dataset_enlarge_ratio': POSITIVE, 'use_shuffle': BOOL, 'pin_memory': BOOL,
    'persistent_workers': BOOL, 'prefetch_mode': one_of(None, 'cpu', 'cuda'), 'num_prefetch_queue': up_to(1024),
}  # yapf: disable
# Arguments of networks, losses, metrics, optimisers and schedulers that their classes do not check, or check too late.
ARGUMENTS = {
    'num_in_ch': up_to(4096), 'num_out_ch': up_to(4096), 'num_feat': up_to(16384), 'num_block': up_to(1000),
    'num_grow_ch': up_to(16384), 'embed_dim': up_to(16384), 'window_size': WINDOW, 'in_chans': up_to(4096),
    'img_size': SIDES, 'patch_size': up_to(64), 'depths': DEPTHS, 'num_heads': DEPTHS, 'upscale': up_to(16),
    'mlp_ratio': RATIO, 'loss_weight': NOT_NEGATIVE, 'crop_border': COUNT, 'test_y_channel': BOOL,
    'input_order': one_of('HWC', 'CHW'), 'better': one_of('higher', 'lower'), 'lr': NOT_NEGATIVE,
    'eta_min': NOT_NEGATIVE, 'weight_decay': NOT_NEGATIVE, 'periods': COUNTS, 'milestones': COUNTS, 'gamma': POSITIVE,
    'restart_weights': NUMBERS,
}  # yapf: disable
NOT_FOR_SR = ('Optimizer', 'LBFGS', 'SparseAdam')  # the base class; needs a closure; needs sparse gradients
REQUIRED = {'name': 'a name for the run', 'model_type': 'ReflashSRModel', 'scale': 'the factor, such as 4',
            'datasets': 'the data', 'network_g': 'the network'}  # yapf: disable
SCHEDULERS = {name: cls for name, cls in vars(lr_scheduler).items() if name.endswith('RestartLR')}
SCHEDULERS['MultiStepLR'] = SCHEDULERS['MultiStepRestartLR']
# What Real-ESRGAN's option files have at the top and what is not simply a key of the data here.
REAL_ESRGAN = {'queue_size': 'take it away: every sample is degraded on its own'} | dict.fromkeys(
    ('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm'), 'write gt_usm under datasets: train, for the whole run')
# Models that give a network an image and take one; others of BasicSR give it a clip, a latent or a pair.
IMAGE_MODELS = ('ReflashSRModel', 'SRModel', 'SwinIRModel', 'RealESRNetModel')
