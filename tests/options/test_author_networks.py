"""The authors' class names and checkpoints."""

import logging

import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet

from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.options import check_options as checks
from reflash_sr.options.author_networks import describe_change, translate_network
from reflash_sr.weights import state_dict as weights
from reflash_sr.weights.key_names import translate_keys


@pytest.mark.parametrize(('theirs', 'ours', 'dim', 'p'), [
    ('MSRResNet_details', 'MSRResNet', None, None),
    ('MSRResNet_detailss', 'MSRResNet', None, None),  # as in their train_realsrresnet.yml
    ('MSRResNet_details_dropoutlast_channel07', 'DropoutMSRResNet', 'channel', 0.7),
    ('MSRResNet_dropoutlast_element07', 'DropoutMSRResNet', 'element', 0.7),
    ('MSRResNet_dropoutlast_channel01', 'DropoutMSRResNet', 'channel', 0.1),
    ('RRDBNet_dropoutlast_channel05', 'DropoutRRDBNet', 'channel', 0.5),
])
def test_class_names(theirs, ours, dim, p):
    section = translate_network({'type': theirs, 'num_feat': 64})
    assert section['type'] == ours
    assert section['num_feat'] == 64
    assert section.get('dropout_dim') == dim
    assert section.get('dropout_p') == p


@pytest.mark.parametrize('other', ['MSRResNet', 'RRDBNet', 'DropoutMSRResNet', 'MSRResNet_mine', None])
def test_other_names_are_left_alone(other):
    assert translate_network({'type': other}) is None


def test_option_files_say_what_became_of_a_name(training_options, caplog):
    training_options['network_g'] = {'type': 'MSRResNet_details_dropoutlast_channel07', 'num_feat': 8, 'num_block': 1,
                                     'upscale': 4}
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    try:
        checks.check(training_options, 'x.yml', is_train=True)
    finally:
        logger.removeHandler(caplog.handler)
    assert 'changed to type: DropoutMSRResNet, dropout_position: last-conv, dropout_dim: channel, dropout_p: 0.7' in (
        caplog.text)


def test_their_checkpoints_load(tmp_path):
    """Their network names its blocks body1.0 … body16.0."""
    plain = MSRResNet(num_feat=8, num_block=16)
    theirs = {}
    for name, value in plain.state_dict().items():
        parts = name.split('.')
        theirs['.'.join([f'body{int(parts[1]) + 1}', '0', *parts[2:]]) if parts[0] == 'body' else name] = value
    assert 'body16.0.conv2.bias' in theirs
    torch.save({'params': theirs}, tmp_path / 'theirs.pth')
    loaded = weights.load_weights(tmp_path / 'theirs.pth')
    net = DropoutMSRResNet(num_feat=8, num_block=16)
    weights.check_fit(net, loaded)
    net.load_state_dict(loaded.state_dict)
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(net.eval()(x), plain.eval()(x))


def test_other_keys_are_left_alone():
    names = ['body.0.conv1.weight', 'body.1.rdb1.conv1.weight', 'conv_first.weight', 'body0.0.x', 'body1.1.x']
    assert translate_keys(names) == names


@pytest.mark.parametrize('names', [['body1.0.conv1.weight', 'body1.1.conv1.weight', 'body2.0.conv1.weight'],
                                   ['body1.0.weight', 'body2.0.weight'], ['body1.0.conv1.weight', 'body2.bias']])
def test_other_networks_may_call_their_parts_body1(names):
    assert translate_keys(names) == names


@pytest.mark.parametrize(('name', 'is_another_elsewhere'), [
    ('MSRResNet_details_dropoutlast_channel07', True), ('MSRResNet_dropoutlast_channel07', False),
    ('RRDBNet_dropoutlast_element05', False), ('MSRResNet_detailss', False)])
def test_the_log_says_whose_class_a_name_was_taken_for(name, is_another_elsewhere):
    """Adaptive Dropout has a class of the same name that is another network."""
    section = {'type': name, 'num_feat': 8}
    said = describe_change(section, translate_network(section))
    assert said.startswith(f'type: {name} is taken for the class of this name in the code of Reflash Dropout')
    assert ('in the code of Adaptive Dropout (CVPR 2025) is another network' in said) == is_another_elsewhere
    assert 'changed to type: ' in said
