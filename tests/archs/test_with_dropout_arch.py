"""Dropout in any registered network, the models of BasicSR that train it, and the tools it must survive."""

import copy

import pytest
import torch
from basicsr.archs import build_network
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY

from reflash_sr import insert_dropout
from reflash_sr.errors import UserError
from reflash_sr.options import check_options as checks

SWINIR = {'type': 'SwinIR', 'img_size': 16, 'window_size': 8, 'depths': [1], 'num_heads': [2], 'embed_dim': 16,
          'mlp_ratio': 1, 'upscale': 4, 'upsampler': 'pixelshuffle', 'drop_path_rate': 0}
BASES = {
    'MSRResNet': ({'num_feat': 16, 'num_block': 1}, 'conv_last'),
    'RRDBNet': ({'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 1, 'num_grow_ch': 8}, 'conv_last'),
    'SwinIR': (SWINIR, 'conv_last'),
    'EDSR': ({'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 1}, 'conv_last'),
    'RCAN': ({'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_group': 1, 'num_block': 1}, 'conv_last'),
    'RIDNet': ({'in_channels': 3, 'mid_channels': 64, 'out_channels': 3, 'num_block': 1}, 'tail'),
    'ECBSR': ({'num_in_ch': 3, 'num_out_ch': 3, 'num_block': 1, 'num_channel': 16, 'with_idt': False,
               'act_type': 'prelu', 'scale': 2}, 'backbone.2'),
    'SRVGGNetCompact': ({'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_conv': 2}, 'body.6'),
}


def section(name, **kwargs):
    return {'type': 'WithDropout', 'base': {**BASES[name][0], 'type': name}, 'dropout_p': 0.5, **kwargs}


def image():
    return torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('name', BASES)
def test_every_single_image_network_of_basicsr(name):
    torch.manual_seed(0)
    net = build_network(section(name)).train()
    torch.manual_seed(0)
    plain = ARCH_REGISTRY.get(name)(**{k: v for k, v in BASES[name][0].items() if k != 'type'})
    assert type(net) is type(plain)
    assert list(net.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), plain.state_dict().values()))
    hooked = [path for path, module in net.named_modules() if module._forward_pre_hooks]
    assert hooked == [BASES[name][1]]
    x = image()
    seen = []
    net.get_submodule(hooked[0]).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    torch.manual_seed(1)
    assert not torch.equal(net(x), net(x))
    assert (seen[0].flatten(2) == 0).all(2).any(), 'whole channels are dropped in front of the last convolution'
    assert torch.equal(net.eval()(x), plain.eval()(x))


@pytest.mark.parametrize('position', ['body.0', 'input of conv_last', ['conv_first', 'body.0.conv1'], 'every-conv'])
@pytest.mark.parametrize('dim', ['channel', 'element'])
def test_positions_by_path(position, dim):
    net = build_network(section('EDSR', dropout_position=position, dropout_dim=dim)).train()
    assert not torch.equal(net(image()), net(image()))
    net.eval()
    assert torch.equal(net(image()), net(image()))


@pytest.mark.parametrize('name', ['MSRResNet', 'RRDBNet', 'SwinIR'])
@pytest.mark.parametrize('position', ['last-conv', 'B1', 'all-part', 'half-part', 'quarter-part', 'every-conv'])
@pytest.mark.parametrize('dim', ['channel', 'element'])
@pytest.mark.parametrize('stage', ['branch', 'first'])
def test_all_positions_train_and_test(name, position, dim, stage):
    net = build_network(section(name, dropout_position=position, dropout_dim=dim, dropout_stage=stage)).train()
    torch.manual_seed(0)
    first = net(image())
    first.mean().backward()
    assert not torch.equal(first, net(image()))
    net.eval()
    assert torch.equal(net(image()), net(image()))


@pytest.mark.parametrize(('changes', 'message'), [
    ({'base': {'type': 'EDSRR'}}, "base: type: no arch 'EDSRR' is registered; did you mean 'EDSR'"),
    ({'base': 3}, "base: must be a section with a 'type'"),
    ({'base': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4}}, 'could not be run on an image'),
    ({'dropout_position': 'body.99'}, "has no position 'body.99'"),
    ({'dropout_p': 1}, 'dropout_p'),
    ({'dropout_dim': 'x'}, 'dropout_dim'),
])
def test_bad_input(changes, message):
    with pytest.raises(UserError, match=message):
        build_network({**section('EDSR'), **changes})


def test_options_of_the_base_are_checked(training_options):
    training_options['network_g'] = section('EDSR', base={'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3,
                                                          'num_fet': 3})
    with pytest.raises(UserError, match=r"network_g: base: num_fet: .*'num_feat'"):
        checks.check(training_options, 'x.yml', is_train=True)
    training_options['network_g']['base'] = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'upscale': 2}
    with pytest.raises(UserError, match='network_g: base: upscale: 2 is not the scale'):
        checks.check(training_options, 'x.yml', is_train=True)


