"""Option files as other programs and projects write them are understood, or named."""

import pytest

from reflash_sr.errors import UserError
from reflash_sr.options import check_options as checks
from reflash_sr.options import option_file
from tests.options.test_option_file import write


@pytest.mark.parametrize('word', ['None', 'none', 'null', '~', '"None"'])
def test_no_path_in_the_words_of_python_and_json(tmp_path, word):
    opt = option_file.load(write(tmp_path / 'x.yml', f'path: {{resume_state: {word}, strict_load_g: true}}'))
    assert opt['path'] == {'resume_state': None, 'strict_load_g': True}


@pytest.mark.parametrize(('name', 'text', 'message'), [
    ('train.json', '{"netG": {"net_type": "rrdbnet"} // of KAIR\n}', 'is not YAML; an option file of KAIR'),
    ('train.toml', 'name = "esrgan"', 'is not YAML; an option file of neosr'),
    ('x.yml', 'netG: {net_type: rrdbnet}', 'netG: is a key of KAIR'),
    ('x.yml', 'name: a\nuse_amp: true\nnetwork_g: {type: esrgan}', 'use_amp: is a key of traiNNer-redux'),
])
def test_option_files_of_other_projects_are_named(tmp_path, name, text, message):
    path = write(tmp_path / name, text)
    with pytest.raises(UserError, match=rf'{message}.*docs/coming-from\.md says'):
        checks.check(option_file.load(path), str(path), is_train=True)


def test_a_name_in_other_letters_is_suggested(training_options):
    training_options['network_g'] = {'type': 'msrresnet'}
    with pytest.raises(UserError, match="did you mean 'MSRResNet'"):
        checks.check(training_options, 'x.yml', is_train=True)
