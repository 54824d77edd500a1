"""Pairs of LQ and GT files are compared before a run writes anything."""

import io
from pathlib import Path

import lmdb
import pytest
from PIL import Image, ImageOps

from reflash_sr.errors import UserError
from tests.conftest import smooth_image
from tests.image_sets import paired, save_images, single

TRAIN = {'gt_size': 16, 'use_hflip': True, 'use_rot': True, 'total_batch_size': 1, 'num_worker_per_gpu': 0}


@pytest.mark.parametrize('is_train', [True, False])
@pytest.mark.parametrize(('gt', 'hint'), [
    ((64, 64), 'they match at scale 2: '),  # the wrong folder: the first validation would fail
    ((256, 256), 'they match at scale 8: '),  # its top left corner would be measured
    ((132, 128), 'make the LQ image from this GT'),
    ((127, 128), 'make the LQ image from this GT'),
])
def test_validation_pairs_of_another_scale_are_refused(open_sets, is_train, gt, hint):
    section = paired('pairs', [(128, 128), gt], [(32, 32), (32, 32)])
    with pytest.raises(UserError, match=rf'datasets: \w+_0: pairs/lq/1\.png: 32×32 px does not match pairs/gt/1\.png: '
                                        rf'{gt[1]}×{gt[0]} px at scale 4, which needs 128×128 px; {hint}'):
        open_sets(section, is_train=is_train)


