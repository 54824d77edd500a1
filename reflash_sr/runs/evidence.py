"""A page of results that cannot drift from them: its tables are copied from files that lie beside it.

Beside ``PAGE.md`` lies the folder ``PAGE``, with a folder for each study: evaluations ``at_*``, which
``tools/evaluate_degradations.py`` wrote, and in ``inside/seed*`` what the tools that look inside wrote.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from reflash_sr.errors import UserError
from reflash_sr.files import atomic_write, relative
from reflash_sr.results import read_summary
from reflash_sr.runs.inside import gather
from reflash_sr.runs.seeds import TOOL as COMPARES
from reflash_sr.runs.seeds import compare

TOOL = 'build_evidence'
GAINS, INSIDE = 'gains', 'inside'
MARK = re.compile(r"<!-- from (?P<file>\S+), table (?P<number>[1-9]\d*)(?:, rows with '(?P<rows>[^']+)')? -->\n"
                  r'(?:\n+(?:\*[^*\n]+\*\n\n)?(?:\|.*\n)+)?')  # the caption and the table that stand there so far
BEGINS = '<!-- from'
TABLE = re.compile(r'(?:^(?P<caption>[^|\n]+)\n\n)?(?P<table>(?:^\|.*\n)+)', re.MULTILINE)
HEAD = 2  # lines of a Markdown table before its rows


def build(page: str | os.PathLike) -> list[Path]:
    """Compare the evaluations of each study anew, gather what is inside, and fill the page's tables.

    A table of the page stands below a line such as ``<!-- from usm/gains/gains.md, table 1, rows with 'mean of' -->``,
    with its caption, the line above it in its file.

    Args:
        page: Markdown file.

    Returns:
        What was written.

    Raises:
        UserError: The page or its studies are not there, a table that it names is not, or results do not fit together.
    """
    page = Path(page)
    try:
        text = page.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{page}: cannot be read; give a Markdown file, such as docs/evidence.md') from error
    folder = page.with_suffix('')
    studies = sorted({path.parent for path in folder.glob('*/at_*')})
    if not studies:
        raise UserError(f'{folder}: holds no STUDY/at_*; put results of tools/evaluate_degradations.py there')
    marks = [line for line in text.splitlines() if line.startswith(BEGINS)]
    odd = next((line for line in marks if not MARK.match(f'{line}\n')), None)
    if odd is not None or not marks:
        raise UserError(f'{page}: {odd or "holds no mark of a table"}; write marks like '
                        '<!-- from STUDY/gains/gains.md, table 1 -->')
    written = []
    for study in studies:
        written.append(_compare(study))
        if (study / INSIDE).is_dir():
            written.append(gather(study / INSIDE))
    filled = MARK.sub(lambda match: _filled(match, folder, page), text)
    if filled != text:
        with atomic_write(page, 'w') as file:
            file.write(filled)
    return [*written, page]


def _compare(study: Path) -> Path:
    """Put new gains in the place of the old ones, once they are complete."""
    if (study / GAINS).exists() and read_summary(study / GAINS).get('tool') != COMPARES:
        raise UserError(f'{study / GAINS}: holds something else than results of tools/{COMPARES}.py; move it away')
    with tempfile.TemporaryDirectory(dir=study, prefix='.new_') as scratch:
        made, _ = compare(sorted(study.glob('at_*')), Path(scratch, GAINS))
        if (study / GAINS).exists():
            (study / GAINS).rename(Path(scratch, 'old'))
        return Path(shutil.move(made.path, study / GAINS))


def _filled(match: re.Match, folder: Path, page: Path) -> str:
    where = f"{page}: {match[0].splitlines()[0]}"
    try:
        found = TABLE.findall((folder / match['file']).read_text(encoding='utf-8'))
        caption, table = found[int(match['number']) - 1]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise UserError(f'{where}: there is no such table below {relative(folder)}; name one that is there') from error
    lines = table.splitlines()
    rows = [line for line in lines[HEAD:] if (match['rows'] or '') in line]
    if not rows:
        raise UserError(f'{where}: no row of that table holds these words')
    mark = match[0].splitlines()[0]
    return '\n'.join([mark, '', *([f'*{caption}*', ''] if caption else []), *lines[:HEAD], *rows]) + '\n'
