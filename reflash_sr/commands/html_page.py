"""One HTML page that needs nothing else: images inside it, no script, readable on a phone."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STYLE = '''
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1080px; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b;
  background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-top: 1px solid #ddd; padding-top: 1rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e4e4e4; }
th { background: #f6f6f6; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
td.marked { font-weight: 700; color: #b3261e; }
figure { margin: 1rem 0; } figcaption { font-size: .85rem; color: #555; }
img { max-width: 100%; height: auto; }
figure { overflow-x: auto; } figure img { min-width: 640px; }
pre { overflow-x: auto; background: #f6f6f6; padding: .6rem; font-size: .8rem; }
summary { cursor: pointer; padding: .3rem 0; }
'''


@dataclass(frozen=True)
class Table:
    """A table; cells may be marked.

    Attributes:
        head: Column titles.
        rows: Texts.
        text_columns: How many columns from the left hold text; the others hold numbers.
        marked: (row, column) of marked cells.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    marked: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A PNG file, put into the page."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Details:
    """Plain values behind a line that opens at a click."""

    title: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: paragraphs as text, tables, images, details."""

    title: str
    parts: Sequence[str | Table | Figure | Details]


def render(title: str, sections: Sequence[Section]) -> str:
    """Write the page.

    Args:
        title: Its title.
        sections: Its sections; a list of links to them stands at the top.

    Returns:
        HTML. Every text is escaped; nothing is loaded from elsewhere.
    """
    links = ''.join(f'<a href="#s{number}">{html.escape(section.title)}</a>'
                    for number, section in enumerate(sections))
    body = ''.join(f'<section id="s{number}"><h2>{html.escape(section.title)}</h2>'
                   f"{''.join(_part(part) for part in section.parts)}</section>\n"
                   for number, section in enumerate(sections))
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n'
            f'<body><h1>{html.escape(title)}</h1><nav>{links}</nav>\n{body}</body></html>\n')


def _part(part: str | Table | Figure | Details) -> str:
    return _WRITERS[type(part)](part)


def _paragraph(text: str) -> str:
    return f'<p>{html.escape(text)}</p>\n'


def _table(table: Table) -> str:
    def cells(tag: str, texts: Sequence[str], row: int) -> str:
        written = []
        for column, text in enumerate(texts):
            kinds = ['text'] * (column < table.text_columns) + ['marked'] * ((row, column) in table.marked)
            kind = f' class="{" ".join(kinds)}"' if kinds else ''
            written.append(f'<{tag}{kind}>{html.escape(text)}</{tag}>')
        return f"<tr>{''.join(written)}</tr>"

    rows = ''.join(cells('td', row, number) for number, row in enumerate(table.rows))
    return f'<div class="wide"><table><thead>{cells("th", table.head, -1)}</thead><tbody>{rows}</tbody></table></div>\n'


def _figure(image: Figure) -> str:
    data = base64.b64encode(image.path.read_bytes()).decode('ascii')
    caption = html.escape(image.caption)
    return (f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
            f'<figcaption>{caption}</figcaption></figure>\n')


def _details(details: Details) -> str:
    text = json.dumps(details.values, indent=2, ensure_ascii=False, default=str)
    return f'<details><summary>{html.escape(details.title)}</summary><pre>{html.escape(text)}</pre></details>\n'


_WRITERS = {str: _paragraph, Table: _table, Figure: _figure, Details: _details}
