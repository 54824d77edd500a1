"""Where dropout sits: every position in every network."""

import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.swinir_arch import SwinIR
from torch import nn

from reflash_sr.errors import UserError
from reflash_sr.positions import Site, find_sites, last_convolution

NETWORKS = {
    'MSRResNet': lambda: MSRResNet(num_feat=8, num_block=16),
    'RRDBNet': lambda: RRDBNet(3, 3, num_feat=8, num_block=5, num_grow_ch=4),
    'SwinIR': lambda: SwinIR(img_size=16, window_size=8, depths=[1] * 4, num_heads=[2] * 4, embed_dim=8, mlp_ratio=1,
                             upscale=4, upsampler='pixelshuffle'),
}
UNITS = {'MSRResNet': ('body', 16), 'RRDBNet': ('body', 5), 'SwinIR': ('layers', 4)}
STAGES = {'MSRResNet': ('conv2', 'conv1'), 'RRDBNet': ('rdb3', 'rdb1'), 'SwinIR': ('conv', 'residual_group')}
PARTS = {'all-part': (16, 5, 4), 'half-part': (8, 3, 2), 'quarter-part': (4, 2, 1)}


def modules(sites):
    return [site.module for site in sites]


@pytest.mark.parametrize('name', NETWORKS)
def test_bk_is_the_output_of_unit_k_counted_from_one(name):
    trunk, count = UNITS[name]
    net = NETWORKS[name]()
    assert find_sites(net, 'B1') == (Site(f'{trunk}.0', 'output'),)
    assert find_sites(net, f'B{count}') == (Site(f'{trunk}.{count - 1}', 'output'),)
    for wrong in (f'B{count + 1}', 'B0'):
        with pytest.raises(UserError, match=rf"has no position '{wrong}'.*half-part.*B1 to B{count}"):
            find_sites(net, wrong)


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('part', PARTS)
def test_parts_are_the_last_units_rounded_up(name, part):
    trunk, count = UNITS[name]
    wanted = PARTS[part][list(NETWORKS).index(name)]
    for stage, module in zip(('branch', 'first'), STAGES[name]):
        sites = find_sites(NETWORKS[name](), part, stage)
        assert modules(sites) == [f'{trunk}.{i}.{module}' for i in range(count - wanted, count)]
        assert {site.side for site in sites} == {'output'}


@pytest.mark.parametrize('name', NETWORKS)
def test_every_conv_is_all_but_the_last(name):
    net = NETWORKS[name]()
    convs = [path for path, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    assert modules(find_sites(net, 'every-conv')) == [path for path in convs if path != 'conv_last']


@pytest.mark.parametrize(('upsampler', 'upscale', 'module'), [
    ('pixelshuffle', 4, 'conv_last'), ('nearest+conv', 4, 'conv_last'), ('pixelshuffledirect', 4, 'upsample'),
    ('', 1, 'conv_last')])
def test_last_conv_of_swinir_by_upsampler(upsampler, upscale, module):
    net = SwinIR(img_size=16, window_size=8, depths=[1], num_heads=[2], embed_dim=8, mlp_ratio=1, upscale=upscale,
                 upsampler=upsampler)
    assert find_sites(net, 'last-conv') == (Site(module, 'input'),)


@pytest.mark.parametrize('name', NETWORKS)
def test_looking_and_running_agree_about_the_last_convolution(name):
    net = NETWORKS[name]()
    assert last_convolution(net) == find_sites(net, 'last-conv')[0].module


def test_module_paths_and_lists():
    net = NETWORKS['MSRResNet']()
    assert find_sites(net, 'body.7') == find_sites(net, 'output of body.7') == (Site('body.7', 'output'),)
    assert find_sites(net, 'input of conv_hr') == (Site('conv_hr', 'input'),)
    assert find_sites(net, ['B8', 'last-conv', 'body.7']) == (Site('body.7', 'output'), Site('conv_last', 'input'))


@pytest.mark.parametrize('wrong', ['', [], [3], None, 'body.16', 'input  conv_last', 'lastconv', ['last-conv', 'B17']])
def test_what_is_not_there_is_named_with_what_is(wrong):
    with pytest.raises(UserError, match=r'dropout_position: (MSRResNet has no position|must be a name)'):
        find_sites(NETWORKS['MSRResNet'](), wrong)


def test_nearest_names_and_stages():
    net = NETWORKS['MSRResNet']()
    with pytest.raises(UserError, match=r"'lastconv'; did you mean 'last-conv'\?"):
        find_sites(net, 'lastconv')
    with pytest.raises(UserError, match=r"did you mean 'body\.15'"):
        find_sites(net, 'body.155')
    with pytest.raises(UserError, match='dropout_stage: must be one of branch, first'):
        find_sites(net, 'all-part', 'second')


class Residual(nn.Module):
    """A network that no table knows; its last convolution is not the last that is defined."""

    def __init__(self):
        super().__init__()
        self.tail = nn.Conv2d(8, 3, 3, padding=1)
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.shift = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.shift(self.tail(self.norm(self.head(x)))) + x


def test_last_convolution_is_the_last_that_is_executed_on_features():
    net = Residual().train()
    net.norm.eval()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    mean = net.norm.running_mean.clone()
    assert last_convolution(net) == 'tail'
    assert torch.equal(torch.rand(1), expected), 'random numbers are left alone'
    assert net.training and not net.norm.training, 'modes are left alone'
    assert torch.equal(net.norm.running_mean, mean)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_networks_that_cannot_be_searched():
    with pytest.raises(UserError, match='Linear has no convolution'):
        find_sites(nn.Linear(2, 2), 'last-conv')
    broken = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(5, 5))
    with pytest.raises(UserError, match='could not be run on an image'):
        find_sites(broken, 'last-conv')
    assert broken.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in broken.modules())
    with pytest.raises(UserError, match='no convolution of features'):
        find_sites(nn.Sequential(nn.Conv2d(3, 3, 1)), 'last-conv')


