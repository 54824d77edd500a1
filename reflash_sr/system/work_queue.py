"""Work that the processes of a run take from a common queue: none waits while another has a long share left."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

from torch import distributed
from tqdm import tqdm

from reflash_sr.errors import UserError
from reflash_sr.system import processes

Item = TypeVar('Item')
_stores: dict[object, distributed.Store] = {}  # by the default group, of which there is one at a time


class Queue(Generic[Item]):
    """Items of work, each given to the first process that is free.

    All processes make it and iterate over it, with the same items; without a distributed run, all items are given here.

    Args:
        items: The work, in the order in which it is begun.

    Raises:
        UserError: The processes have lists of different lengths.
    """

    def __init__(self, items: Sequence[Item]):
        self.items = items
        self.taken = 0  # by all processes, as far as this one knows
        self._store: distributed.Store | None = None
        if distributed.is_initialized():
            if len(set(processes.gather(len(items)))) > 1:  # and no process begins before all have made their list
                raise UserError('the processes of this run see different files; give them one file system')
            self._store = _shared_store()
            self._key = f'queue {processes.on_rank_0(lambda: self._store.add("queues", 1))}'  # type: ignore[union-attr]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        while True:
            place = self.taken if self._store is None else self._store.add(self._key, 1) - 1
            self.taken = min(place + 1, len(self.items))
            if place >= len(self.items):
                return
            yield self.items[place]

    def close(self) -> None:
        """Give out nothing more, to no process."""
        self.taken = len(self.items)
        if self._store is not None:
            self._store.add(self._key, len(self.items))


def progress(queue: Queue[Item], what: str, show: bool = True, **bar: Any) -> Iterator[Item]:
    """Iterate over a queue with a progress bar, which counts what all processes have taken.

    Args:
        queue: The queue.
        what: What is being done.
        show: Whether to show a bar, if this is a terminal.
        **bar: Further arguments of ``tqdm``.
    """
    with tqdm(total=len(queue), desc=what, unit='image', disable=None if show else True, **bar) as shown:
        for item in queue:
            yield item
            shown.update(queue.taken - shown.n)
        shown.update(queue.taken - shown.n)


def _shared_store() -> distributed.Store:
    """Numbers that all processes see, kept by rank 0; all of them make it together."""
    default = distributed.group.WORLD
    if default not in _stores:
        _stores.clear()
        host = os.environ.get('MASTER_ADDR') or socket.gethostname()

        def serve() -> int:
            store = distributed.TCPStore(host, 0, is_master=True, wait_for_workers=False)
            _stores[default] = store
            return store.port

        port = processes.on_rank_0(serve)
        if processes.rank() > 0:
            _stores[default] = distributed.TCPStore(host, port, is_master=False)
    return _stores[default]
