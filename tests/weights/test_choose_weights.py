"""Which state dict of a file is the network's, by what other projects write."""

import numpy as np
import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet

from reflash_sr.errors import UserError
from reflash_sr.weights import state_dict as weights


def state_of(seed, prefix=''):
    torch.manual_seed(seed)
    return {f'{prefix}{name}': value for name, value in MSRResNet(num_feat=4, num_block=1).state_dict().items()}


WANTED, OTHER = state_of(0), state_of(1)
DISCRIMINATOR = {'conv0.weight': torch.zeros(4, 3, 3, 3), 'conv0.bias': torch.zeros(4)}
OPTIMISER = {'state': {0: {'step': torch.tensor(1.0), 'exp_avg': torch.zeros(4)}}, 'param_groups': [{'lr': 1e-4}]}
LIGHTNING = {'epoch': 3, 'global_step': 12, 'pytorch-lightning_version': '2.4.0', 'loops': {'fit_loop': {}},
             'optimizer_states': [OPTIMISER], 'lr_schedulers': [], 'hparams_name': 'kwargs'}  # yapf: disable


def with_prefix(prefix, state):
    return {f'{prefix}{name}': value for name, value in state.items()}


FILES = {
    'bare, as of KAIR': (WANTED, 'bare'),
    'bare, with numbers beside': ({**WANTED, 'epoch': 3, 'psnr': 27.5, 'note': None}, 'bare'),
    'params': ({'params': WANTED}, 'params'),
    'of neosr': ({'params': OTHER, 'params-ema': WANTED}, 'params-ema'),
    'both': ({'params': OTHER, 'params_ema': WANTED}, 'params_ema'),
    'params-ema': ({'params-ema': WANTED}, 'params-ema'),
    'model': ({'model': WANTED, 'optimizer': OPTIMISER, 'iter': 3}, 'model'),
    'model_state_dict': ({'model_state_dict': WANTED, 'optimizer_state_dict': OPTIMISER}, 'model_state_dict'),
    'net': ({'net': WANTED, 'acc': 1.0, 'epoch': 5}, 'net'),
    'model and its average': ({'model': OTHER, 'model_ema': WANTED}, 'model_ema'),
    'timm': ({'state_dict': OTHER, 'state_dict_ema': with_prefix('module.', WANTED), 'arch': 'x'}, 'state_dict_ema'),
    'average of a dict': ({'model_state_dict': OTHER, 'ema_state_dict': WANTED}, 'ema_state_dict'),
    'generator': ({'generator': WANTED, 'discriminator': DISCRIMINATOR}, 'generator'),
    'of any name': ({'my weights': WANTED, 'optimizer': OPTIMISER}, 'my weights'),
    'G and D': ({'G': WANTED, 'D': DISCRIMINATOR}, 'G'),
    'networks with keys': ({'net_d': {'params': DISCRIMINATOR}, 'net_g': {'params': WANTED}}, 'net_g.params'),
    'deep': ({'checkpoint': {'model': {'params': WANTED}}}, 'checkpoint.model.params'),
    'Lightning': ({**LIGHTNING, 'state_dict': with_prefix('net_g.', WANTED)}, 'state_dict'),
    'Lightning, compiled': ({**LIGHTNING, 'state_dict': with_prefix('model._orig_mod.', WANTED)}, 'state_dict'),
    'Lightning, GAN': ({**LIGHTNING, 'state_dict': {**with_prefix('net_d.', DISCRIMINATOR),
                                                    **with_prefix('net_g.', WANTED),
                                                    'loss.vgg.mean': torch.zeros(1, 3, 1, 1)}}, 'state_dict.net_g'),
    'Lightning, with a loss': ({**LIGHTNING, 'state_dict': {**with_prefix('model.', WANTED),
                                                            'criterion.vgg.0.weight': torch.zeros(2, 2)}},
                               'state_dict.model'),
    'Lightning, with averages': ({**LIGHTNING, 'state_dict': {
        **with_prefix('net_g.', OTHER), **with_prefix('net_g_ema.module.', WANTED),
        'net_g_ema.n_averaged': torch.tensor(3)}}, 'state_dict.net_g_ema'),
    'ema_pytorch': ({'step': torch.tensor(9), 'initted': torch.tensor(True), **with_prefix('ema_model.', WANTED),
                     **with_prefix('online_model.', OTHER)}, 'bare.ema_model'),
    'counted by thop': ({**WANTED, 'total_ops': torch.zeros(1), 'total_params': torch.zeros(1), **{
        name.replace('weight', 'total_ops'): torch.zeros(1) for name in WANTED if name.endswith('weight')}}, 'bare'),
    'AveragedModel': ({'n_averaged': torch.tensor(2), **with_prefix('module.', WANTED)}, 'bare'),
    'AveragedModel, params': ({'params': {'n_averaged': torch.tensor(2), **with_prefix('module.', WANTED)}}, 'params'),
}  # yapf: disable


def saved(content, path):
    torch.save(content, path)
    return path


@pytest.mark.parametrize('kind', FILES)
def test_the_network_is_found_in_what_people_save(kind, tmp_path):
    content, key = FILES[kind]
    loaded = weights.load_weights(saved(content, tmp_path / 'x.pth'))
    assert loaded.key == key
    weights.check_fit(MSRResNet(num_feat=4, num_block=1), loaded)
    assert all(torch.equal(value, WANTED[name]) for name, value in loaded.state_dict.items())


