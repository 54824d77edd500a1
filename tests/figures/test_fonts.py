"""Labels in any script."""

import warnings

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.patches import Patch
from matplotlib.text import Text
from PIL import Image

from reflash_sr.figures import fonts, style

NOWHERE = '\U000e0fff'  # a code point that no font has


def letters_of(family):
    path = font_manager.findfont(font_manager.FontProperties(family=family))
    return set(font_manager.get_font(path).get_charmap())


def drawn(path, *names):
    """Draw names at all places of a figure, with warnings of missing letters as errors; the figure and its texts."""
    figure = style.new_figure(names[0])
    [axes] = style.add_panels(figure, [names[-1]])
    style.group_axis(axes, names)
    style.bar_label(axes, 0, 0.5, names[0])
    style.legend_below(figure, [Patch(label=name) for name in names])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        style.save(figure, path)
    return [text for text in figure.findobj(Text) if text.get_text()]


@pytest.fixture(autouse=True)
def no_note_yet():
    fonts._note.cache_clear()


def test_letters_that_the_usual_font_lacks_come_from_another_font(tmp_path, capsys):
    letter = chr(min(letters_of('STIXGeneral') - letters_of('DejaVu Sans')))
    texts = drawn(tmp_path / 'x.png', f'name {letter}', 'other')
    assert f'name {letter}' in {text.get_text() for text in texts}
    assert all(len(text.get_fontfamily()) > 1 for text in texts)
    assert capsys.readouterr().err == ''


def test_letters_that_no_font_has_are_written_as_code_points_with_one_note(tmp_path, capsys):
    for _ in range(2):
        texts = [text.get_text() for text in drawn(tmp_path / 'x.png', f'name {NOWHERE}', 'other')]
        assert texts.count('name [U+E0FFF]') >= 4  # title, group, bar, legend
        assert not any(NOWHERE in text for text in texts)
    note = capsys.readouterr().err
    assert note.startswith(f'note: no installed font has {NOWHERE}; figures show code points') and note.count('\n') == 1


def test_common_names_are_drawn_as_before(tmp_path):
    texts = drawn(tmp_path / 'x.png', 'Set5 $x$ é', 'Привет')
    assert all(len(text.get_fontfamily()) == 1 for text in texts)
    assert np.asarray(Image.open(tmp_path / 'x.png')).std() > 0


def test_rows_of_letters_stay_short_and_marks_are_left_out():
    assert fonts.as_code_points('猫犬 1', '猫犬') == '[U+732B U+72AC] 1'
    assert fonts.as_code_points('超分辨率测试集', set('超分辨率测试集')) == '[U+8D85 U+5206 … U+8BD5 U+96C6]'
    assert fonts.as_code_points('a\ufe0f-]^', {'\ufe0f', ']', '^', '-'}) == 'a[U+002D U+005D U+005E]'
