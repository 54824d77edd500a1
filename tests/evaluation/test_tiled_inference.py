"""Restoring: tiles, padding, memory."""

import numpy as np
import pytest
import torch
from torch import nn

from reflash_sr.evaluation import tiled_inference as restore
from reflash_sr.evaluation.tiled_inference import Restorer, bytes_per_pixel, tiled, to_image, to_tensor


class Near(nn.Module):
    """Sees 3 px far; twice as large."""

    def __init__(self, multiple=1):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)), nn.Upsample(scale_factor=2))
        self.multiple = multiple
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape[-2:]))
        assert all(side % self.multiple == 0 for side in x.shape[-2:])
        return self.layers(x)


@pytest.mark.parametrize(('height', 'width'), [(40, 40), (37, 53), (16, 100), (5, 90)])
@pytest.mark.parametrize('tile', [7, 16, 64])
def test_tiles_that_see_far_enough_give_the_whole(height, width, tile):
    net = Near()
    lq = torch.rand(1, 3, height, width)
    whole, parts = tiled(net, lq, 2), tiled(net, lq, 2, tile=tile, overlap=3)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize('size', [(1, 1), (3, 2), (8, 8), (21, 13)])
@pytest.mark.parametrize('tile', [0, 9])
def test_sides_are_padded_to_multiples_and_cut_again(size, tile):
    net = Near(multiple=4)
    assert tiled(net, torch.rand(1, 3, *size), 2, 4, tile, 3).shape == (1, 3, 2 * size[0], 2 * size[1])


def test_images_survive_the_way_there_and_back(rng):
    image = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(to_image(to_tensor(image)), image)
    assert np.array_equal(to_image(torch.tensor([-1.0, 2.0, 0.5 / 255]).reshape(1, 3, 1, 1)).ravel(), [0, 255, 0])


def test_tiles_where_memory_would_run_out(monkeypatch):
    net, lq = Near(), torch.rand(1, 3, 128, 130)
    whole = Restorer(net, 2)(lq)
    per_pixel = bytes_per_pixel(net, 1, torch.device('cpu'))
    assert per_pixel >= 3 * 4 * (1 + 4)  # what the upsampling reads and writes
    monkeypatch.setattr(restore, 'free_memory', lambda device: 100 * 100 * per_pixel)
    net.seen.clear()
    torch.testing.assert_close(Restorer(net, 2)(lq), whole, rtol=0, atol=1e-6)
    assert max(height * width for height, width in net.seen) < 100 * 100
    net.seen.clear()
    Restorer(net, 2, tile=0)(lq)
    assert net.seen == [(128, 130)]


def test_smaller_tiles_after_running_out(monkeypatch):
    net, lq = Near(), torch.rand(1, 3, 96, 96)
    whole = Restorer(net, 2)(lq)
    plain = net.layers

    def small_only(x):
        if x.shape[-1] * x.shape[-2] > 60 * 60:
            raise torch.OutOfMemoryError('no')
        return plain(x)

    monkeypatch.setattr(net, 'forward', small_only)
    torch.testing.assert_close(Restorer(net, 2, overlap=3)(lq), whole, rtol=0, atol=1e-6)
    with pytest.raises(torch.OutOfMemoryError):
        Restorer(net, 2, tile=0)(lq)


@pytest.mark.parametrize(('amp', 'inside'), [(True, torch.bfloat16), (False, torch.float32)])
def test_mixed_precision_comes_out_in_float32(amp, inside):
    net, computed = Near(), []
    net.layers[0].register_forward_hook(lambda module, args, output: computed.append(output.dtype))
    assert Restorer(net, 2, amp=amp)(torch.rand(1, 3, 8, 8)).dtype == torch.float32
    assert set(computed) == {inside}


def test_memory_that_is_only_kept_is_given_back_before_an_image_is_cut_into_tiles(monkeypatch):
    net = Near()
    needed = 128 * 130 * bytes_per_pixel(net, 1, torch.device('cpu')) / restore.MEMORY_SHARE
    kept = [0.9 * needed]
    monkeypatch.setattr(restore, 'release_memory', lambda device: kept.clear())
    for free, tiles in ((1.01 * needed, False), (0.5 * needed, True)):
        kept[:] = [0.9 * needed]
        monkeypatch.setattr(restore, 'free_memory', lambda device, free=free: free - sum(kept))
        net.seen.clear()
        one = Restorer(net, 2)
        one(torch.rand(1, 3, 128, 130))
        assert ((128, 130) not in net.seen) == tiles == (one.forced_tile > 0)
    small = Restorer(net, 2, tile=16)
    small(torch.rand(1, 3, 128, 130))
    assert small.forced_tile == 0, 'asked for, not forced'


@pytest.mark.parametrize('tile', [0, 16, 64])
@pytest.mark.parametrize('channels', [1, 3])
def test_strips_are_the_result_from_top_to_bottom_without_the_whole_in_memory(tile, channels):
    net = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.Upsample(scale_factor=2))
    one = Restorer(net, 2, multiple=4, tile=tile, overlap=4, channels=channels)
    lq = torch.rand(1, 3, 41, 37)
    strips = list(one.strips(lq))
    assert [strip.shape[-2] for strip in strips] == ([32, 32, 18] if tile == 16 else [82])
    assert torch.equal(torch.cat(strips, dim=-2), one(lq))
    torch.testing.assert_close(one(lq), Restorer(net, 2, multiple=4, tile=0, channels=channels)(lq), rtol=0, atol=1e-5)


def test_strips_go_on_with_smaller_tiles_where_memory_ran_out(monkeypatch):
    net, lq = Near(), torch.rand(1, 3, 96, 40)
    whole, plain, calls = Restorer(net, 2)(lq), net.layers, []

    def short_of_memory_later(x):
        calls.append(x.shape)
        if len(calls) > 2 and x.shape[-2] > 30:
            raise torch.OutOfMemoryError('no')
        return plain(x)

    monkeypatch.setattr(net, 'forward', short_of_memory_later)
    strips = list(Restorer(net, 2, overlap=3, tile=32).strips(lq))
    assert [strip.shape[-2] for strip in strips] == [64, 32, 32, 32, 32]
    torch.testing.assert_close(torch.cat(strips, dim=-2), whole, rtol=0, atol=1e-6)


def test_a_strip_of_a_wide_image_takes_a_small_part_of_memory(monkeypatch):
    one = Restorer(Near(), 2)
    free = 4000 * 64 * bytes_per_pixel(one.net, 1, torch.device('cpu'))
    monkeypatch.setattr(restore, 'free_memory', lambda device: free)
    strip = next(one.strips(torch.rand(1, 3, 100, 4000)))
    assert strip.shape[-2] < 200
    assert strip.numel() * 4 <= free * restore.STRIP_SHARE
