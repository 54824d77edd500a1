"""Features that need not fit into memory: written to a file sample by sample, read back column by column."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator

import numpy as np
import torch

from reflash_sr.analysis.pca import block_width
from reflash_sr.errors import RunError, UserError

# A file is read in these types; bfloat16, which NumPy does not know, travels as integers of its size.
_STORED = {torch.float32: torch.float32, torch.float16: torch.float16, torch.bfloat16: torch.int16}


class FeatureFile:
    """The flattened features of n samples, in a temporary file without a name.

    The file takes n · d · 4 bytes (half of that for 16-bit features, which are kept as they are). It lies block after
    block, each block (n, columns), so that writing goes through it once and reading a block is one read. Memory: one
    batch of features while writing, one block while reading. The system drops the file when it is closed, also when the
    process is killed.

    Args:
        samples: n.
        folder: Where the file is to lie. Default: the system's folder for temporary files.

    Attributes:
        samples: n.
        size: d; 0 before the first batch.

    Raises:
        UserError: The folder is missing or not writable.
    """

    def __init__(self, samples: int, folder: str | os.PathLike | None = None):
        self.samples = samples
        self.size = 0
        self._folder = folder or tempfile.gettempdir()
        self._width = block_width(samples)
        self._dtype = torch.float32
        self._written = 0
        try:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115  (closed by close)
        except OSError as error:
            raise UserError(f'{self._folder}: cannot hold a temporary file ({error.strerror}); give another folder as '
                            'scratch') from error

    def append(self, features: torch.Tensor) -> None:
        """Write the features of the next samples.

        Args:
            features: (B, C, H, W) or (B, …), of any floating type, on any device. The order of features within a sample
                does not matter to a PCA: (B, C, H, W) is kept channels last, as it lies in memory already.

        Raises:
            UserError: The disk has no room for the features of all samples.
            RunError: It was filled by others meanwhile.
            ValueError: More samples than announced, or of another size than those before.
        """
        if features.dim() == 4:
            features = features.permute(0, 2, 3, 1)
        features = features.detach().reshape(len(features), -1).cpu()
        if not self.size:
            self._open(features)
        if features.shape[1] != self.size or self._written + len(features) > self.samples:
            raise ValueError(f'{tuple(features.shape)} features after {self._written} of {self.samples} × {self.size}')
        features = features.to(self._dtype).view(_STORED[self._dtype])
        try:
            for begin, offset, columns in self._places():
                part = np.ascontiguousarray(features[:, begin:begin + columns].numpy())
                self._file.seek(offset + self._written * columns * part.itemsize)
                _write(self._file, part)
        except OSError as error:
            raise RunError(f'{self._folder}: features cannot be written ({error.strerror}); give a folder on a larger '
                           'disk as scratch') from error
        self._written += len(features)

    def blocks(self) -> Iterator[np.ndarray]:
        """Read all features.

        Yields:
            (n, columns) float32, of all columns in turn.
        """
        if self._written != self.samples:
            raise ValueError(f'features of {self._written} samples, not of {self.samples}')
        for _, offset, columns in self._places():
            raw = torch.empty(self.samples, columns, dtype=_STORED[self._dtype])
            self._file.seek(offset)
            _read(self._file, raw.numpy())
            yield raw.view(self._dtype).float().numpy()

    def close(self) -> None:
        """Drop the file."""
        self._file.close()

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self, features: torch.Tensor) -> None:
        self.size = features.shape[1]
        self._dtype = features.dtype if features.dtype in _STORED else torch.float32
        needed, free = self.samples * self.size * self._dtype.itemsize, shutil.disk_usage(self._folder).free
        if needed > free:
            raise UserError(f'{self._folder}: the features take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; '
                            'give a folder on a larger disk as scratch, or fewer or smaller samples')

    def _places(self) -> Iterator[tuple[int, int, int]]:
        """First column, place in the file and columns of each block."""
        for begin in range(0, self.size, self._width):
            yield (begin, begin * self.samples * self._dtype.itemsize, min(self._width, self.size - begin))


def _write(file: tempfile._TemporaryFileWrapper, values: np.ndarray) -> None:
    left = memoryview(values).cast('B')
    while left:  # a raw file may take less than it is given
        left = left[file.write(left):]


def _read(file: tempfile._TemporaryFileWrapper, values: np.ndarray) -> None:
    left = memoryview(values).cast('B')
    while left:
        got = file.readinto(left)
        if not got:
            raise RunError('the temporary file of features ends early; start again')
        left = left[got:]
