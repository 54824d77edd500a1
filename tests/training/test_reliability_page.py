"""Every test that docs/reliability.md names exists."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / 'docs/reliability.md').read_text(encoding='utf-8')
NAMED = re.findall(r'`((?:\w+/)*test_\w+(?:\.py(?:::test_\w+)?)?)`', PAGE)


@pytest.mark.parametrize('name', dict.fromkeys(NAMED))
def test_what_the_page_names_exists(name):
    path, _, test = name.rpartition('::') if '.py' not in name.rpartition('::')[2] else (name, '', '')
    file = TESTS / (path or 'training/test_resume.py')
    assert file.is_file()
    assert not test or f'def {test}(' in file.read_text(encoding='utf-8')


def test_names_are_found_on_the_page():
    assert len(NAMED) > 30
