"""Networks of other projects by their weights alone: every tool takes them, and says what spandrel says."""

import argparse
from types import SimpleNamespace

import numpy as np
import pytest
import spandrel
import torch
import yaml
from basicsr.archs.swinir_arch import SwinIR as BasicSRSwinIR
from spandrel.architectures.SwinIR import SwinIR
from torch import nn

import reflash_sr
from reflash_sr.analysis.ablation import Ablation
from reflash_sr.analysis.features import find_layer, list_layers, tap
from reflash_sr.commands.arguments import open_network_of
from reflash_sr.commands.report import main as report_tool
from reflash_sr.commands.upscale import main as upscale_tool
from reflash_sr.data.images.read_image import read_image
from reflash_sr.errors import UserError
from reflash_sr.weights import spandrel_networks
from reflash_sr.weights.network_from_file import build_network, open_network
from tests.analysis.test_ablation import near, psnr_by_hand, removed_by_hand
from tests.analysis.test_replay_from_layer import run_with
from tests.conftest import fill, smooth_image
from tests.weights.community import NETWORKS, save_community

pytestmark = pytest.mark.filterwarnings('ignore::UserWarning')  # of networks of other projects


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('community')
    return {name: save_community(folder, name) for name in NETWORKS}


def described(path):
    return spandrel.ModelLoader().load_from_file(path)


@pytest.mark.parametrize('name', NETWORKS)
def test_it_opens_as_spandrel_opens_it(name, files):
    opened, theirs = open_network(files[name]), described(files[name])
    assert opened.kind == opened.network_g['architecture'] == theirs.architecture.id == name
    assert (opened.scale, opened.channels) == (theirs.scale, theirs.input_channels)
    assert opened.multiple == theirs.size_requirements.multiple_of
    assert (opened.key, opened.label, opened.known_p) == ('params_ema', name, None)
    for size in ((16, 24), (19, 37)):
        lq = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
        before = lq.clone()
        with torch.no_grad():
            torch.testing.assert_close(opened.net(lq).clamp(0, 1), theirs(lq.clone()), rtol=0, atol=1e-5)
        assert torch.equal(lq, before), 'the image is left as it is'


@pytest.mark.parametrize('name', NETWORKS)
def test_its_description_builds_it_again(name, files):
    opened = open_network(files[name])
    again = build_network(opened.network_g)
    again.load_state_dict(opened.net.state_dict())
    lq = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again.eval()(lq), opened.net(lq))


@pytest.mark.parametrize('name', NETWORKS)
def test_every_tool_takes_it(name, files, tmp_path):
    opened = open_network(files[name])
    small = smooth_image(0, 16, 24)
    assert reflash_sr.upscale(opened, small).shape == (16 * opened.scale, 24 * opened.scale, 3)
    gt = smooth_image(1, 16 * opened.scale, 16 * opened.scale)
    table = reflash_sr.evaluate(opened, gt, ['clean'])
    assert np.isfinite(table['value']).all()
    drops = reflash_sr.ablate(opened, gt, crop=8)
    assert np.isfinite(drops['drop_db']).all() and len(drops) > 3
    maps = reflash_sr.saliency(opened, smooth_image(2, 16, 16))['last'].maps
    assert len(maps) == len(drops) and maps.max() == 1
    points = reflash_sr.clusters(opened, fill(tmp_path / 'photos', 3, 16 * opened.scale), samples=3, sample=16,
                                 perplexity=3, tsne_seeds=1)
    assert np.isfinite(next(iter(points.values())).points).all()
    assert list_layers(opened.net)[-1][0] == 'last'


@pytest.mark.parametrize('name', NETWORKS)
def test_channels_are_removed_as_by_brute_force(name, files):
    net = open_network(files[name]).net
    with torch.no_grad():
        for parameter in net.get_submodule(find_layer(net, 'last').module).parameters():
            parameter.mul_(0.1)
    lq = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    gt = near(net, lq)
    with tap(net, 'last') as seen, torch.no_grad():
        net(lq)
    closed, replayed = (Ablation(net, lq, gt, 'last', closed_form=closed).single() for closed in (True, False))
    assert closed == pytest.approx(replayed, abs=0.01)
    for channel in (0, len(closed) - 1):
        image = run_with(net, lq, 'last', removed_by_hand(seen['last'], [channel]))
        assert closed[channel] == pytest.approx(psnr_by_hand(image, gt), abs=0.01)


