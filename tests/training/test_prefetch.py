"""``prefetch_mode: cpu``: batches that a thread fetches in advance."""

import pytest
import torch
from basicsr.data import prefetch_dataloader

from reflash_sr.compat import replaced
from reflash_sr.training.prefetch import PrefetchGenerator


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
