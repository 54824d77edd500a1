"""Two views of every image: what is refused before a run."""

import pytest

from reflash_sr.errors import UserError
from reflash_sr.training import preflight
from tests import forked

ALIGN = {'type': 'AlignLoss'}


@pytest.mark.parametrize(('views', 'changes', 'words'), [
    (False, {}, 'train: align_opt: needs a second LQ of every image; write second_lq: true'),
    (True, {'model_type': 'SRModel', 'align': None}, 'second_lq: SRModel does not read the second LQ'),
    (True, {'accumulate': 2}, 'train: align_opt: is not possible with accumulate: the statistics are those of'),
    (True, {'compile': True}, 'train: align_opt: is not possible with compile'),
    (True, {'align': {**ALIGN, 'layer': 'B7'}}, "train: align_opt: layer: DropoutMSRResNet has no layer 'B7'"),
    (True, {'align': {'type': 'L1Loss'}}, 'train: align_opt: type: L1Loss is not a loss of features; write AlignLoss'),
    (True, {'align': {**ALIGN, 'fourier': -1}}, 'train: align_opt: fourier: must be a number, 0 or above'),
    (True, {}, None),
])
def test_what_does_not_fit_together_is_one_line(views, changes, words, training_options, open_sets):
    train = training_options['train']
    changes = dict(changes)
    train.update({key: value for key, value in (('align_opt', changes.pop('align', ALIGN)),
                                                ('accumulate', changes.pop('accumulate', None))) if value})
    data = {**training_options['datasets']['train'], 'second_lq': views}

    def checked():
        opt, _ = open_sets(training_options['datasets']['val'], train=data,
                           model_type=changes.get('model_type', 'ReflashSRModel'))
        preflight.check_network({**opt, 'is_train': True, **changes})

    if words is None:
        checked()
    else:
        with pytest.raises(UserError, match=words):
            checked()


def test_a_run_with_two_views_logs_the_loss(training_options, tmp_path):
    training_options['train']['align_opt'] = ALIGN
    training_options['datasets']['train']['second_lq'] = True
    folder = forked.write(tmp_path / 'aligned', training_options)
    status, said = forked.train(folder)
    assert status == 0, said
    (log,) = folder.glob('experiments/tiny/train_tiny_*.log')
    lines = [line for line in log.read_text(encoding='utf-8').splitlines() if 'l_pix' in line]
    assert len(lines) == 3 and all('l_align' in line for line in lines)