@pytest.mark.parametrize(('content', 'named', 'taken'), [
    ({'params': OTHER, 'state_dict': WANTED}, 'state_dict', 'state_dict'),
    ({'params': OTHER, 'of mine': {'x': torch.zeros(2), **WANTED}}, 'of mine', 'of mine'),
    ({'params_ema': OTHER, 'params': WANTED}, 'params', 'params'),
    (WANTED, 'bare', 'bare'),
    ({'net_g': {'params': WANTED}, 'net_d': {'params': DISCRIMINATOR}}, 'net_g.params', 'net_g.params'),
    ({'net_g': {'params': WANTED, 'params_ema': OTHER}, 'params': OTHER}, 'net_g.params', 'net_g.params'),
    (FILES['Lightning, GAN'][0], 'state_dict', 'state_dict.net_g'),
    (FILES['Lightning, GAN'][0], 'net_g', 'state_dict.net_g'),
    (FILES['Lightning, with averages'][0], 'net_g', 'state_dict.net_g'),
    ({'a.b': WANTED, 'a': OTHER}, 'a.b', 'a.b'),
])
def test_a_key_that_exists_is_taken_whatever_its_name(content, named, taken, tmp_path):
    loaded = weights.load_weights(saved(content, tmp_path / 'x.pth'), named=named)
    assert loaded.key == taken
    expected = OTHER if taken == 'state_dict.net_g' and named == 'net_g' and 'net_g_ema.n_averaged' in content[
        'state_dict'] else WANTED
    assert torch.equal(loaded.state_dict['conv_first.weight'], expected['conv_first.weight'])


@pytest.mark.parametrize(('content', 'named', 'only'), [
    ({'params': WANTED, 'params_ema': OTHER}, 'prams', "'params', 'params_ema'"),
    (WANTED, 'params', "'bare'"),
    ({'params': WANTED}, 'params_ema', "'params'"),
    (FILES['Lightning, GAN'][0], 'params', "'state_dict.net_d', 'state_dict.net_g', 'state_dict.loss'"),
])
def test_a_key_that_does_not_exist_is_refused_with_those_that_do(content, named, only, tmp_path):
    with pytest.raises(UserError) as caught:
        weights.load_weights(saved(content, tmp_path / 'x.pth'), named=named)
    assert str(caught.value) == f"{tmp_path / 'x.pth'}: has no '{named}' weights, only {only}"


@pytest.mark.parametrize('content', [{'a': WANTED, 'b': OTHER}, {'state_dict': WANTED, 'model': OTHER},
                                     {'first': {'params': WANTED}, 'second': {'params': OTHER}}])
def test_several_networks_are_listed_and_one_must_be_named(content, tmp_path):
    path = saved(content, tmp_path / 'x.pth')
    with pytest.raises(UserError, match=r"x\.pth: holds the weights of several networks: '\S+', '\S+'; say which one, "
                       'with param_key_g in an option file or --param_key'):
        weights.load_weights(path)
    assert weights.load_weights(path, named=next(iter(content))).state_dict.keys() == WANTED.keys()


@pytest.mark.parametrize(('content', 'message'), [
    ({'optimizer': OPTIMISER, 'epoch': 3}, r'no weights found: .*it holds optimizer, epoch'),
    ({'discriminator': DISCRIMINATOR}, r'no weights found: .*it holds discriminator'),
    ({'iter': 3, 'optimizers': [OPTIMISER], 'schedulers': []}, r'is a training state, without weights; name the net_g'),
    ({}, r'no weights found: .*it holds nothing'),
])
def test_files_without_a_generator_say_what_they_hold(content, message, tmp_path):
    with pytest.raises(UserError, match=rf'x\.pth: {message}'):
        weights.load_weights(saved(content, tmp_path / 'x.pth'))


def test_a_network_with_parts_of_any_name_is_kept_whole(tmp_path):
    state = {'head.weight': torch.zeros(2, 2), 'model.0.weight': torch.ones(2, 2), 'net.tail.weight': torch.ones(2)}
    loaded = weights.load_weights(saved(state, tmp_path / 'x.pth'))
    assert (loaded.key, loaded.state_dict.keys()) == ('bare', state.keys())


def test_numpy_scalars_beside_the_weights_do_no_harm(tmp_path):
    scalars = {kind: np.dtype(kind).type(3) for kind in ('f2', 'f4', 'f8', 'i1', 'i4', 'i8', 'u1', 'u8', 'c8', '?')}
    scalars |= {'text': np.str_('ab'), 'big': np.array(2.5, '>f8')[()], 'list': [np.float64(1.5)]}
    for form in ('zip', 'before torch 1.6', 'NumPy 1'):
        torch.save({'state_dict': WANTED, **scalars}, tmp_path / 'x.pth', _use_new_zipfile_serialization=form == 'zip')
        if form == 'NumPy 1':
            (tmp_path / 'x.pth').write_bytes((tmp_path / 'x.pth').read_bytes().replace(b'numpy._core', b'numpy.core'))
        content = weights.load_file(tmp_path / 'x.pth')
        assert weights.load_weights(tmp_path / 'x.pth').key == 'state_dict'
        plain = {name: value for name, value in content.items() if name not in ('state_dict', 'list')}
        assert plain == {name: scalars[name].item() for name in plain}
        assert {type(value) for value in plain.values()} == {float, int, complex, bool, str}
        assert content['list'] == [1.5]
