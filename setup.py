"""Packaging of reflash-sr."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = (HERE / 'reflash_sr' / 'version.py').read_text(encoding='utf-8').split("'")[1]

setup(
    name='reflash-sr',
    version=VERSION,
    description='Dropout for image super-resolution: a BasicSR plugin for "Reflash Dropout in Image Super-Resolution"',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['reflash_sr', 'reflash_sr.*']),
    # Not 3.13: BasicSR 1.4.2 is installed from source, and its own build fails there.
    python_requires='>=3.10,<3.13',
    install_requires=[
        'basicsr>=1.4.2',
        'torch>=2.6',
        'torchvision',
        'numpy',
        'opencv-python',
        'pillow>=9.1',
        'pyyaml',
        'safetensors',
        'scipy',
        'scikit-image',
        'scikit-learn',
        'matplotlib>=3.6',
        'tqdm',
        'setuptools; python_version >= "3.12"',  # BasicSR imports distutils, which Python dropped in 3.12
    ],
    extras_require={
        'test': ['pytest>=7', 'hypothesis', 'ruff', 'onnx', 'onnxscript', 'spandrel', 'submitit'],
        'cluster': ['submitit'],
        'lpips': ['lpips'],
    },
    entry_points={
        'console_scripts': ['basicsr = reflash_sr.cli:main'],
        'basicsr.plugins': ['reflash_sr = reflash_sr'],
    },
)
