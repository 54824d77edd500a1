"""A page stands alone: everything escaped, every image inside, nothing loaded."""

import re
from html.parser import HTMLParser

from PIL import Image

from reflash_sr.commands.html_page import Details, Figure, Section, Table, render
from tests.conftest import smooth_image

VOID = {'meta', 'img', 'br', 'hr'}


class Balance(HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_stands_alone(tmp_path):
    Image.fromarray(smooth_image(0, 16, 16)).save(tmp_path / 'x.png')
    nasty = '<script>alert("x")</script> & Müller'
    text = render(nasty, [
        Section(nasty, [nasty, Table((nasty, 'dB'), [(nasty, '1.0')], 1, frozenset({(0, 1)})),
                        Details(nasty, {'a': nasty}), Figure(tmp_path / 'x.png', nasty)])])
    page = Balance(text)
    assert not any(tag == 'script' for tag, _ in page.tags)
    links = [value for _, attributes in page.tags for key, value in attributes.items() if key in ('src', 'href')]
    assert all(link.startswith(('data:image/png;base64,', '#')) for link in links)
    assert not re.search(r'(url\(|@import|https?:)', text)
    assert ('td', {'class': 'marked'}) in page.tags
    assert ('meta', {'name': 'viewport', 'content': 'width=device-width, initial-scale=1'}) in page.tags
