"""Names of weights: what wrappers leave, and old layouts, give the network that was saved."""

import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from hypothesis import given
from hypothesis import strategies as st

from reflash_sr.errors import UserError
from reflash_sr.weights import spandrel_networks
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.key_names import WRAPPERS, other_layout, plain_names, unwrapped, upsampling_steps
from reflash_sr.weights.network_from_file import open_network
from tests.fuzz.strategies import examples
from tests.weights.old_networks import OldestRRDBNet, OldMSRResNet, OldRRDBNet

LQ = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SIZES = {'num_feat': 8, 'num_block': 2, 'num_grow_ch': 4}
OLD = {
    'old': (OldRRDBNet, lambda: RRDBNet(3, 3, 4, **SIZES)),
    'oldest': (OldestRRDBNet, lambda: RRDBNet(3, 3, 4, **SIZES)),
    'oldest, KAIR': (lambda: OldestRRDBNet(wrapped=False), lambda: RRDBNet(3, 3, 4, **SIZES)),
    'SRResNet': (OldMSRResNet, lambda: MSRResNet(num_feat=8, num_block=2)),
}


def made(build):
    torch.manual_seed(0)
    return build().eval()


def saved(content, path):
    torch.save(content, path)
    return path


@pytest.mark.parametrize('wrap', [lambda state: state, lambda state: {'params': state},
                                  lambda state: {f'module.{name}': value for name, value in state.items()},
                                  lambda state: {'model': {f'model.{name}': value for name, value in state.items()}}])
@pytest.mark.parametrize('layout', OLD)
def test_old_layouts_give_the_same_pictures(layout, wrap, tmp_path):
    old, new = (made(build) for build in OLD[layout])
    path = saved(wrap(old.state_dict()), tmp_path / 'x.pth')
    loaded = weights.load_weights(path)
    weights.check_fit(new, loaded)
    weights.load_into(new, loaded)
    opened = open_network(path)
    assert opened.scale == 4
    assert opened.network_g['type'] == type(new).__name__
    with torch.no_grad():
        for net in (new, opened.net):
            torch.testing.assert_close(net(LQ), old(LQ), rtol=0, atol=1e-5)


@pytest.mark.parametrize('layout', OLD)
def test_old_weights_also_load_into_the_old_class(layout, tmp_path):
    old, other = made(OLD[layout][0]), OLD[layout][0]().eval()
    weights.load_into(other, weights.load_weights(saved(old.state_dict(), tmp_path / 'x.pth')))
    with torch.no_grad():
        assert torch.equal(other(LQ), old(LQ))


@pytest.mark.parametrize('steps', [0, 1, 3])
@pytest.mark.parametrize('build', [OldRRDBNet, OldestRRDBNet])
@pytest.mark.parametrize('scale', [1, 2, 4])
def test_old_networks_with_other_steps_are_not_taken_for_basicsrs(build, steps, scale, tmp_path):
    net = build(steps=steps)
    assert upsampling_steps(net.state_dict()) == steps
    loaded = weights.load_weights(saved(net.state_dict(), tmp_path / 'x.pth'))
    why = rf"{steps} upsampling steps?, and BasicSR's RRDBNet always has 2; pip install -e \"\.\[models\]\""
    with pytest.raises(UserError, match=rf"x\.pth .*does not fit RRDBNet: it is an ESRGAN network with {why}"):
        weights.check_fit(RRDBNet(3, 3, scale, **SIZES), loaded)
    other = build(steps=steps)
    weights.load_into(other, loaded)
    with torch.no_grad():
        assert torch.equal(other(LQ), net(LQ))


@pytest.mark.parametrize('build', [OldRRDBNet, OldestRRDBNet])
def test_without_the_extra_such_a_file_names_it(build, tmp_path, monkeypatch):
    monkeypatch.setattr(spandrel_networks, 'available', lambda: False)
    path = saved(build(steps=1).state_dict(), tmp_path / 'x.pth')
    with pytest.raises(UserError) as caught:
        open_network(path)
    assert str(caught.value) == (
        f"{path}: it is an ESRGAN network with 1 upsampling step, and BasicSR's RRDBNet always has 2; networks "
        'of other projects need pip install -e ".[models]"')


def test_networks_with_other_layers_are_left_as_they_are():
    plus = {**OldestRRDBNet().state_dict(), 'model.1.sub.0.RDB1.conv1x1.weight': torch.zeros(4, 8, 1, 1)}
    shuffled = {name.replace('model.3.', 'model.2.').replace('model.6.', 'model.5.'): value
                for name, value in OldestRRDBNet().state_dict().items()}
    for state in (plus, shuffled):
        assert plain_names([*state]) == [*state]
        assert other_layout(state) == "it is an ESRGAN network with layers that BasicSR's RRDBNet does not have"
    for net in (RRDBNet(3, 3, 4, **SIZES), MSRResNet(num_feat=8, num_block=1)):
        assert plain_names([*net.state_dict()]) == [*net.state_dict()]
        assert other_layout(net.state_dict()) == ''


NESTING = st.lists(st.sampled_from(['_orig_mod.', *WRAPPERS]), max_size=5).map(''.join)


@pytest.mark.parametrize('build', [lambda: MSRResNet(num_feat=4, num_block=1), OldRRDBNet, OldestRRDBNet])
@examples(40)
@given(prefix=NESTING)
def test_any_nesting_of_wrappers_is_taken_off(build, prefix):
    names = [*build().state_dict()]
    assert unwrapped([prefix + name for name in names]) == names
    assert plain_names([prefix + name for name in names]) == plain_names(names)


def test_a_part_that_was_compiled_has_the_names_of_the_whole():
    names = [*MSRResNet(num_feat=4, num_block=1).state_dict()]
    compiled = [name.replace('body.0.', 'body._orig_mod.0._checkpoint_wrapped_module.') for name in names]
    assert compiled != names
    assert unwrapped(compiled) == names


class Held(torch.nn.Module):
    """A network of a plugin whose names all begin like a wrapper's."""

    def __init__(self, name):
        super().__init__()
        setattr(self, name, MSRResNet(num_feat=4, num_block=1))


@pytest.mark.parametrize('name', ['model', 'net', 'generator', 'module'])
@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.net_g.'])
def test_a_network_whose_own_names_look_wrapped_gets_its_weights(name, prefix, tmp_path):
    net, other = Held(name), Held(name)
    path = saved({f'{prefix}{key}': value for key, value in net.state_dict().items()}, tmp_path / 'x.pth')
    weights.load_into(other, weights.load_weights(path))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in net.state_dict().items())


def test_averaged_model_and_compiled_networks_of_torch(tmp_path):
    net = made(lambda: MSRResNet(num_feat=4, num_block=1))
    averaged = torch.optim.swa_utils.AveragedModel(net)
    compiled = torch.compile(net)
    both = torch.optim.swa_utils.AveragedModel(torch.nn.DataParallel(net))
    for wrapped in (averaged, compiled, both, torch.nn.DataParallel(compiled)):
        opened = open_network(saved(wrapped.state_dict(), tmp_path / 'x.pth'))
        with torch.no_grad():
            assert torch.equal(opened.net(LQ), net(LQ))
