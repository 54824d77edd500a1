"""Local attribution maps: complete, by hand where the network is linear, zero where the network cannot see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde

from reflash_sr.analysis.attribution import (
    attribute,
    blur_path,
    busiest_window,
    contribution_area,
    diffusion_index,
)
from reflash_sr.analysis.saliency import detail
from reflash_sr.errors import UserError
from tests.analysis.networks import PAPER, small


@pytest.fixture
def lq():
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def enlarging(scale):
    """A linear network: nearest neighbours."""
    return torch.nn.Upsample(scale_factor=scale).eval()


def conv(side, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Conv2d(3, 3, side, padding=side // 2).eval()


def window_detail(sr, top, left, side):
    return float(detail(sr[..., top:top + side + 1, left:left + side + 1]))


@pytest.mark.parametrize('name', PAPER)
def test_attributions_add_up_to_the_gained_detail(name, lq):
    net = small(name).requires_grad_(False)
    side = net(lq).shape[-1]
    gaps = {}
    for steps in (8, 48):
        one = attribute(net, lq, side // 4, side // 4, side // 4, steps)
        assert one.detail == pytest.approx(window_detail(net(lq), side // 4, side // 4, side // 4), rel=1e-5)
        gaps[steps] = one.gap
    assert gaps[48] < 0.06
    assert gaps[48] < gaps[8] / 2


def test_the_start_is_the_blurred_image(lq):
    images = list(blur_path(lq, 4, 1.5))
    assert len(images) == 5 and torch.equal(images[-1], lq)
    one = attribute(enlarging(2), lq, 4, 4, 4, 4, 1.5)
    assert one.detail_blurred == pytest.approx(window_detail(enlarging(2)(images[0]), 4, 4, 4), rel=1e-5)


def test_the_blur_is_a_gaussian_by_hand():
    lq = torch.zeros(1, 1, 21, 21)
    lq[..., 10, 10] = 1
    first, second, _ = blur_path(lq, 2, 1.2)
    for image, sigma in ((first, 1.2), (second, 0.6)):
        line = np.exp(-np.arange(-4, 5)**2 / (2 * sigma**2))
        expected = np.zeros((21, 21))
        expected[6:15, 6:15] = np.outer(line, line) / line.sum()**2
        np.testing.assert_allclose(image[0, 0].numpy(), expected, atol=1e-6)


def test_one_step_by_hand():
    """A row of three pixels, one edge: D = |x₁ − x₀|, so the map is sign(x₁ − x₀) · (−Δx₀, Δx₁, 0)."""
    lq = torch.tensor([0.2, 0.9, 0.4]).expand(1, 1, 3, 3).contiguous()
    start, _ = blur_path(lq, 1)
    change = (lq - start)[0, 0].numpy()
    one = attribute(torch.nn.Identity(), lq, 0, 0, 1, 1)
    expected = np.zeros((3, 3))
    expected[0, :2] = -change[0, 0], change[0, 1]
    np.testing.assert_allclose(one.map, expected, atol=1e-6)
    assert one.detail == pytest.approx(0.7)


def test_a_linear_network_along_a_ramp():
    """Of an edge that stays one edge while it is blurred, D is linear in the image: one step is as good as many."""
    lq = torch.linspace(0, 1, 12).pow(2).expand(1, 3, 12, 12).contiguous()
    one, many = (attribute(enlarging(2), lq, 8, 8, 8, steps) for steps in (1, 20))
    np.testing.assert_allclose(one.map, many.map, atol=1e-6)
    assert one.gap < 1e-3  # of float32


@pytest.mark.parametrize(('side', 'reach'), [(1, 0), (3, 1), (5, 2)])
def test_nothing_outside_the_receptive_field(side, reach):
    lq = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    found = attribute(conv(side), lq, 8, 6, 4, 8).map
    seen = np.zeros((20, 20), bool)
    seen[8 - reach:8 + 5 + reach, 6 - reach:6 + 5 + reach] = True
    assert not found[~seen].any()
    assert np.count_nonzero(found[seen]) > 0.8 * seen.sum()


def test_diffusion_index_by_hand():
    assert diffusion_index(np.full((4, 5), -0.3)) == pytest.approx(100)
    single = np.zeros((4, 5))
    single[2, 3] = 7
    assert diffusion_index(single) == pytest.approx(100 / 20)
    half = np.zeros((4, 5))
    half[:2] = 1
    assert diffusion_index(half) == pytest.approx(50)
    assert diffusion_index(np.array([[1, 3]])) == pytest.approx(75)  # G = Σᵢⱼ|xᵢ − xⱼ| / (2 n² mean) = 4 / 16
    assert diffusion_index(np.zeros((4, 5))) is None


def test_wider_networks_have_a_larger_index():
    lq = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    found = [attribute(conv(side), lq, 8, 8, 8, 8).diffusion_index for side in (1, 5, 9)]
    assert found == sorted(found)


def test_area_is_a_kernel_density():
    rng = np.random.default_rng(0)
    sizes = np.zeros((40, 40))
    sizes[12:26, 10:30] = rng.random((14, 20))
    rows, columns = np.mgrid[:40, :40].reshape(2, -1)
    density = gaussian_kde((rows, columns), weights=sizes.ravel())((rows, columns)).reshape(40, 40)
    np.testing.assert_allclose(contribution_area(-sizes), density / density.max(), atol=0.02)
    single = np.zeros((4, 4))
    single[1, 2] = 3
    np.testing.assert_array_equal(contribution_area(single), single / 3)
    assert not contribution_area(np.zeros((4, 4))).any()


def test_busiest_window():
    image = torch.zeros(1, 3, 64, 48)
    image[..., 2:8, 2:8] = torch.rand(6, 6)  # too near to the border
    image[..., 30:38, 20:28] = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    assert busiest_window(image, 9) == (29, 19)
    assert busiest_window(torch.zeros(1, 3, 64, 48), 8) == (16, 12)
    assert busiest_window(torch.zeros(1, 3, 9, 20), 8) == (0, 5)


def test_a_constant_output_has_no_attribution(lq):
    one = attribute(enlarging(2), torch.full_like(lq, 0.5), 2, 2, 4, 3)
    assert one.diffusion_index is None or np.abs(one.map).max() < 1e-6
    net = conv(3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    one = attribute(net, lq, 2, 2, 4, 3)
    assert one.diffusion_index is None and one.gap is None and not one.map.any()


def test_a_network_that_cuts_the_gradient(lq):
    net = conv(3)
    net.register_forward_hook(lambda module, args, output: output.detach())
    assert not attribute(net, lq, 2, 2, 4, 3).map.any()


def test_the_network_and_the_image_are_left_as_they_were(lq):
    net = small('RRDB x2')
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state, copy = torch.get_rng_state(), lq.clone()
    with torch.no_grad():
        one = attribute(net, lq, 4, 4, 8, 3)
    assert one.map.any() and one.scale == 2
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(lq, copy)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert not net.training and not any(module._forward_hooks for module in net.modules())


def test_mistakes(lq):
    for arguments, message in (((0, 0, 16), 'is not inside'), ((12, 0, 4), 'is not inside'), ((-1, 0, 4), 'row -1'),
                               ((0, 0, 0), '0×0'), ((0, 0, 4, 0), '0 steps'), ((0, 0, 4, 2, 0.0), 'sigma 0'),
                               ((0, 0, 4, 2, float('nan')), 'sigma nan')):
        with pytest.raises(UserError, match=message) as raised:
            attribute(enlarging(2), lq, *arguments)
        assert '\n' not in str(raised.value)
    with pytest.raises(UserError, match='finite'):
        attribute(torch.nn.Conv2d(3, 3, 1), lq * 1e38 * 1e3, 0, 0, 4, 2)
    with pytest.raises(UserError, match='is not inside'):
        busiest_window(lq, 8)
