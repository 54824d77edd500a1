"""BasicSR's ways of fetching batches in advance (``prefetch_mode``), with the errors of the data and in safe memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from basicsr.data import prefetch_dataloader


class PrefetchGenerator(prefetch_dataloader.PrefetchGenerator):
    """Raises an error of the data where the batch is asked for; BasicSR's thread ends, and the run waits forever."""

    def run(self) -> None:
        """Fetch batches into the queue."""
        try:
            super().run()
        except Exception as error:
            self.queue.put(error)

    def __next__(self) -> Any:
        batch = super().__next__()
        if isinstance(batch, Exception):
            raise batch
        return batch


class CUDAPrefetcher:
    """Copies the next batch to the GPU while the present one is in use (``prefetch_mode: cuda``).

    BasicSR's does not tell CUDA's allocator which stream reads a batch. When the batch is freed, the next copy may take
    its memory while the network still reads it.

    Args:
        loader: Gives batches: mappings whose tensors are in pinned memory.
        opt: Options of the run, which BasicSR passes.
    """

    def __init__(self, loader: Iterable, opt: Any = None):
        self._loader = loader
        self._stream = torch.cuda.Stream()
        self._batches: Iterator = iter(())
        self._ahead: Any = None

    def reset(self) -> None:
        """Begin the data again."""
        self._batches = iter(self._loader)
        self._fetch()

    def next(self) -> Any:
        """The next batch, on the GPU; None after the last. Raises the error of the data that came instead of it."""
        batch, reader = self._ahead, torch.cuda.current_stream()
        if isinstance(batch, Exception):
            raise batch
        if batch is not None:
            reader.wait_stream(self._stream)
            for value in batch.values():
                if isinstance(value, torch.Tensor):
                    value.record_stream(reader)
            self._fetch()
        return batch

    def _fetch(self) -> None:
        try:
            batch = next(self._batches, None)
        except Exception as error:  # after the batches before it
            batch = error
        if isinstance(batch, dict):
            with torch.cuda.stream(self._stream):
                batch = {key: value.to('cuda', non_blocking=True) if isinstance(value, torch.Tensor) else value
                         for key, value in batch.items()}
        self._ahead = batch