@pytest.mark.parametrize('is_train', [True, False])
@pytest.mark.parametrize('orientation', [2, 3, 6, 8])
@pytest.mark.parametrize('width', [128, 96])
def test_pairs_of_which_one_is_turned_are_refused(open_sets, is_train, orientation, width):
    stored = Image.fromarray(smooth_image(0, 128, width))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = ImageOps.exif_transpose(_with(stored, exif))

    def section(folder, lq):
        made = paired(folder, [upright.size[::-1]], [(lq.height // 4, lq.width // 4)])
        lq.resize((lq.width // 4, lq.height // 4), Image.Resampling.BICUBIC).save(f'{folder}/lq/0.png')
        stored.save(f'{folder}/gt/0.png', exif=exif)
        return made if not is_train else {**made, **TRAIN}

    def check(given):
        open_sets(train=given) if is_train else open_sets(given)

    check(section('right', upright))
    with pytest.raises(UserError, match=r'turned/lq/0\.png: .* px does not match ' if orientation > 4 and width != 128
                       else rf'turned/lq/0\.png: does not lie as .* \(EXIF orientations 1 and {orientation}\); make'):
        check(section('turned', stored))


def _with(image, exif):
    file = io.BytesIO()
    image.save(file, 'PNG', exif=exif)
    return Image.open(file)


def test_a_few_pixels_beyond_a_multiple_of_the_scale_are_cut_as_basicsr_does(open_sets):
    section = paired('pairs', [(255, 253)], [(63, 63)])
    _, sets = open_sets(section)
    assert sets['val_0'][0]['gt'].shape[1:] == (252, 252)
    with pytest.raises(UserError, match=r'0\.png: 63×63 px does not match .*; crop the GT$'):  # BasicSR refuses them
        open_sets(train={**section, **TRAIN})


@pytest.mark.parametrize('gt_size', [0, -16, 18, 16.0, None])
def test_a_patch_that_is_no_multiple_of_the_scale_is_refused(open_sets, gt_size):
    with pytest.raises(UserError, match=rf'datasets: train: gt_size: must be a multiple of the scale, 4, .*{gt_size}$'):
        open_sets(train={**paired('pairs', [(64, 64)], [(16, 16)], **TRAIN), 'gt_size': gt_size})


def test_training_pairs_smaller_than_a_patch_are_named(open_sets):
    with pytest.raises(UserError, match=r'train: pairs/lq/1\.png: 16×3 px is smaller than gt_size / scale, 4;'):
        open_sets(train=paired('pairs', [(64, 64), (12, 64)], [(16, 16), (3, 16)], **TRAIN))


@pytest.mark.parametrize(('names', 'message'), [
    (['0x4.png', '1x4.png'], r"gt/0\.png: has no counterpart pairs/lq/0\.png \(filename_tmpl: '\{\}'\); write "
                             r"filename_tmpl: '\{\}x4'"),
    (['0.png', '1.bmp'], r'gt/1\.png: has no counterpart pairs/lq/1\.png .*add it, with the same ending'),
    (['0.png', '7.png'], r'gt/1\.png: has no counterpart pairs/lq/1\.png'),
    (['0.png', '1.png', '2.png'], r'lq/2\.png: has no counterpart in pairs/gt; remove it'),
])
def test_names_that_do_not_fit(open_sets, names, message):
    section = paired('pairs', [(64, 64)] * 2, [(16, 16)] * len(names), names)
    with pytest.raises(UserError, match=rf'datasets: val_0: .*{message}'):
        open_sets(section)


@pytest.mark.parametrize('kind', ['PairedImageDataset', 'RealESRGANPairedDataset'])
def test_the_template_that_is_suggested_works(open_sets, kind):
    section = paired('pairs', [(64, 64)] * 2, [(16, 16)] * 2, ['0x4.png', '1x4.png'])
    with pytest.raises(UserError, match=r"write filename_tmpl: '\{\}x4'"):
        open_sets({**section, 'type': kind})
    open_sets({**section, 'type': kind, 'filename_tmpl': '{}x4'})


@pytest.mark.parametrize('key', ['dataroot_gt', 'dataroot_lq'])
def test_a_folder_that_is_missing_is_named(open_sets, key):
    with pytest.raises(UserError, match='datasets: val_0: elsewhere: no such folder'):
        open_sets({**paired('pairs', [(64, 64)], [(16, 16)]), key: 'elsewhere'})


def test_every_file_of_a_list_is_looked_for(open_sets):
    Path('list.txt').write_text('0.png (64,64,3)\n7.png (64,64,3)\n', encoding='utf-8')
    with pytest.raises(UserError, match=r'pairs/lq/7\.png: no such image'):
        open_sets(paired('pairs', [(64, 64)], [(16, 16)], meta_info_file='list.txt'))


@pytest.mark.parametrize('kind', ['lq', 'gt', 'no GT'])
def test_a_damaged_validation_image_is_found_before_the_run(open_sets, kind):
    section = single('images', [(64, 64)] * 2) if kind == 'no GT' else paired('images', [(64, 64)] * 2, [(16, 16)] * 2)
    path = Path('images', '' if kind == 'no GT' else kind, '1.png')
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(UserError, match=rf'datasets: val_0: {path}: cannot be read as an image'):
        open_sets(section, metrics={})


def test_a_file_that_is_no_image_is_named(open_sets):
    section = single('images', [(64, 64)])
    Path('images/Thumbs.db').write_bytes(b'of a file manager')
    with pytest.raises(UserError, match=r'images/Thumbs\.db: cannot be read as an image'):
        open_sets(section, metrics={})


def test_a_format_that_basicsr_cannot_read_is_named(open_sets):
    section = paired('pairs', [(64, 64)], [(16, 16)])
    for kind in ('gt', 'lq'):
        with Image.open(f'pairs/{kind}/0.png') as image:
            image.save(f'pairs/{kind}/1.tga')
    with pytest.raises(UserError, match=r'/1\.tga: BasicSR reads images with OpenCV, which does not know this format'):
        open_sets(section)


def as_lmdb(folder, name=None, sizes=True):
    """An LMDB of a folder's images, as BasicSR's tool makes it; returns its path."""
    lines, root = [], name or f'{folder}.lmdb'
    with lmdb.open(root, map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for path in sorted(Path(folder).iterdir()):
            transaction.put(path.stem.encode(), path.read_bytes())
            with Image.open(path) as image:
                lines.append(f'{path.name} ({image.height},{image.width},3) 1' if sizes else path.name)
    Path(root, 'meta_info.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return root


@pytest.mark.parametrize('phase', ['train', 'val'])
def test_pairs_in_an_lmdb_are_compared_too(open_sets, phase):
    for name, gt, message in (('good', (64, 64), None), ('bad', (64, 32), r'lq\.lmdb/1: 16×16 px does not match')):
        section = {**paired(name, [(64, 64), gt], [(16, 16)] * 2), 'io_backend': {'type': 'lmdb'},
                   'dataroot_gt': as_lmdb(f'{name}/gt'), 'dataroot_lq': as_lmdb(f'{name}/lq')}
        sets = {'train': {**section, **TRAIN}} if phase == 'train' else {}
        val = [section] if phase == 'val' else []
        if message:
            with pytest.raises(UserError, match=message):
                open_sets(*val, **sets)
        else:
            open_sets(*val, **sets)


def test_our_test_set_in_an_lmdb_is_decoded_and_measured(open_sets):
    save_images('gt', [(64, 64), (80, 64)])
    section = {'type': 'DegradationTestDataset', 'dataroot_gt': as_lmdb('gt'), 'io_backend': {'type': 'lmdb'}}
    open_sets(section)
    with pytest.raises(UserError, match=r'niqe: does not accept images of 64×64 px, such as gt\.lmdb/0\.png'):
        open_sets(section, metrics={'niqe': {'type': 'calculate_niqe', 'crop_border': 4}})
    Path('gt/1.png').write_bytes(Path('gt/1.png').read_bytes()[:200])
    with pytest.raises(UserError, match=r'gt2\.lmdb: 1: cannot be read as an image'):
        open_sets({**section, 'dataroot_gt': as_lmdb('gt', name='gt2.lmdb', sizes=False)})


@pytest.mark.parametrize('what', ['truncated', 'without sizes'])
def test_an_lmdb_that_cannot_be_used_is_named(open_sets, what):
    section = {**paired('pairs', [(64, 64)] * 3, [(16, 16)] * 3), 'io_backend': {'type': 'lmdb'},
               'dataroot_gt': as_lmdb('pairs/gt', sizes=what == 'truncated'), 'dataroot_lq': as_lmdb('pairs/lq')}
    data = Path('pairs/gt.lmdb/data.mdb')
    if what == 'truncated':  # reading beyond its end would kill the process
        data.write_bytes(data.read_bytes()[:8192])
    with pytest.raises(UserError, match='data.mdb: is truncated' if what == 'truncated' else r'0\.png: its size is'):
        open_sets(section)