class FSRCNN(nn.Module):
    """Shrinks, maps, expands, and ends in a transposed convolution."""

    def __init__(self, scale=3):
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, 12, 5, padding=2), nn.PReLU(12))
        self.body = nn.Sequential(nn.Conv2d(12, 5, 1), nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(5, 12, 1))
        self.tail = nn.ConvTranspose2d(12, 3, 9, stride=scale, padding=4, output_padding=scale - 1)

    def forward(self, x):
        return self.tail(self.body(self.head(x)))


def test_a_transposed_convolution_is_a_convolution():
    net = FSRCNN()
    assert find_sites(net, 'last-conv') == (Site('tail', 'input'),)
    assert modules(find_sites(net, 'every-conv')) == ['head.0', 'body.0', 'body.1', 'body.2']
    up_first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(8, 3, 1))
    assert find_sites(up_first, 'last-conv') == (Site('2', 'input'),)
    assert modules(find_sites(up_first, 'every-conv')) == ['0', '1']


class Spectral(nn.Module):
    """Its last convolution is over rows of pixels."""

    def __init__(self):
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 8, 1), nn.Conv1d(8, 3, 1)

    def forward(self, x):
        return self.tail(self.head(x).flatten(2)).view_as(x)


def test_a_last_convolution_that_is_not_over_an_image_is_not_passed_over():
    with pytest.raises(UserError, match="the last convolution of Spectral, 'tail', has 1 dimensions, not 2"):
        find_sites(Spectral(), 'last-conv')


class Windowed(nn.Module):
    """Takes sides that are multiples of ``side`` only."""

    def __init__(self, side):
        super().__init__()
        self.side = side
        self.head, self.tail = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        if any(side % self.side for side in x.shape[2:]):
            raise ValueError('this size does not divide into windows')
        return self.tail(self.head(x))


@pytest.mark.parametrize('side', [7, 12, 16, 24, 64, 128])
def test_the_last_convolution_is_found_whatever_the_window(side):
    assert find_sites(Windowed(side), 'last-conv') == (Site('tail', 'input'),)


class Named(nn.Module):
    """What other projects call RRDBNet: one list of modules."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 3, 3, 1, 1))

    def forward(self, x):
        return self.model(x)


@pytest.mark.parametrize('name', NETWORKS)
def test_a_class_of_the_same_name_counts_as_any_other_network(name):
    net = type(name, (Named,), {})()
    assert find_sites(net, 'last-conv') == (Site('model.2', 'input'),)
    assert modules(find_sites(net, 'every-conv')) == ['model.0', 'model.1']
    assert find_sites(net, 'input of model.1') == (Site('model.1', 'input'),)
    with pytest.raises(UserError, match=f"{name} has no position 'B1'"):
        find_sites(net, 'B1')


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_the_last_convolution_of_networks_of_y_rgb_and_rgba(channels):
    net = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, 8, 3, padding=1), nn.Conv2d(8, channels, 3))
    assert last_convolution(net) == '2'