def test_a_network_that_takes_one_image_at_a_time_gets_one(files):
    assert {name: open_network(path).batch for name, path in files.items()} == dict.fromkeys(NETWORKS) | {'SeemoRe': 1}
    drops = reflash_sr.ablate(files['SeemoRe'], smooth_image(1, 64, 64), 'body.0', crop=16)
    assert len(drops) == 12 and np.isfinite(drops['drop_db']).all()


def test_the_tools_take_two_such_files(files, tmp_path):
    images = fill(tmp_path / 'photos', 2, 128)
    weights = [str(files[name]) for name in ('SPAN', 'SAFMN')]
    assert report_tool(['--weights', *weights, '--images', str(images), '--degradations', 'clean', '--limit', '1',
                        '--crop', '8', '--samples', '3', '--out', str(tmp_path / 'report')]) == 0
    assert 'SpandrelNetwork' in (tmp_path / 'report' / 'report.html').read_text(encoding='utf-8')
    lq = fill(tmp_path / 'lq', 2, 20, 24)
    assert upscale_tool(['--weights', weights[1], '-i', str(lq), '-o', str(tmp_path / 'up'), '--mc', '2', '--arch',
                         'WithDropout:dropout_p=0.5']) == 0
    assert read_image(tmp_path / 'up' / '0_out.png').shape == (80, 96, 3)
    assert len(list((tmp_path / 'up').glob('*_std.npy'))) == 2


def test_tiles_that_spandrel_discourages_are_mentioned(files, tmp_path, capsys):
    torch.manual_seed(0)
    torch.save(SwinIR(embed_dim=8, depths=[1], num_heads=[2], window_size=8, mlp_ratio=2, upscale=2,
                      upsampler='pixelshuffledirect').state_dict(), tmp_path / 'SwinIR.pth')
    lq = fill(tmp_path / 'lq', 1, 24)
    runs = (tmp_path / 'SwinIR.pth', '16', True), (tmp_path / 'SwinIR.pth', '0', False), (files['SPAN'], '16', False)
    for number, (path, tile, is_told) in enumerate(runs):
        assert upscale_tool(['--weights', str(path), '-i', str(lq), '-o', str(tmp_path / str(number)), '--tile', tile,
                             '--overlap', '8']) == 0
        assert ('spandrel discourages tiles for this network' in capsys.readouterr().err) == is_told


def test_weights_in_another_layout_fit_a_network_that_is_described(files, tmp_path):
    description = open_network(files['ESRGAN']).network_g
    state = torch.load(files['ESRGAN'])['params_ema']
    torch.save({f'module.{name}': value for name, value in state.items()}, tmp_path / 'wrapped.pth')
    opened = open_network(tmp_path / 'wrapped.pth', network_g=description)
    lq = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(opened.net(lq), open_network(files['ESRGAN']).net(lq))
    with pytest.raises(UserError, match='does not fit SPAN: '):
        open_network(files['ESRGAN'], network_g=open_network(files['SPAN']).network_g)


@pytest.mark.parametrize('arch', ['SwinIR', 'WithDropout'])
def test_the_class_that_the_user_names_is_taken_not_spandrels(arch, tmp_path):
    arguments = {'embed_dim': 8, 'depths': [1], 'num_heads': [2], 'window_size': 8, 'mlp_ratio': 2, 'upscale': 2,
                 'upsampler': 'pixelshuffledirect', 'img_size': 16}
    torch.manual_seed(0)
    torch.save(BasicSRSwinIR(**arguments).state_dict(), tmp_path / 'x.pth')
    section = {'type': 'SwinIR', **arguments}
    section = section if arch == 'SwinIR' else {'type': arch, 'base': section, 'dropout_p': 0.5}
    (tmp_path / 'x.yml').write_text(yaml.safe_dump({'network_g': section}))
    args = argparse.Namespace(opt=[str(tmp_path / 'x.yml')], arch=None, weights=[str(tmp_path / 'x.pth')],
                              param_key='auto')
    opened = open_network_of(args)
    assert opened.network_g == section and type(opened.net) is BasicSRSwinIR
    assert open_network(tmp_path / 'x.pth').kind == 'SwinIR'


