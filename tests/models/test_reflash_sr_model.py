"""ReflashSRModel: mixed precision, memory format, windows, masks, loading."""

import copy
import logging

import pytest
import torch

from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.errors import RunError, UserError
from reflash_sr.models import ReflashSRModel, reflash_sr_model
from reflash_sr.system import devices


def build(opt, **changes):
    torch.manual_seed(0)
    return ReflashSRModel(copy.deepcopy({**opt, **changes}))


def batch():
    torch.manual_seed(1)
    return {'lq': torch.rand(2, 3, 8, 8), 'gt': torch.rand(2, 3, 32, 32), 'gt_path': ['a.png', 'b.png']}


def steps(model, iterations=(1, 2, 3)):
    for iteration in iterations:
        model.feed_data(batch())
        model.optimize_parameters(iteration)
    return model


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.net_g.parameters()])


@pytest.mark.parametrize('changes', [{}, {'amp': 'bf16'}, {'channels_last': True},
                                     {'amp': 'bf16', 'channels_last': True}], ids=str)
def test_trains_on_a_cpu_with_float32_weights(opt, changes):
    model = build(opt, **changes)
    before = parameters(model)
    steps(model)
    after = parameters(model)
    assert after.dtype == torch.float32
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)
    log = model.get_current_log()
    assert set(log) == {'l_pix'}
    assert 0 < log['l_pix'] < 1


@pytest.mark.parametrize(('amp', 'has', 'warned'), [('bf16', False, True), ('bf16', True, False), (None, False, False)])
def test_bfloat16_on_a_device_that_has_none_is_warned_of(opt, amp, has, warned, monkeypatch, caplog):
    monkeypatch.setattr(devices, 'has_bf16', lambda device: has)
    monkeypatch.setattr(reflash_sr_model, 'get_root_logger', lambda: logging.getLogger('test'))
    build(opt, amp=amp)
    assert ('amp: bf16: cpu has no bfloat16' in caplog.text) == warned


def test_dropout_masks_depend_on_seed_and_iteration_alone(opt):
    first = steps(build(opt))
    second = build(opt)
    for iteration in (1, 2, 3):
        torch.rand(7)  # whatever disturbs the generator
        steps(second, [iteration])
    assert torch.equal(parameters(first), parameters(second))
    assert not torch.equal(parameters(first), parameters(steps(build(opt, manual_seed=4))))
    assert not torch.equal(parameters(first), parameters(steps(build(opt), (4, 5, 6))))


def test_ema_follows_the_weights(opt):
    model = steps(build(opt))
    ema = torch.cat([p.flatten() for p in model.net_g_ema.parameters()])
    assert not torch.equal(ema, parameters(model))
    model.feed_data(batch())
    model.test()
    assert model.output.shape == (2, 3, 32, 32)
    assert torch.equal(model.output, model.net_g_ema(batch()['lq']))


def test_not_finite_loss_stops_before_saving(opt, tmp_path):
    model = build(opt)
    bad = batch()
    bad['gt'][0] = float('nan')
    model.feed_data(bad)
    model.optimize_parameters(1)
    for act in (model.get_current_log, lambda: model.save(0, 1)):
        with pytest.raises(RunError, match=r'l_pix was not finite at iteration 1; its batch: a\.png, b\.png'):
            act()
    assert not list(tmp_path.rglob('*.pth'))


def test_checkpoints_carry_the_network_options_and_load_into_the_plain_network(opt, tmp_path):
    from basicsr.archs.srresnet_arch import MSRResNet
    model = steps(build(opt))
    model.save(0, 3)
    content = torch.load(tmp_path / 'experiments/tiny/models/net_g_3.pth', weights_only=True)
    assert content['network_g'] == opt['network_g']
    MSRResNet(num_feat=8, num_block=1).load_state_dict(content['params'])
    opt['path']['pretrain_network_g'] = tmp_path / 'experiments/tiny/models/net_g_3.pth'
    again = build(opt)
    assert torch.equal(parameters(again), parameters(model))
    assert torch.equal(next(again.net_g_ema.parameters()), next(model.net_g_ema.parameters()))


