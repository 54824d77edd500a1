"""Every relative link and image of the documentation leads to a file, and every anchor to a heading."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')), *sorted(ROOT.glob('docs/*.md'))]
FENCE = re.compile(r'^ *```.*?^ *```', re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\(<?([^)\s>]+)|^ *\[[^\]]+\]: *(\S+)|<(?:a|img)\b[^>]*?(?:href|src)="([^"]+)"', re.MULTILINE)
HEADING = re.compile(r'^#+ +(.*?)[ #]*$', re.MULTILINE)
ELSEWHERE = re.compile(r'[a-z]+:')  # http:, mailto:


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub('', path.read_text(encoding='utf-8'))


def links(text: str) -> list[str]:
    found = (next(filter(None, groups)) for groups in LINK.findall(re.sub(r'`[^`\n]*`', '', text)))
    return [target for target in found if not ELSEWHERE.match(target)]


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them: letters, digits, - and _; a repeated one gets a number."""
    found: dict[str, int] = {}
    for heading in HEADING.findall(text):
        words = re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', heading).strip().lower()
        slug = re.sub(r'[^\w\- ]', '', words).replace(' ', '-')
        found[slug] = found.get(slug, -1) + 1
    return {f'{slug}-{number}' if number else slug for slug, last in found.items() for number in range(last + 1)}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_and_images_of_a_page_are_there(page):
    for link in links(prose(page)):
        name, _, anchor = link.partition('#')
        target = page.parent / name if name else page
        assert target.exists(), f'{page.name}: {link}'
        assert not anchor or (target.suffix == '.md' and anchor in anchors(prose(target))), f'{page.name}: {link}'


def test_anchors_follow_githubs_rule():
    text = '# A `b_c`: d, e (Sec. 6.1)\n## [Text](x.md) – x\n## Twice\n## Twice ##\n'
    assert anchors(text) == {'a-b_c-d-e-sec-61', 'text--x', 'twice', 'twice-1'}


def test_links_of_every_form_are_found():
    text = '[a](b.md#c) ![d](<e.png>) `[no](no.md)` [f](https://g)\n[h]: i.md\n<img width="1" src="j.png">\n'
    assert links(text) == ['b.md#c', 'e.png', 'i.md', 'j.png']
