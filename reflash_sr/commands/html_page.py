"""One self-contained HTML page: images inside it, no script, readable on a phone. Its look is in report.html.j2."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        head: Column titles.
        rows: Texts.
        text_columns: Number of columns with text, from the left; the others hold numbers.
        marked: (row, column) of highlighted cells.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    marked: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A PNG file, embedded in the page."""

    path: Path
    caption: str

    @property
    def data(self) -> str:
        """The file in base64."""
        return base64.b64encode(self.path.read_bytes()).decode('ascii')


@dataclass(frozen=True)
class Details:
    """Plain values under a title that opens at a click."""

    title: str
    values: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The values as JSON."""
        return json.dumps(self.values, indent=2, ensure_ascii=False, default=str)


@dataclass(frozen=True)
class Section:
    """A heading, and below it paragraphs (text), tables, images, details."""

    title: str
    parts: Sequence[str | Table | Figure | Details]


def render(title: str, sections: Sequence[Section]) -> str:
    """Write the page: links to all sections, then the sections. Every text is escaped; nothing is loaded from outside.

    Args:
        title: Title of the page.
        sections: Its sections, in order.

    Returns:
        HTML.
    """
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)
    return environment.get_template('report.html.j2').render(title=title, sections=sections)
