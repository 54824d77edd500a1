"""``prefetch_mode``: batches that are fetched in advance, by a thread or onto the GPU."""

import contextlib
import types

import pytest
import torch
from basicsr.data import prefetch_dataloader

from reflash_sr.compat import replaced
from reflash_sr.training.prefetch import CUDAPrefetcher, PrefetchGenerator


@pytest.mark.parametrize('workers', [0, 1])
def test_an_error_of_the_data_is_raised_after_the_batches_before_it(workers):
    """With BasicSR's own class, the test would wait forever."""
    data = [torch.zeros(1), torch.ones(1), 'no tensor']  # torch cannot make a batch of it and a tensor
    with replaced(prefetch_dataloader, PrefetchGenerator=PrefetchGenerator):
        loader = prefetch_dataloader.PrefetchDataLoader(1, dataset=data, num_workers=workers, collate_fn=of_tensors)
        batches = iter(loader)
        assert [int(next(batches)) for _ in range(2)] == [0, 1]
        with pytest.raises(TypeError, match='expected Tensor as element 0'):
            next(batches)


def test_the_end_of_the_data_is_the_end():
    with replaced(prefetch_dataloader, PrefetchGenerator=PrefetchGenerator):
        loader = prefetch_dataloader.PrefetchDataLoader(2, dataset=[1, 2, 3])
        assert [int(batch) for batch in loader] == [1, 2, 3]


def of_tensors(samples):
    return torch.stack(samples)


@pytest.fixture
def cuda(monkeypatch):
    """A stand-in for CUDA: notes which stream copies and which is said to read. Returns these notes."""
    notes, streams = [], ['main']
    main, side = (types.SimpleNamespace(name=name, wait_stream=lambda other: notes.append(('wait', other.name)))
                  for name in ('main', 'side'))

    @contextlib.contextmanager
    def within(stream):
        streams.append(stream.name)
        yield
        streams.pop()

    def copy(tensor, *_args, **_kwargs):
        notes.append(('copy', int(tensor), streams[-1]))
        return tensor.clone()

    monkeypatch.setattr(torch.cuda, 'Stream', lambda: side)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: main)
    monkeypatch.setattr(torch.cuda, 'stream', within)
    monkeypatch.setattr(torch.Tensor, 'to', copy)
    monkeypatch.setattr(torch.Tensor, 'record_stream', lambda tensor, stream: notes.append(
        ('read', int(tensor), stream.name)))
    return notes


def test_the_allocator_knows_who_reads_a_batch_before_the_next_is_copied(cuda):
    """BasicSR's own class names no reader."""
    prefetcher = CUDAPrefetcher([{'lq': torch.tensor(value), 'lq_path': ['a']} for value in (1, 2)])
    prefetcher.reset()
    assert [int(prefetcher.next()['lq']) for _ in range(2)] == [1, 2]
    assert prefetcher.next() is None
    assert cuda == [('copy', 1, 'side'), ('wait', 'side'), ('read', 1, 'main'), ('copy', 2, 'side'), ('wait', 'side'),
                    ('read', 2, 'main')]
    prefetcher.reset()
    assert int(prefetcher.next()['lq']) == 1


def test_an_error_of_the_data_comes_after_the_batches_before_it_from_the_gpu_too(cuda):

    def data():
        yield {'lq': torch.tensor(1)}
        raise ValueError('broken')

    prefetcher = CUDAPrefetcher(data())
    prefetcher.reset()
    assert int(prefetcher.next()['lq']) == 1
    with pytest.raises(ValueError, match='broken'):
        prefetcher.next()


@pytest.mark.gpu
def test_a_batch_in_use_is_not_overwritten():
    """While the GPU is busy, freed batches must not be taken for the next copies."""
    batches = [{'lq': torch.full((1 << 20,), float(value)).pin_memory()} for value in range(16)]
    prefetcher = CUDAPrefetcher(batches)
    prefetcher.reset()
    sums = []
    while (batch := prefetcher.next()) is not None:
        torch.cuda._sleep(20_000_000)
        sums.append(batch['lq'].sum())
        del batch
    assert [float(one) / (1 << 20) for one in sums] == list(range(16))