def model_options(model, network, **train):
    return {
        'model_type': model, 'network_g': network, 'scale': 4, 'num_gpu': 0, 'dist': False, 'is_train': True, 'rank': 0,
        'world_size': 1, 'path': {}, 'datasets': {}, 'logger': {},
        'train': {'optim_g': {'type': 'Adam', 'lr': 1e-4}, 'pixel_opt': {'type': 'L1Loss'},
                  'scheduler': {'type': 'MultiStepLR', 'milestones': [100]}, **train},
    }  # yapf: disable


GAN = {'network_d': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4},
       'train': {'optim_d': {'type': 'Adam', 'lr': 1e-4},
                 'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'real_label_val': 1.0, 'fake_label_val': 0.0}}}


@pytest.mark.parametrize(('model', 'network', 'extra'), [
    ('SRModel', section('EDSR'), {}),
    ('SwinIRModel', section('SwinIR', window_size=8), {}),
    ('SRGANModel', section('MSRResNet'), GAN),
    ('ESRGANModel', {'type': 'DropoutRRDBNet', **BASES['RRDBNet'][0]}, GAN),
])
def test_models_of_basicsr_train_it(model, network, extra):
    opt = model_options(model, network, **extra.get('train', {}))
    opt.update({key: value for key, value in extra.items() if key != 'train'})
    trained = build_model(opt)
    trained.feed_data({'lq': torch.rand(2, 3, 32, 32), 'gt': torch.rand(2, 3, 128, 128)})
    before = next(trained.net_g.parameters()).clone()
    trained.optimize_parameters(1)
    assert not torch.equal(before, next(trained.net_g.parameters()))
    trained.feed_data({'lq': torch.rand(1, 3, 13, 18)})
    trained.test()
    assert trained.output.shape == (1, 3, 52, 72)


def onnx_outputs(net, x, tmp_path):
    import onnx
    from onnx.reference import ReferenceEvaluator
    path = tmp_path / 'net.onnx'
    torch.onnx.export(net, (x,), str(path), input_names=['lq'], output_names=['sr'], dynamo=True, verbose=False)
    (sr,) = ReferenceEvaluator(onnx.load(path)).run(None, {'lq': x.numpy()})
    return torch.from_numpy(sr)


WAYS = {
    'deepcopy': lambda net, x, folder: copy.deepcopy(net)(x),
    'compile': lambda net, x, folder: (net.compile(backend='eager'), net(x))[1],
    'trace': lambda net, x, folder: torch.jit.trace(net, x, check_trace=False)(x),
    'onnx': onnx_outputs,
    'channels_last': lambda net, x, folder: net.to(memory_format=torch.channels_last)(x),
}


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('position', ['last-conv', 'all-part'])
def test_eval_mode_gives_the_plain_networks_image_every_way(way, position, tmp_path):
    arguments = {'num_feat': 8, 'num_block': 2}
    plain = ARCH_REGISTRY.get('MSRResNet')(**arguments).eval()
    net = copy.deepcopy(plain)
    insert_dropout(net, position, p=0.7)
    with torch.no_grad():
        torch.testing.assert_close(WAYS[way](net.eval(), image(), tmp_path), plain(image()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('way', ['compile', 'autocast', 'channels_last', 'deepcopy'])
def test_training_drops_every_way(way):
    net = build_network(section('MSRResNet', dropout_position=['last-conv', 'all-part'])).train()
    x = image()
    if way == 'compile':
        net.compile(backend='eager')
    elif way == 'channels_last':
        net.to(memory_format=torch.channels_last)
    elif way == 'deepcopy':
        net = copy.deepcopy(net)
    with torch.autocast('cpu', torch.bfloat16, enabled=way == 'autocast'):
        torch.manual_seed(0)
        first = net(x)
        second = net(x)
        torch.manual_seed(0)
        again = net(x)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    first.float().mean().backward()


def test_insert_dropout_without_option_files():
    net = ARCH_REGISTRY.get('EDSR')(**BASES['EDSR'][0]).train()
    before = net(image())
    handle = insert_dropout(net, position='last-conv', dim='channel', p=0.7)
    assert not torch.equal(net(image()), before)
    handle.remove()
    assert torch.equal(net(image()), before)


@pytest.mark.parametrize(('name', 'arguments', 'purpose'), [
    ('DropoutRRDBNet', {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 2}, 'ESRGAN'),
    ('DropoutSwinIR', {**SWINIR, 'depths': [2, 2], 'num_heads': [2, 2]}, 'SwinIR'),
])
def test_spandrel_opens_our_checkpoints_as_the_ordinary_model(name, arguments, purpose, tmp_path):
    from spandrel import ModelLoader

    from reflash_sr.weights import state_dict as weights
    torch.manual_seed(0)
    net = ARCH_REGISTRY.get(name)(**{k: v for k, v in arguments.items() if k != 'type'}).eval()
    path = tmp_path / 'net_g.pth'
    weights.save({'params': net.state_dict(), 'network_g': {'type': name, **arguments}}, path)
    opened = ModelLoader().load_from_file(path)
    assert opened.architecture.name == purpose
    assert opened.scale == 4
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(opened(x), net(x).clamp(0, 1), rtol=1e-4, atol=1e-5)
