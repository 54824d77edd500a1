"""BasicSR's thread that fetches batches in advance (``prefetch_mode: cpu``), with the errors of the data."""

from __future__ import annotations

from typing import Any

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
