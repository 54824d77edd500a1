"""Letters of any script in figures: from fonts of the system, or as code points where no font has them."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Iterable

from matplotlib import font_manager
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

SHOWN = 4  # most code points in place of a row of letters
# Fonts of Matplotlib for formulas, whose letters are at other places, and one that draws a box for every letter.
_NO_TEXT = re.compile(r'cm[a-z]+\d+|STIX(Non|Size).*|Last Resort.*')


def fit_letters(figure: Figure) -> None:
    """Let a figure draw letters that its font lacks with other installed fonts; where there is none, write code points.

    A note on standard error names the letters that no font has.
    """
    texts = figure.findobj(Text)
    wanted = {letter for text in texts for letter in text.get_text() if not letter.isspace()}
    usual = font_manager.findfont(font_manager.FontProperties())
    lacking = frozenset(letter for letter in wanted if ord(letter) not in _letters(usual))
    if not lacking:
        return
    families, missing = _fonts_with(lacking)
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), *families])
    if missing:
        for axis in figure.findobj(Axis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, FuncFormatter):  # names of groups, which are set again whenever it is drawn
                axis.set_major_formatter(FuncFormatter(functools.partial(_formatted, formatter, missing)))
        for text in texts:
            text.set_text(as_code_points(text.get_text(), missing))
        _note(' '.join(sorted(letter for letter in missing if not _is_mark(letter))))


def as_code_points(text: str, missing: Iterable[str]) -> str:
    """Replace letters by their code points: ``猫 1`` becomes ``[U+732B] 1``; marks that stand alone are left out."""

    def codes(found: re.Match[str]) -> str:
        points = [f'U+{ord(letter):04X}' for letter in found[0] if not _is_mark(letter)]
        if len(points) > SHOWN:
            points[SHOWN // 2:-SHOWN // 2] = ['…']
        return f'[{" ".join(points)}]' if points else ''

    return re.sub(f'[{re.escape("".join(missing))}]+', codes, text)


def _formatted(formatter: FuncFormatter, missing: frozenset[str], value: float, place: int | None = None) -> str:
    return as_code_points(formatter(value, place), missing)


def _is_mark(letter: str) -> bool:
    """Whether a character only changes another, such as the one that makes a sign an emoji."""
    return unicodedata.category(letter) in ('Mn', 'Cf')


@functools.cache
def _fonts_with(letters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Families of installed fonts that together have most of these letters, and the letters that none has."""
    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:  # installed after Matplotlib listed the fonts
            try:
                manager.addfont(path)
            except Exception:  # a damaged font may raise anything
                continue
    fonts = {entry.name: entry.fname for entry in manager.ttflist
             if entry.style == 'normal' and str(entry.weight) in ('400', 'normal', 'regular')
             and not _NO_TEXT.fullmatch(entry.name)}
    families: list[str] = []
    while letters and fonts:
        best = max(fonts, key=lambda name: len(letters & _found(fonts[name], letters)))
        found = _found(fonts.pop(best), letters)
        if not found:
            break
        families.append(best)
        letters -= found
    return families, letters


def _found(path: str, letters: frozenset[str]) -> frozenset[str]:
    points = _letters(path)
    return frozenset(letter for letter in letters if ord(letter) in points)


@functools.cache
def _letters(path: str) -> frozenset[int]:
    """Code points that a font has; none if it cannot be drawn at any size, as emoji that are stored as pixels."""
    try:
        font = font_manager.get_font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except Exception:  # a damaged font may raise anything
        return frozenset()


@functools.cache
def _note(letters: str) -> None:
    if letters:
        print(f'note: no installed font has {letters}; figures show code points instead; install a font that has '
              'them, such as Noto Sans CJK', file=sys.stderr)
