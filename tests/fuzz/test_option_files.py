"""Mutations of the shipped option files: each passes the checks, or is refused in one line that names file and key."""

import copy
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import event, given
from hypothesis import strategies as st

from reflash_sr.errors import UserError
from reflash_sr.options import check_options as checks
from reflash_sr.options import option_file
from reflash_sr.studies import grid
from reflash_sr.training import preflight
from tests.conftest import fill
from tests.fuzz.strategies import damages, examples, is_one_line

SHIPPED = sorted((Path(__file__).parents[2] / 'options').glob('*.yml'))
SMALL = {'num_feat': 8, 'num_block': 2, 'num_grow_ch': 4, 'embed_dim': 12, 'depths': [1, 1], 'num_heads': [2, 2],
         'gt_size': 32, 'crop_pad_size': 64, 'total_batch_size': 2, 'num_worker_per_gpu': 0, 'total_iter': 2,
         'periods': ['total_iter'], 'val_freq': 2, 'save_checkpoint_freq': 2, 'print_freq': 1, 'device': 'cpu',
         'amp': None, 'dropout_position': 'last-conv', 'pretrain_network_g': None,
         'base': 'bundled:srresnet32x8_p0_seed0'}
KEYS = ('type', 'name', 'scale', 'dropout_p', 'lr', 'total_iter', 'base', 'é', '', 'nmae', '<<', 'train')
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 70), st.sampled_from((10**6, 2**31, 2**63 - 1, -2**40)), st.floats(),
    st.sampled_from((0.5, 1.0, 1e-4, 1e300)),
    st.sampled_from(('', '~', 'auto', '../x', '/dev/zero', 'cuda', 'none', 'last-conv', 'B1', 'every-conv', 'MSRResNet',
                     'WithDropout', 'SRModel', 'PairedImageDataset', 'L1Loss', 'bf16', 'all', 'b+n', '1e-4')),
    st.text(max_size=12))
VALUES = st.one_of(SCALARS, SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from(KEYS), SCALARS,
                                                                                 max_size=2))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Images, and a place for the mutated file."""
    folder = tmp_path_factory.mktemp('options')
    fill(folder / 'images', 2, 72, 96)
    return folder


def small(section, images):
    """The same options for two small images and a small network, so that an example takes milliseconds."""
    for key, value in section.items():
        if isinstance(value, dict) and key != 'axes':
            small(value, images)
        elif key in ('dataroot_gt', 'dataroot_lq'):
            section[key] = str(images)
        elif key in SMALL:
            section[key] = copy.copy(SMALL[key])
    return section


def places(section, path=()):
    """Every key, by the path to it."""
    for key, value in section.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from places(value, (*path, key))


def parent_of(opt, path):
    for key in path[:-1]:
        opt = opt[key]
    return opt


@st.composite
def mutants(draw, opt):
    """Options that differ from ``opt`` in one to four places."""
    opt = copy.deepcopy(opt)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 4)))):
        known = list(places(opt))
        if not known:
            break
        path, other = draw(st.sampled_from(known)), draw(st.sampled_from(known))
        section, key = parent_of(opt, path), path[-1]
        kind = draw(st.sampled_from(('delete', 'rename', 'value', 'value', 'near', 'near', 'copy', 'swap', 'add')))
        if kind == 'delete':
            del section[key]
        elif kind == 'rename':
            section[draw(st.sampled_from((key[1:], f'{key}s', key.upper(), other[-1], *KEYS)))] = section.pop(key)
        elif kind == 'value':
            section[key] = draw(VALUES)
        elif kind == 'near':
            section[key] = draw(near(section[key]))
        elif kind == 'copy':
            section[key] = copy.deepcopy(parent_of(opt, other)[other[-1]])
        elif kind == 'swap' and path[:len(other)] != other and other[:len(path)] != path:
            theirs = parent_of(opt, other)
            section[key], theirs[other[-1]] = theirs[other[-1]], section[key]
        elif kind == 'add':
            section[draw(st.sampled_from((*KEYS, other[-1])))] = draw(VALUES)
    return opt


def near(value):
    """Values that somebody might write by mistake instead of ``value``."""
    if isinstance(value, bool):
        return st.sampled_from((not value, str(value), int(value)))
    if isinstance(value, (int, float)):
        return st.sampled_from((-value, 0, value + 1, value * 2, value / 3, float(value), str(value), [value]))
    if isinstance(value, str):
        return st.sampled_from((value[1:], value.upper(), [value], f'{value} ', f'{value}x', 1))
    if isinstance(value, list):
        return st.sampled_from((value[1:], value * 2, value[:1], (value or [None])[0], [value], list(map(str, value))))
    return st.sampled_from((list(value or ()), None, 3))


def checked(path, root, deep):
    """Do what a start of a run does before it writes anything; returns the expanded options."""
    opt = option_file.load(path)
    if 'study' in opt:
        first = grid.load(path).cells[0]
        opt = first.options
    is_train = 'train' in opt
    checks.check(opt, str(path), is_train)
    try:
        opt.update(dist=False, rank=0, world_size=1)
        option_file.expand(opt, root, is_train)
        if deep:
            preflight.open_datasets(opt)
            preflight.check_network(opt)
    except UserError as error:
        raise UserError(f'{path}: {error}') from error
    return opt


def tried(path, root, deep=False):
    """Check a file; a refusal must be one line that names it, and, beyond YAML, something in it."""
    try:
        checked(path, root, deep)
    except UserError as error:
        assert is_one_line(error, f'{path}: ')
        assert re.search(r"\w+: |line \d+|not an option file|values|no network|'", str(error).replace(f'{path}: ', ''))
        event('refused')
    else:
        event('passed')


@examples(60)
@given(data=st.data(), shipped=st.sampled_from(SHIPPED))
def test_a_mutated_file_passes_the_checks_or_is_refused(folder, data, shipped):
    opt = data.draw(mutants(option_file.load(shipped)))
    path = folder / 'my options.yml'
    path.write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
    tried(path, folder)


@examples(20)
@given(data=st.data(), shipped=st.sampled_from(SHIPPED))
def test_a_mutated_file_passes_with_its_data_and_network_or_is_refused(folder, data, shipped):
    opt = data.draw(mutants(small(option_file.load(shipped), folder / 'images')))
    path = folder / 'my options.yml'
    path.write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
    tried(path, folder, deep=True)


@examples(40)
@given(data=st.data(), shipped=st.sampled_from(SHIPPED))
def test_a_file_with_other_bytes_or_lines_passes_or_is_refused(folder, data, shipped):
    text = shipped.read_bytes()
    if data.draw(st.booleans()):
        lines = text.splitlines(keepends=True)
        first, second = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        lines.insert(first, lines[second])
        text = b''.join(lines)
    path = folder / 'my options.yml'
    path.write_bytes(data.draw(damages(text)))
    tried(path, folder)


def test_the_unchanged_files_pass(folder):
    """So that what the other tests refuse was refused for its mutation."""
    passed = 0
    for shipped in SHIPPED:
        path = folder / 'my options.yml'
        opt = small(option_file.load(shipped), folder / 'images')
        path.write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
        try:
            checked(path, folder, deep='test' not in shipped.stem)
            passed += 1
        except UserError as error:
            assert ('needs a CUDA device' if 'gan' in shipped.stem else 'pretrain_network_g') in str(error)
    assert passed >= len(SHIPPED) - 2
    assert not os.path.exists(folder / 'experiments')
