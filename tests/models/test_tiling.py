"""Large images in validation and in tests are restored in tiles, as the tools restore them."""

import logging
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch

from reflash_sr.evaluation import tiled_inference
from reflash_sr.models import tiling
from reflash_sr.models.reflash_sr_model import ReflashSRModel


@pytest.fixture
def model_of(opt):
    """A function that makes a model with these keys in ``val``; it notes the sizes of its network's inputs."""

    def make(**val):
        torch.manual_seed(0)
        model = ReflashSRModel(deepcopy({**opt, 'val': {**opt['val'], **val}}))
        model.seen = []
        model.net_g_ema.register_forward_pre_hook(lambda net, inputs: model.seen.append(tuple(inputs[0].shape[-2:])))
        return model

    return make


def restored(model, height=70, width=90):
    model.feed_data({'lq': torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))})
    model.test()
    return model.output


def test_tiles_give_the_result_of_the_whole_image(model_of):
    whole = restored(model_of(tile=0))
    model = model_of(tile=32, tile_overlap=12)
    torch.testing.assert_close(restored(model), whole, rtol=0, atol=1e-5)
    assert len(model.seen) == 9
    assert max(max(sides) for sides in model.seen) <= 32 + 2 * 12


def test_without_a_number_tiles_are_used_only_if_memory_is_short(model_of, monkeypatch):
    said = []
    monkeypatch.setattr('reflash_sr.models.tiling.get_root_logger',
                        lambda: SimpleNamespace(warning=lambda text, *args: said.append(text % args)))
    model = model_of()
    whole = restored(model)
    assert model.seen == [(70, 90)]
    assert not said

    monkeypatch.setattr(tiled_inference, 'free_memory', lambda device: 8_000_000)
    small = model_of()
    torch.testing.assert_close(restored(small), whole, rtol=0, atol=1e-5)  # OVERLAP covers the receptive field
    restored(small)
    assert (70, 90) not in small.seen
    assert len(said) == 1 and said[0].startswith('An image of 90×70 px does not fit into memory, so it is restored in')

    never = model_of(tile=0)
    assert torch.equal(restored(never), whole)
    assert never.seen == [(70, 90)]


@pytest.mark.parametrize('channels_last', [False, True])
def test_the_weights_keep_their_memory_format_and_the_random_state_its_place(opt, model_of, channels_last):
    opt['channels_last'] = channels_last
    model = model_of()
    net = model.net_g_ema
    before = {name: (value.clone(), value.stride()) for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    restored(model)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name][0]) and value.stride() == before[name][1]


def test_mixed_precision_in_validation_says_once_what_it_changes(model_of, caplog, monkeypatch):
    monkeypatch.setattr(tiling, 'get_root_logger', lambda: logging.getLogger('test'))
    exact, mixed = model_of(), model_of(amp='bf16')
    one = restored(exact)
    with caplog.at_level('INFO', 'test'):
        two = restored(mixed)
        restored(mixed, 20, 30)
    assert two.dtype == torch.float32 and not torch.equal(one, two)
    error = 255 * float((one.clamp(0, 1) - two.clamp(0, 1)).square().mean().sqrt())
    said = [record.getMessage() for record in caplog.records if 'val: amp' in record.getMessage()]
    assert said == [f'val: amp: bf16: the first image differs from float32 by {error:.3f} grey levels of 255 '
                    '(root mean square)']
