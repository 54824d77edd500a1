"""One self-contained HTML page with embedded images, without scripts; its template is report.html.j2."""

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
    """Values under a title; a click shows them."""

    title: str
    values: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The values as JSON."""
        return json.dumps(self.values, indent=2, ensure_ascii=False, default=str)


@dataclass(frozen=True)
class Section:
    """A heading, followed by paragraphs (text), tables, figures and details."""

    title: str
    parts: Sequence[str | Table | Figure | Details]


def render(title: str, sections: Sequence[Section]) -> str:
    """Return the page as HTML: links to all sections, then the sections. All text is escaped."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)
    return environment.get_template('report.html.j2').render(title=title, sections=sections)
