"""Given pairs with a sharpened GT."""

import torch
from basicsr.data.realesrgan_paired_dataset import RealESRGANPairedDataset
from basicsr.utils.img_process_util import USMSharp
from PIL import Image

from reflash_sr.data import SharpenedPairDataset
from tests.conftest import smooth_image


def test_the_gt_is_what_realesrgan_makes_of_it_on_a_gpu(tmp_path):
    Image.fromarray(smooth_image(0, 64, 96)).save(tmp_path / 'gt.png')
    Image.fromarray(smooth_image(0, 16, 24)).save(tmp_path / 'lq.png')
    (tmp_path / 'pairs.txt').write_text('gt.png, lq.png\n')
    opt = {'dataroot_gt': str(tmp_path), 'dataroot_lq': str(tmp_path), 'meta_info': str(tmp_path / 'pairs.txt'),
           'gt_size': 64, 'scale': 4, 'phase': 'train', 'use_hflip': False, 'use_rot': False}
    given = RealESRGANPairedDataset({**opt, 'phase': 'val', 'io_backend': {'type': 'disk'}})[0]
    ours = SharpenedPairDataset({**opt, 'phase': 'val', 'io_backend': {'type': 'disk'}})[0]
    assert torch.equal(ours['lq'], given['lq'])
    torch.testing.assert_close(ours['gt'], USMSharp()(given['gt'][None])[0], atol=1e-5, rtol=0)
    assert not torch.equal(ours['gt'], given['gt'])
    cropped = SharpenedPairDataset({**opt, 'io_backend': {'type': 'disk'}})[0]
    assert (cropped['gt'].shape, cropped['lq'].shape) == ((3, 64, 64), (3, 16, 16))
