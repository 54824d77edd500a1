"""Photographs inside installed packages, so that a first run needs no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from reflash_sr.errors import UserError

SCHEME = 'photos:'
_FOLDERS = {'skimage': 'data', 'sklearn': 'datasets/images', 'matplotlib': 'mpl-data/sample_data'}
# The scenes of the two validation photographs occur in no training photograph.
SETS = {
    'train': ('skimage/astronaut.png', 'skimage/brick.png', 'skimage/camera.png', 'skimage/cell.png',
              'skimage/coins.png', 'skimage/grass.png', 'skimage/gravel.png', 'skimage/hubble_deep_field.jpg',
              'skimage/ihc.png', 'skimage/moon.png', 'skimage/motorcycle_left.png', 'skimage/retina.jpg',
              'skimage/rocket.jpg', 'sklearn/china.jpg', 'sklearn/flower.jpg', 'matplotlib/grace_hopper.jpg'),
    'val': ('skimage/chelsea.png', 'skimage/coffee.png'),
}


def photo_paths(name: str = 'train') -> list[Path]:
    """List photographs inside scikit-image, scikit-learn and Matplotlib: 16 for ``'train'``, two others for ``'val'``.

    Raises:
        UserError: The name is not known, or a package or file is missing.
    """
    if name not in SETS:
        raise UserError(f"dataroot_gt: '{SCHEME}{name}' is not known; write {SCHEME}train or {SCHEME}val")
    paths = []
    for entry in SETS[name]:
        package, _, file = entry.partition('/')
        spec = importlib.util.find_spec(package)
        path = Path(spec.origin).parent / _FOLDERS[package] / file if spec and spec.origin else Path(package, file)
        if not path.is_file():
            raise UserError(f'{path}: this photograph of the package {package} is missing; reinstall the package')
        paths.append(path)
    return paths