def test_weights_that_are_missing_are_named(tmp_path):
    state = SwinIR(embed_dim=8, depths=[1], num_heads=[2], window_size=8, mlp_ratio=2, upscale=2,
                   upsampler='pixelshuffledirect').state_dict()
    del state['norm.bias']
    torch.save(state, tmp_path / 'x.pth')
    with pytest.raises(UserError, match=r'kind SwinIR, but cannot build or run it: .*norm\.bias') as caught:
        open_network(tmp_path / 'x.pth')
    assert '\n' not in str(caught.value)


def test_without_the_extra_one_line_names_it(files, monkeypatch):
    monkeypatch.setattr(spandrel_networks, 'available', lambda: False)
    with pytest.raises(UserError, match=r'networks of other projects need pip install -e "\.\[models\]"') as caught:
        open_network(files['SPAN'])
    assert '\n' not in str(caught.value)


def test_a_description_without_the_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'spandrel', None)
    spandrel_networks._registry.cache_clear()
    with pytest.raises(UserError, match=r'spandrel is not installed; pip install -e "\.\[models\]"'):
        build_network({'type': 'SpandrelNetwork', 'architecture': 'HAT', 'arguments': {}})
    spandrel_networks._registry.cache_clear()


@pytest.mark.parametrize(('section', 'message'), [
    ({'architecture': 'HATT', 'arguments': {}}, "spandrel does not know 'HATT'; did you mean 'HAT'"),
    ({'architecture': 'PLKSR', 'network': 'X', 'arguments': {}}, "PLKSR has no 'X', only PLKSR, RealPLKSR"),
    ({'architecture': 'HAT', 'arguments': {'x': 1}}, "SpandrelNetwork does not accept these options: .*'x'"),
    ({'architecture': 'SPAN', 'arguments': {'num_in_ch': 3, 'num_out_ch': 3, 'feature_channels': 10**6}},
     'is larger than any network'),
])
def test_a_wrong_description_is_one_line(section, message):
    with pytest.raises(UserError, match=message):
        build_network({'type': 'SpandrelNetwork', **section})


def test_networks_that_are_not_for_images_alone_are_refused(tmp_path):
    from spandrel.architectures.DnCNN import DnCNN
    from spandrel.architectures.MixDehazeNet import MixDehazeNet
    torch.manual_seed(0)
    for net, message in ((DnCNN(in_nc=4, out_nc=3, nc=8, nb=9, act_mode='R', mode='FDnCNN'), 'of the kind DnCNN, but'),
                         (MixDehazeNet(embed_dims=[8, 16, 32, 16, 8], depths=[1] * 5), 'changes its output')):
        torch.save(net.state_dict(), tmp_path / 'x.pth')
        with pytest.raises(UserError, match=f'{message}') as caught:
            open_network(tmp_path / 'x.pth')
        assert '\n' not in str(caught.value)


class Fussy(nn.Module):
    """Takes squares of at least 12 px that are multiples of 4, changes them in place, and returns several tensors."""

    def forward(self, x):
        if x.shape[2] != x.shape[3] or x.shape[2] % 4 or x.shape[2] < 12:
            raise ValueError(f'size {tuple(x.shape)}')
        return x.mul_(2).repeat_interleave(2, 2).repeat_interleave(2, 3), x


@pytest.mark.parametrize('size', [(12, 12), (3, 5), (13, 12), (1, 1), (30, 4)])
def test_what_a_network_asks_of_sizes_is_done_for_it(size):
    asked = spandrel.SizeRequirements(minimum=12, multiple_of=4, square=True)
    descriptor = SimpleNamespace(architecture=SimpleNamespace(id='Fussy'), scale=2, size_requirements=asked,
                                 tiling=spandrel.ModelTiling.SUPPORTED)
    net = spandrel_networks.describe(Fussy(), descriptor)
    lq = torch.rand(2, 3, *size)
    before = lq.clone()
    assert torch.equal(net(lq), 2 * before.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.equal(lq, before)
