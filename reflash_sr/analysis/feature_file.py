"""A temporary file for features larger than memory: written sample by sample, read column by column."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from reflash_sr.analysis.pca import block_width
from reflash_sr.errors import RunError, UserError

# The type in the file; NumPy has no bfloat16, so these values are stored as integers of the same size.
_STORED = {torch.float32: torch.float32, torch.float16: torch.float16, torch.bfloat16: torch.int16}


class FeatureFile:
    """The flattened features of n samples, in a temporary file without a name.

    The file takes n · d · 4 bytes, half of that for 16-bit features. It holds blocks of columns, (n, columns) each, so
    a block is one read. Memory: one batch of features while writing, one block while reading. The system removes the
    file when it is closed, also when the process is killed.

    A memory map would count as memory of the process, and a full disk would kill the process.

    Args:
        samples: n.
        folder: Folder for the file. Default: the system's folder for temporary files.

    Attributes:
        samples: n.
        size: d; 0 before the first batch.

    Raises:
        UserError: The folder is missing or not writable.
    """

    def __init__(self, samples: int, folder: str | os.PathLike | None = None):
        self.samples = samples
        self.size = 0
        self._folder = Path(folder or tempfile.gettempdir())
        self._dtype = torch.float32
        self._written = 0
        try:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  (closed by __exit__)
        except OSError as error:
            raise UserError(f'{self._folder}: cannot hold a temporary file ({error.strerror}); give another folder as '
                            'scratch') from error

    def append(self, features: torch.Tensor) -> None:
        """Write the features of the next samples.

        Args:
            features: (B, C, H, W) or (B, …), of any floating type, on any device. (B, C, H, W) is written channels
                last, as it is in memory: a PCA does not depend on the order of features within a sample.

        Raises:
            UserError: The disk has no room for the features of all samples.
            RunError: Other programs have filled the disk.
            ValueError: Too many samples, or samples of another size than those before.
        """
        if features.dim() == 4:
            features = features.permute(0, 2, 3, 1)
        features = features.detach().reshape(len(features), -1).cpu()
        if not self.size:
            self._open(features)
        if features.shape[1] != self.size or self._written + len(features) > self.samples:
            raise ValueError(f'{tuple(features.shape)} features after {self._written} of {self.samples} × {self.size}')
        values = features.to(self._dtype).view(_STORED[self._dtype]).numpy()
        try:
            for begin, end in self._columns():
                part = np.ascontiguousarray(values[:, begin:end])
                self._file.seek((begin * self.samples + self._written * (end - begin)) * part.itemsize)
                self._file.write(part.data)
            self._file.flush()
        except OSError as error:
            raise RunError(f'{self._folder}: features cannot be written ({error.strerror}); give a folder on a larger '
                           'disk as scratch') from error
        self._written += len(features)

    def blocks(self) -> Iterator[np.ndarray]:
        """Read all features.

        Yields:
            (n, columns) float32: block after block.
        """
        if self._written != self.samples:
            raise ValueError(f'features of {self._written} samples, not of {self.samples}')
        self._file.seek(0)
        for begin, end in self._columns():
            raw = torch.empty(self.samples, end - begin, dtype=_STORED[self._dtype])
            if self._file.readinto(raw.numpy().data) != raw.nbytes:
                raise RunError('the temporary file of features ends early; start again')
            yield raw.view(self._dtype).float().numpy()

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # append has already reported a full disk
            self._file.close()

    def _open(self, features: torch.Tensor) -> None:
        self.size = features.shape[1]
        self._dtype = features.dtype if features.dtype in _STORED else torch.float32
        needed, free = self.samples * self.size * self._dtype.itemsize, shutil.disk_usage(self._folder).free
        if needed > free:
            raise UserError(f'{self._folder}: the features take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; '
                            'give a folder on a larger disk as scratch, or fewer or smaller samples')

    def _columns(self) -> Iterator[tuple[int, int]]:
        """Begin and end (exclusive) of each block of columns."""
        width = block_width(self.samples)
        for begin in range(0, self.size, width):
            yield begin, min(begin + width, self.size)