def test_weights_that_do_not_fit_are_refused_unless_told(opt, tmp_path):
    torch.save({'params': DropoutMSRResNet(num_feat=4, num_block=1).state_dict()}, tmp_path / 'w.pth')
    opt['path']['pretrain_network_g'] = str(tmp_path / 'w.pth')
    with pytest.raises(UserError, match=r'w\.pth \[params\]: does not fit'):
        build(opt)
    opt['path']['strict_load_g'] = False
    build(opt)


def test_networks_with_windows_are_padded_and_cropped(opt):
    network = {'type': 'SwinIR', 'upscale': 4, 'img_size': 16, 'window_size': 8, 'depths': [1], 'num_heads': [1],
               'embed_dim': 8, 'mlp_ratio': 1, 'upsampler': 'pixelshuffledirect'}
    model = build(opt, network_g=network)
    model.feed_data({'lq': torch.rand(1, 3, 13, 18)})
    model.test()
    assert model.output.shape == (1, 3, 52, 72)


@pytest.mark.parametrize('name', ['AdamW', 'SGD', 'RAdam'])
def test_any_optimiser_of_torch(opt, name):
    opt['train']['optim_g']['type'] = name
    assert type(build(opt).optimizer_g).__name__ == name


@pytest.mark.gpu
@pytest.mark.parametrize('amp', [None, 'bf16'])
def test_trains_on_a_gpu(opt, amp):
    model = steps(build(opt, device='cuda', num_gpu=1, amp=amp, channels_last=True))
    assert parameters(model).device.type == 'cuda'
    assert torch.isfinite(parameters(model)).all()


def test_weights_that_the_file_lacks_begin_alike_in_ema(opt, tmp_path):
    torch.save({'params': DropoutMSRResNet(num_feat=8, num_block=1, upscale=3).state_dict()}, tmp_path / 'x3.pth')
    opt['path'].update(pretrain_network_g=str(tmp_path / 'x3.pth'), strict_load_g=False)
    model = build(opt)
    for name, value in model.net_g.state_dict().items():
        assert torch.equal(value, model.net_g_ema.state_dict()[name]), name


def test_training_goes_on_dropping_after_a_validation_without_ema(opt):
    opt['train']['ema_decay'] = 0
    model = build(opt)
    model.feed_data(batch())
    model.test()
    assert model.net_g.training
    assert torch.equal(model.output, model.net_g.eval()(batch()['lq']))


@pytest.mark.parametrize('changes', [{}, {'amp': 'bf16'}, {'channels_last': True}], ids=str)
def test_precision_and_memory_format_are_those_asked_for(opt, changes):
    model, seen = build(opt, **changes), []
    model.net_g.conv_hr.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    steps(model, [1])
    assert seen == [torch.bfloat16 if changes.get('amp') else torch.float32]
    for net in (model.net_g, model.net_g_ema):
        last = net.conv_hr.weight.is_contiguous(memory_format=torch.channels_last)
        assert last == bool(changes.get('channels_last'))


@pytest.fixture
def process_group(tmp_path):
    """A group of this process alone."""
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize('dist', [False, True])
def test_a_compiled_run_trains_what_another_trains(opt, dist, process_group):
    """With Inductor and dropout, also inside DDP; saving, validation and the names of weights know nothing of it."""
    changes = {'dist': dist, 'network_g': {**opt['network_g'], 'dropout_p': 0.5}}
    plain, compiled = (build(opt, compile=wanted, **changes) for wanted in (False, 'default'))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for model in (plain, compiled):
        steps(model)
    graphs = torch._dynamo.utils.counters['stats']['unique_graphs']
    assert graphs > 0
    assert parameters(compiled).allclose(parameters(plain), atol=1e-4)
    assert list(compiled.net_g.state_dict()) == list(plain.net_g.state_dict())
    compiled.feed_data(batch())
    compiled.test()
    assert torch.equal(compiled.output, compiled.net_g_ema(batch()['lq']))
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == graphs
