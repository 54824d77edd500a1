"""Option files of Real-ESRGAN and of the paper's authors, run as a user runs them."""

import csv

import pytest
import torch
from PIL import Image

from tests import forked
from tests.conftest import fill
from tests.options.real_esrgan_files import FILES, GANS, METRICS, RRDB, TRAINING, pairs

NO_GPU = {'CUDA_VISIBLE_DEVICES': ''}
DROPOUT = {**RRDB, 'type': 'DropoutRRDBNet', 'dropout_p': 0.5}
AROUND = {'type': 'WithDropout', 'base': RRDB, 'dropout_p': 0.5}


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Paths for the option files: four GT images with their LQ images at scale 4, listed alone and as pairs."""
    root = tmp_path_factory.mktemp('images')
    gt = fill(root / 'gt', 4, 96, 128)
    (root / 'lq').mkdir()
    for path in gt.iterdir():
        with Image.open(path) as image:
            image.resize((32, 24)).save(root / 'lq' / path.name)
    names = sorted(path.name for path in gt.iterdir())
    (root / 'list.txt').write_text(''.join(f'{name} (96,128,3)\n' for name in names))
    (root / 'pairs.txt').write_text(''.join(f'gt/{name}, lq/{name}\n' for name in names))
    return {'gt': str(gt), 'lq': str(root / 'lq'), 'val_gt': str(gt), 'val_lq': str(root / 'lq'),
            'list': str(root / 'list.txt'), 'pairs': str(root / 'pairs.txt'), 'root': str(root)}


def options(images, name, **changes):
    at = {**images, **(dict.fromkeys(('gt', 'lq'), images['root']) if 'pair' in name else {})}
    opt = {**FILES[name](at), 'name': 'run', **changes}
    if opt['scale'] == 4 and 'val' not in opt['datasets'] and 'train' in opt:
        opt['datasets']['val'] = pairs(at['val_lq'], at['val_gt'])
        opt['val'] = {'val_freq': 2, 'save_img': True, 'metrics': METRICS}
    return opt


def run(folder, command, opt, *args, environment=None):
    """Run the command to its end; returns the exit status and what was printed."""
    process = forked.start(forked.write(folder, opt), command, '-opt', 'run.yml', *args, environment=environment)
    process.join(300)
    assert not process.is_alive(), 'timed out'
    return process.exitcode, forked.printed(folder)


def weights(folder, name='net_g_latest'):
    return torch.load(folder / 'experiments/run/models' / f'{name}.pth', weights_only=True)


@pytest.mark.parametrize('name', [name for name in TRAINING if name not in GANS])
def test_they_train_and_validate_without_a_gpu(tmp_path, images, name):
    opt = options(images, name)
    status, said = run(tmp_path / 'run', 'train', opt, environment=NO_GPU)
    assert status == 0, said
    assert 'Model [ReflashSRModel] is created' in said
    log, = (tmp_path / 'run/experiments/run').glob('*.log')
    for text in (said, log.read_text(encoding='utf-8')):
        assert 'RealESRNetModel → ReflashSRModel (no CUDA device)' in text
    if opt.get('val'):
        table = tmp_path / 'run/experiments/run/validation/iter_2.csv'
        assert {row['method'] for row in csv.DictReader(table.open())} == {'network', 'bicubic'}
    if opt['num_gpu'] == 2:
        assert '1 × 4 samples per iteration' in said
    if name.startswith('train_real') and (test := name.replace('train_', 'test_')) in FILES:
        opt = options({**images, 'weights': str(tmp_path / 'run/experiments/run/models/net_g_latest.pth')}, test)
        status, said = run(tmp_path / 'run', 'test', opt, environment=NO_GPU)
        assert status == 0, said


@pytest.mark.parametrize('name', GANS)
def test_a_gan_without_a_gpu_is_refused_before_anything_is_written(tmp_path, images, name):
    status, said = run(tmp_path / 'run', 'train', options(images, name), environment=NO_GPU)
    assert status == 2
    assert said.count('\n') == 1
    assert 'RealESRGANModel needs a CUDA device, and this run has none' in said
    assert {path.name for path in (tmp_path / 'run').iterdir()} == {'run.yml', 'stderr.txt'}


@pytest.mark.parametrize('name', ['finetune_realesrgan_x4plus', 'finetune_realesrgan_x4plus_pairdata'])
def test_the_generator_of_a_gan_trains_alone_without_a_gpu(tmp_path, images, name):
    args = ('--force_yml', 'model_type=ReflashSRModel', 'train:perceptual_opt=~')
    status, said = run(tmp_path / 'run', 'train', options(images, name), *args, environment=NO_GPU)
    assert status == 0, said
    assert 'the generator is trained alone, without a GAN loss' in said
    assert not (tmp_path / 'run/experiments/run/models/net_d_latest.pth').exists()


@pytest.mark.parametrize(('model', 'discriminator'), [
    ('SRGANModel', {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}),
    ('ESRGANModel', {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4, 'input_size': 128})])
def test_gans_that_need_no_gpu_train_and_continue_without_one(tmp_path, images, model, discriminator):
    side = discriminator.get('input_size', 32)
    fill(tmp_path / 'gt', 2, side)
    fill(tmp_path / 'lq', 2, side // 4)
    opt = options(images, 'train_realesrgan_x4plus', model_type=model, network_d=discriminator, network_g=DROPOUT)
    data = {**pairs(str(tmp_path / 'lq'), str(tmp_path / 'gt'), 'pairs'), 'gt_size': side, 'use_hflip': True,
            'use_rot': True, 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0}
    opt['datasets']['train'] = data
    opt['train']['perceptual_opt'] = None
    opt['logger']['save_checkpoint_freq'] = 2
    opt = {key: value for key, value in opt.items() if key in (
        'name', 'model_type', 'scale', 'num_gpu', 'datasets', 'network_g', 'network_d', 'path', 'train', 'val',
        'logger')}  # yapf: disable
    status, said = run(tmp_path / 'run', 'train', opt, environment=NO_GPU)
    assert status == 0, said
    assert 'l_g_gan' in said
    opt['train']['total_iter'] = 3
    status, said = run(tmp_path / 'run', 'train', opt, '--auto_resume', environment=NO_GPU)
    assert status == 0, said
    assert 'iter 3/3' in said
    assert 'iter 2/3' not in said


@pytest.mark.gpu
@pytest.mark.parametrize('name', [name for name in TRAINING if name not in GANS])
def test_on_a_gpu_their_own_classes_train_and_validate(tmp_path, images, name):
    opt = options(images, name, num_gpu=1)
    opt['train']['total_iter'] = 4
    opt['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5}
    status, said = run(tmp_path / 'run', 'train', opt)
    assert status == 0, said
    assert 'Model [RealESRNetModel] is created' in said
    assert '(cuda' in said
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / 'run')['params'].values())
    if opt.get('val'):
        assert '# psnr:' in said


@pytest.mark.gpu
@pytest.mark.parametrize(('name', 'network'), [*((name, DROPOUT) for name in GANS), (GANS[2], AROUND)],
                         ids=[*GANS, 'WithDropout'])
def test_on_a_gpu_a_gan_is_fine_tuned_with_dropout_and_continued(tmp_path, images, name, network):
    scale = FILES[name](images)['scale']
    base = {**RRDB, 'scale': scale}
    network = {**network, 'base': base} if 'base' in network else {**network, 'scale': scale}
    opt = options(images, name, network_g=network)
    opt['train']['perceptual_opt'] = None  # the weights of VGG may be missing
    opt['logger']['save_checkpoint_freq'] = 2
    status, said = run(tmp_path / 'run', 'train', opt)
    assert status == 0, said
    assert 'Model [RealESRGANModel] is created' in said
    assert 'channel dropout, p = 0.5' in said
    assert 'l_g_gan' in said
    before = weights(tmp_path / 'run')['params']
    opt['train']['total_iter'] = 4
    status, said = run(tmp_path / 'run', 'train', opt, '--auto_resume')
    assert status == 0, said
    assert 'iter 4/4' in said
    after = weights(tmp_path / 'run')['params']
    assert before.keys() == after.keys()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(before[key], after[key]) for key in after)
    assert (tmp_path / 'run/experiments/run/models/net_d_latest.pth').is_file()


@pytest.mark.gpu
def test_on_a_gpu_the_cpu_may_be_asked_for(tmp_path, images):
    status, said = run(tmp_path / 'run', 'train', options(images, 'train_realesrnet_x4plus', num_gpu=0))
    assert status == 0, said
    assert 'Device: CPU' in said


@pytest.mark.gpu
def test_on_a_gpu_our_model_may_be_asked_for(tmp_path, images):
    opt = options(images, 'train_realesrnet_x4plus')
    status, said = run(tmp_path / 'run', 'train', opt, '--force_yml', 'model_type=ReflashSRModel')
    assert status == 0, said
    assert 'Model [ReflashSRModel] is created' in said
    assert '(cuda' in said
