"""Sections of option files for BasicSR's datasets, with the images that they name."""

from pathlib import Path

from PIL import Image

from tests.conftest import smooth_image


def save_images(folder, sizes, names=None):
    """Make a folder of smooth random images of these heights and widths, ``0.png``, ``1.png``, … or ``names``."""
    Path(folder).mkdir(parents=True)
    for i, (height, width) in enumerate(sizes):
        Image.fromarray(smooth_image(i, height, width)).save(Path(folder, names[i] if names else f'{i}.png'))


def paired(root, gt, lq, lq_names=None, **more):
    """A ``PairedImageDataset`` whose images have these heights and widths."""
    save_images(f'{root}/gt', gt)
    save_images(f'{root}/lq', lq, lq_names)
    return {'type': 'PairedImageDataset', 'dataroot_gt': f'{root}/gt', 'dataroot_lq': f'{root}/lq',
            'io_backend': {'type': 'disk'}, **more}


def single(root, sizes, **more):
    """A ``SingleImageDataset``, which has no GT."""
    save_images(root, sizes)
    return {'type': 'SingleImageDataset', 'dataroot_lq': root, 'io_backend': {'type': 'disk'}, **more}
