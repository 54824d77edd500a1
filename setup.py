"""Packaging of reflash-sr."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (HERE / 'reflash_sr' / '__init__.py').read_text(encoding='utf-8'))[1]
SHIPPED = ('options/*.yml', 'docs/evidence/weights/*.pth')  # a wheel has them in reflash_sr/shipped


class BuildWithShippedFiles(build_py):
    """Puts the option files and the small weights of the repository into the wheel (``reflash-sr options DIR``)."""

    def run(self):
        super().run()
        if self.editable_mode:
            return  # the repository itself is there
        target = Path(self.build_lib, 'reflash_sr', 'shipped')
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for path in (path for pattern in SHIPPED for path in sorted(HERE.glob(pattern))):
            shutil.copyfile(path, target / path.name)


setup(
    name='reflash-sr',
    version=VERSION,
    description='Dropout for image super-resolution: a BasicSR plugin for "Reflash Dropout in Image Super-Resolution"',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['reflash_sr', 'reflash_sr.*']),
    package_data={'reflash_sr': ['commands/*.j2', 'py.typed']},
    cmdclass={'build_py': BuildWithShippedFiles},
    py_modules=['install_basicsr'],
    python_requires='>=3.10',
    classifiers=[f'Programming Language :: Python :: 3.{minor}' for minor in range(10, 15)],
    install_requires=[
        'basicsr>=1.4.2; python_version < "3.13"',  # later, its own build fails: install_basicsr.py
        'torch>=2.6; python_version < "3.14"',
        'torch>=2.9; python_version >= "3.14"',  # the first with wheels for it
        'torchvision',
        'numpy',
        'opencv-python',
        'pandas>=2.0',
        'pillow>=9.1',
        'pyyaml',
        'jinja2',
        'lmdb',
        'safetensors',
        'scipy',
        'scikit-image',
        'scikit-learn',
        'matplotlib>=3.6',
        'threadpoolctl',
        'tqdm',
        # BasicSR imports distutils, which Python dropped in 3.12, and tb-nightly imports pkg_resources, which
        # setuptools dropped in 82.
        'setuptools>=77,<82',
    ],
    extras_require={
        'test': ['pytest>=7', 'hypothesis', 'ruff', 'mypy', 'onnx', 'onnxscript', 'spandrel', 'submitit', 'nbclient',
                 'nbformat', 'ipykernel', 'tifffile'],
        'cluster': ['submitit'],
        'lpips': ['lpips'],
        'models': ['spandrel'],  # networks of other projects, recognised by their weights
    },
    entry_points={
        'console_scripts': ['basicsr = reflash_sr.cli:main', 'reflash-sr = reflash_sr.commands.console:main'],
        'basicsr.plugins': ['reflash_sr = reflash_sr'],
    },
)
