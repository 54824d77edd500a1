"""Upscaling folders: names, what is there already, what is broken; and the command."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reflash_sr.commands import upscale as command
from reflash_sr.commands.upscale import plan, upscale
from reflash_sr.data.images import image_with_metadata
from reflash_sr.data.images.read_image import read_image
from reflash_sr.errors import UserError
from reflash_sr.evaluation.tiled_inference import Restorer
from reflash_sr.weights.network_from_file import build_network
from tests.conftest import TINY_NETWORK, fill, smooth_image

TOOL = Path(__file__).parents[2] / 'tools' / 'upscale.py'


@pytest.fixture(scope='module')
def restorer():
    return Restorer(build_network(TINY_NETWORK).eval(), 4)


def run(folder, restorer, output, **options):
    names = {key: options.pop(key) for key in ('suffix', 'ext') if key in options}
    jobs = plan(folder, output, deviations=bool(options.get('passes')), **names)
    return upscale(jobs, restorer, output, **options)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_colours_are_the_restorers_and_folders_are_kept(image_folder, restorer, tmp_path):
    summary = run(image_folder, restorer, tmp_path / 'out')
    assert (summary.written, summary.skipped, summary.broken) == (4, 0, [])
    assert sorted(contents(tmp_path / 'out')) == ['a 1_out.png', 'b 2_out.png', 'c_out.jpg',
                                                  'inner folder/d 10_out.png']
    wanted = restorer.restore(read_image(image_folder / 'a 1.png'))
    assert np.array_equal(read_image(tmp_path / 'out' / 'a 1_out.png'), wanted)


@pytest.mark.parametrize('mode', ['L', 'LA', 'RGBA', 'I;16'])
def test_what_an_image_is_stays(restorer, tmp_path, mode):
    image = Image.fromarray(smooth_image(0, 9, 11)).convert('L' if mode == 'I;16' else mode)
    if mode == 'I;16':
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif 'A' in mode:
        image.putalpha(Image.linear_gradient('L').resize((11, 9)))
    image.save(tmp_path / 'x.png')
    run(tmp_path / 'x.png', restorer, tmp_path / 'out')
    with Image.open(tmp_path / 'out' / 'x_out.png') as result:
        assert (result.mode, result.size) == (mode, (44, 36))
        if 'A' in mode:
            alpha = np.asarray(result.getchannel('A'), int)
            wanted = np.asarray(image.getchannel('A').resize((44, 36), Image.Resampling.BICUBIC), int)
            assert np.abs(alpha - wanted).max() <= 1


def test_sixteen_bits_do_not_go_through_eight(restorer, tmp_path):
    Image.fromarray(smooth_image(0, 16, 16)[..., 0].astype(np.uint16) * 257).save(tmp_path / 'x.png')
    run(tmp_path / 'x.png', restorer, tmp_path / 'out')
    levels = np.asarray(Image.open(tmp_path / 'out' / 'x_out.png'))
    assert len(np.unique(levels)) > 256


def test_a_single_pixel(restorer, tmp_path):
    Image.new('RGB', (1, 1), 'red').save(tmp_path / 'x.png')
    run(tmp_path / 'x.png', restorer, tmp_path / 'out', passes=2)
    assert read_image(tmp_path / 'out' / 'x_out.png').shape == (4, 4, 3)
    assert np.load(tmp_path / 'out' / 'x_out_std.npy').shape == (4, 4)


def test_results_are_not_overwritten_unless_told_so(image_folder, restorer, tmp_path):
    run(image_folder, restorer, tmp_path / 'out')
    first = tmp_path / 'out' / 'a 1_out.png'
    first.write_bytes(b'mine')
    (tmp_path / 'out' / 'b 2_out.png').unlink()
    summary = run(image_folder, restorer, tmp_path / 'out')
    assert (summary.written, summary.skipped) == (1, 3)
    assert first.read_bytes() == b'mine'
    assert run(image_folder, restorer, tmp_path / 'out', overwrite=True).written == 4
    assert first.read_bytes() != b'mine'


def test_mc_writes_mean_and_deviations_and_depends_on_its_seed_alone(image_folder, restorer, tmp_path):
    run(image_folder, restorer, tmp_path / 'all', passes=3, seed=1)
    torch.rand(3)
    run(image_folder / 'b 2.png', restorer, tmp_path / 'one', passes=3, seed=1)
    both, one = contents(tmp_path / 'all'), contents(tmp_path / 'one')
    assert sorted(one) == ['b 2_out.png', 'b 2_out_std.npy', 'b 2_out_std.png']
    assert all(both[name] == content for name, content in one.items())
    std = np.load(tmp_path / 'one' / 'b 2_out_std.npy')
    assert (std.shape, std.dtype) == ((288, 384), np.float32)
    assert 0 < std.max() < 255
    assert Image.open(tmp_path / 'one' / 'b 2_out_std.png').size == (384, 288 + 40)
    assert run(image_folder, restorer, tmp_path / 'all', passes=3).skipped == 4


def test_plain_results_are_not_taken_for_those_of_mc(image_folder, restorer, tmp_path):
    run(image_folder / 'c.jpg', restorer, tmp_path / 'out')
    summary = run(image_folder / 'c.jpg', restorer, tmp_path / 'out', passes=2)
    assert 'without --mc' in summary.broken[0]
    run(image_folder, restorer, tmp_path / 'mc', passes=2)
    summary = run(image_folder, restorer, tmp_path / 'mc')
    assert 'made with --mc' in summary.broken[0]
    run(image_folder, restorer, tmp_path / 'mc', overwrite=True)
    assert not list((tmp_path / 'mc').rglob('*_std.*'))


def test_broken_images_do_not_keep_the_rest(image_folder, restorer, tmp_path):
    (image_folder / 'broken.png').write_text('x')
    summary = run(image_folder, restorer, tmp_path / 'out')
    assert summary.written == 4
    assert len(summary.broken) == 1
    assert 'broken.png' in summary.broken[0]
    assert not [name for name in contents(tmp_path / 'out') if 'part' in name]


def test_an_image_that_the_network_does_not_take_does_not_keep_the_rest(image_folder, tmp_path):
    Image.new('RGB', (1, 1)).save(image_folder / 'dot.png')
    restorer = Restorer(torch.nn.Sequential(torch.nn.ReflectionPad2d(1), torch.nn.AvgPool2d(3, 1)), 1)
    summary = run(image_folder, restorer, tmp_path / 'out')
    assert summary.written == 4
    [broken] = summary.broken
    assert re.search(r'dot\.png: the network cannot be run on 1×1 px \(.*[Pp]adding size', broken)
    assert '\n' not in broken


def test_a_folder_that_stays_empty_goes_again(restorer, tmp_path):
    (tmp_path / 'a.png').write_text('no image')
    (tmp_path / 'there').mkdir()
    for name, stays in (('new', False), ('there', True)):
        assert run(tmp_path / 'a.png', restorer, tmp_path / name).broken
        assert (tmp_path / name).exists() == stays


def test_equal_names_are_told_apart(tmp_path):
    for name in ('a.png', 'a.bmp', 'b.png'):
        (tmp_path / 'in').mkdir(exist_ok=True)
        (tmp_path / 'in' / name).write_bytes(b'')
    targets = [job.target.name for job in plan(tmp_path / 'in', tmp_path / 'out')]
    assert targets == ['a_bmp_out.png', 'a_png_out.png', 'b_out.png']
    assert [job.target.name for job in plan(tmp_path / 'in' / 'b.png', tmp_path, '', 'webp')] == ['b.webp']
    (tmp_path / 'in' / 'a_bmp.png').write_bytes(b'')
    with pytest.raises(UserError, match='would both become'):
        plan(tmp_path / 'in', tmp_path / 'out')


def test_an_input_is_never_a_result(image_folder, tmp_path):
    with pytest.raises(UserError, match='would replace'):
        plan(image_folder / 'a 1.png', image_folder, '')
    with pytest.raises(UserError, match='is the input folder'):
        plan(image_folder, image_folder)
    inside = image_folder / 'results'
    inside.mkdir()
    Image.new('RGB', (2, 2)).save(inside / 'a 1_out.png')
    assert len(plan(image_folder, inside)) == 4


def test_wrong_arguments_are_named(image_folder, restorer, tmp_path):
    with pytest.raises(UserError, match='no such image'):
        plan(tmp_path / 'nowhere', tmp_path / 'out')
    with pytest.raises(UserError, match='--suffix'):
        plan(image_folder, tmp_path / 'out', 'a/b')
    (tmp_path / 'file').write_text('x')
    with pytest.raises(UserError, match='cannot be written'):
        run(image_folder, restorer, tmp_path / 'file')


@pytest.fixture
def plain_weights(tmp_path):
    """Weights of a network without dropout, in a file that says what it holds."""
    plain = {**TINY_NETWORK, 'dropout_p': 0}
    torch.save({'params': build_network(plain).state_dict(), 'network_g': plain}, tmp_path / 'w.pth')
    return tmp_path / 'w.pth'


def test_the_command_in_its_own_process(image_folder, plain_weights, tmp_path):
    """One file is enough; a mistake is one line and exit status 2."""
    (image_folder / 'broken.png').write_text('x')
    done = subprocess.run([sys.executable, str(TOOL), '--weights', str(plain_weights), '--input',
                           str(image_folder / 'broken.png'), '--output', str(tmp_path / 'out'), '--device', 'cpu'],
                          capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (2, '')
    assert len(done.stderr.splitlines()) == 1
    assert 'broken.png: cannot be read' in done.stderr


def test_the_command(image_folder, plain_weights, tmp_path, monkeypatch, capsys):
    (image_folder / 'broken.png').write_text('x')

    def command(*more):
        arguments = ['--weights', plain_weights, '--output', tmp_path / 'out', '--device', 'cpu', *more]
        monkeypatch.setattr(sys, 'argv', ['upscale.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(TOOL), run_name='__main__')
        return left.value.code, *capsys.readouterr()

    code, out, err = command('--input', image_folder, '--mc', 2)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert '--arch WithDropout:dropout_p=0.5' in err  # and that is what helps:
    code, out, err = command('--input', image_folder, '--mc', 2, '--arch', 'WithDropout:dropout_p=0.5')
    assert code == 2
    assert out.startswith('upscaled 4, failed 1; in ')
    assert 'broken.png: cannot be read' in err
    assert err.splitlines()[-1] == 'upscale: error: 1 of 5 images could not be upscaled'
    (image_folder / 'broken.png').unlink()
    code, out, err = command('--input', image_folder, '--mc', 2, '--arch', 'DropoutMSRResNet:dropout_p=0.3')
    assert (code, out[:21]) == (0, 'upscaled 0, skipped 4')
    assert command('--input', image_folder, '--tile', -1)[0] == 2


def test_other_images_are_not_taken_for_standard_deviations(restorer, tmp_path):
    folder, out = fill(tmp_path / 'in', 1, 16), tmp_path / 'out'
    Image.fromarray(smooth_image(5, 16, 16)).save(folder / '0_std.png')
    assert run(folder, restorer, out, suffix='').written == 2
    assert run(folder, restorer, out, suffix='').skipped == 2
    before = (out / '0_std.png').read_bytes()
    np.save(out / '0_std.npy', np.zeros(1))
    assert run(folder, restorer, out, suffix='', overwrite=True).written == 2
    assert (out / '0_std.png').read_bytes() == before and (out / '0_std.npy').exists()


def test_standard_deviations_of_an_earlier_run_go_when_it_is_done_again_without(restorer, tmp_path):
    folder, out = fill(tmp_path / 'in', 1, 16), tmp_path / 'out'
    run(folder, restorer, out, passes=2)
    assert len(contents(out)) == 3
    run(folder, restorer, out, overwrite=True)
    assert list(contents(out)) == ['0_out.png']


def test_a_large_result_is_written_in_strips(restorer, tmp_path, monkeypatch):
    monkeypatch.setattr(image_with_metadata, 'MOST_WHOLE', 1000)
    tiled = Restorer(restorer.net, 4, tile=16, overlap=8)
    Image.fromarray(smooth_image(0, 50, 40)).save(tmp_path / 'x.png')
    run(tmp_path / 'x.png', tiled, tmp_path / 'out')
    assert np.array_equal(read_image(tmp_path / 'out' / 'x_out.png'), tiled.restore(read_image(tmp_path / 'x.png')))


@pytest.mark.parametrize('options, way', [({'ext': 'jpg'}, 'write --ext png'), ({'passes': 2}, 'leave out --mc')])
def test_a_result_that_would_not_fit_into_memory_is_refused_before_anything_is_written(restorer, tmp_path, monkeypatch,
                                                                                       options, way):
    Image.fromarray(smooth_image(0, 64, 64)).save(tmp_path / 'x.png')
    monkeypatch.setattr(command, 'free_on_machine', lambda: 300_000)
    summary = run(tmp_path / 'x.png', restorer, tmp_path / 'out', **options)
    assert 'x.png: a result of 256×256 px' in summary.broken[0] and way in summary.broken[0]
    assert 'GB are free' in summary.broken[0]
    assert contents(tmp_path / 'out') == {}


def test_long_names_are_written_as_long_as_the_file_system_takes_them(restorer, tmp_path):
    longest = 'n' * 247 + '.png'
    Image.fromarray(smooth_image(0, 8, 8)).save(tmp_path / longest)
    assert run(tmp_path / longest, restorer, tmp_path / 'out').written == 1
    (tmp_path / 'in').mkdir()
    Image.fromarray(smooth_image(0, 8, 8)).save(tmp_path / 'in' / f'n{longest}')
    with pytest.raises(UserError, match='would have 256 bytes'):
        plan(tmp_path / 'in', tmp_path / 'out')
