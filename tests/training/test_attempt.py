"""Errors of classes that an option file describes become one line about the file."""

from urllib.error import URLError

import pytest
from basicsr.losses.basic_loss import PerceptualLoss

from reflash_sr.errors import UserError
from reflash_sr.training.attempt import attempt


@pytest.mark.parametrize(('error', 'message'), [
    (URLError('no name server'), r'cannot download what it needs \(no name server\); copy the file .*, or remove this'),
    (KeyError('vgg_type'), 'train: perceptual_opt: vgg_type: is missing'),
    (ValueError('no such layer'), 'PerceptualLoss does not accept these options: no such layer'),
    (UserError('is missing'), 'train: perceptual_opt: is missing')])
def test_the_section_and_what_to_do_are_named(error, message):
    def build():
        raise error

    with pytest.raises(UserError, match=message) as told:
        attempt('train: perceptual_opt', PerceptualLoss, build)
    assert str(told.value).startswith('train: perceptual_opt: ')
