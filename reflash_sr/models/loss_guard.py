"""The losses between two log lines: their mean, and the first iteration with a loss that is not finite."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from reflash_sr.errors import RunError


class LossGuard:
    """Keeps losses on their device, so that no training step waits for the device.

    Args:
        remembered: Number of iterations whose file names are kept; at least the interval between two checks.
    """

    def __init__(self, remembered: int):
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0
        self._first_bad: dict[str, torch.Tensor] = {}
        self._batches: deque[tuple[int, list[str]]] = deque(maxlen=remembered)

    @torch.no_grad()
    def add(self, losses: Mapping[str, torch.Tensor], iteration: int, paths: Sequence[str]) -> None:
        """Add the losses of one iteration.

        Args:
            losses: Loss terms by name, scalars.
            iteration: Number of the iteration, from 1.
            paths: Files of the batch.
        """
        self._batches.append((iteration, list(paths)))
        self._count += 1
        for name, loss in losses.items():
            loss = loss.detach().float().mean()
            self._sums[name] = self._sums.get(name, 0) + loss
            bad = torch.where(torch.isfinite(loss), torch.inf, float(iteration))
            self._first_bad[name] = torch.minimum(self._first_bad.get(name, bad), bad)

    def check(self) -> None:
        """Check all losses so far; waits for the device.

        Raises:
            RunError: A loss was not finite; names the term, the iteration and the files of its batch.
        """
        for name, first in self._first_bad.items():
            iteration = float(first)
            if iteration != float('inf'):
                paths = next((paths for number, paths in self._batches if number == int(iteration)), [])
                raise RunError(f'{name} was not finite at iteration {int(iteration)}; its batch: {", ".join(paths)}. '
                               'Nothing was saved since, so the last checkpoint is intact. Check these files, lower '
                               'the learning rate, or try amp: ~')

    def means(self) -> dict[str, torch.Tensor]:
        """Return the mean of every term since the last call, as scalars on their device, and reset the sums."""
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means

    def window(self) -> dict[str, Any]:
        """Return the losses since the last call of :meth:`means`: ``sums`` by name, on the CPU, and ``count``."""
        return {'sums': {name: total.cpu() for name, total in self._sums.items()}, 'count': self._count}

    def continue_window(self, window: Mapping[str, Any], device: torch.device | str = 'cpu') -> None:
        """Continue between two log lines: move the result of :meth:`window` to the device of the next losses."""
        self._sums = {name: total.to(device) for name, total in window['sums'].items()}
        self._count = window['count']


def shares(windows: Sequence[Mapping[str, Any]], processes: int) -> list[dict[str, Any]]:
    """Distribute saved windows, one per process, over another number of processes, so that the mean stays the same."""
    if len(windows) == processes:
        return [dict(window) for window in windows]
    sums = {name: sum(window['sums'][name] for window in windows) / len(windows) for name in windows[0]['sums']}
    return [{'sums': dict(sums), 'count': windows[0]['count']} for _ in range(processes)]
