"""A page of results that cannot drift from them: its tables are copied from files that lie beside it.

Beside ``PAGE.md`` lies the folder ``PAGE``, with a folder for each study: evaluations ``at_*``, which
``tools/evaluate_degradations.py`` wrote, and in ``inside/seed*`` what the tools that look inside wrote.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from gather_inside import gather

from reflash_sr.commands.compare_seeds import TOOL as COMPARES
from reflash_sr.commands.compare_seeds import compare
from reflash_sr.errors import UserError
from reflash_sr.system.files import atomic_write, relative
from reflash_sr.system.result_folder import read_summary

TOOL = 'build_evidence'
GAINS, INSIDE = 'gains', 'inside'
MARK = re.compile(r"<!-- from (?P<file>\S+), table (?P<number>[1-9]\d*)(?:, rows with '(?P<rows>[^']+)')? -->\n"
                  r'(?:\n+(?:\*[^*\n]+\*\n\n)?(?:\|.*\n)+)?')  # the caption and the table that stand there so far
BEGINS = re.compile(r'\s*<!--\s*from\b')
TABLE = re.compile(r'(?:^(?P<caption>[^|\n]+)\n\n)?(?P<table>(?:^\|.*\n)+)', re.MULTILINE)
HEAD = 2  # lines of a Markdown table before its rows


def build(page: str | os.PathLike) -> tuple[list[Path], list[str]]:
    """Compare the evaluations of each study anew, gather what is inside, and fill the page's tables.

    A table of the page stands below a line such as ``<!-- from usm/gains/gains.md, table 1, rows with 'mean of' -->``,
    with its caption, the line above it in its file. Nothing is replaced before everything is made.

    Args:
        page: Markdown file.

    Returns:
        What was written; and what the studies lack, to be printed.

    Raises:
        UserError: The page or its studies are not there, a table that it names is not, or results do not fit together.
    """
    page = Path(page)
    try:
        raw = page.read_bytes().decode('utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{page}: cannot be read; give a Markdown file, such as docs/evidence.md') from error
    text = raw.replace('\r\n', '\n').rstrip('\n') + '\n'
    folder = page.with_suffix('')
    studies = _studies(folder)
    marks = [line for line in text.splitlines() if BEGINS.match(line)]
    odd = next((line for line in marks if not MARK.match(f'{line}\n')), None)
    if odd is not None or not marks:
        raise UserError(f'{page}: {odd or "holds no mark of a table"}; write marks like '
                        '<!-- from STUDY/gains/gains.md, table 1 -->')
    if not os.access(page.resolve().parent, os.W_OK):
        raise UserError(f'{page}: its folder cannot be written; change its permissions')
    lacking = []
    with contextlib.ExitStack() as stack:
        scratch = {study: Path(stack.enter_context(tempfile.TemporaryDirectory(dir=study, prefix='.new_')))
                   for study in studies}  # beside what they replace: on its disk, and writable as it is
        for study, new in scratch.items():
            made, _ = compare(sorted(study.glob('at_*')), new / GAINS)
            lacking += [f'{study.name}: {line}' for line in read_summary(made.path)['missing']]
            if (study / INSIDE).is_dir():
                gather(study / INSIDE, new / INSIDE, _evaluated(study))
        made_of = {study.name: new for study, new in scratch.items()}
        filled = MARK.sub(lambda match: _filled(match, made_of, folder, page), text)
        written = [path for study, new in scratch.items() for path in _put(new, study)]
    filled = filled.replace('\n', '\r\n') if '\r\n' in raw else filled
    if filled != raw:
        with atomic_write(page.resolve()) as file:
            file.write(filled.encode())
    return [*written, page], lacking


def _studies(folder: Path) -> list[Path]:
    """Folders with evaluations; refuses one that has none any more, and gains that are something else."""
    studies = sorted({path.parent for path in folder.glob('*/at_*') if path.parent.name[0] != '.'})
    if not studies:
        raise UserError(f'{folder}: holds no STUDY/at_*; put results of tools/evaluate_degradations.py there')
    for study in sorted({path.parent for name in (GAINS, INSIDE) for path in folder.glob(f'*/{name}')}):
        if study.name[0] != '.' and study not in studies:
            raise UserError(f'{study}: holds no at_*, from which its tables could be made; put results of '
                            'tools/evaluate_degradations.py there, or move it away')
    for study in studies:
        if os.path.lexists(study / GAINS) and read_summary(study / GAINS).get('tool') != COMPARES:
            raise UserError(f'{study / GAINS}: holds something else than results of tools/{COMPARES}.py; move it away')
    return studies


def _evaluated(study: Path) -> set[str]:
    """Checksums of the weights files of a study's evaluations, which were read before."""
    return {one['sha256'] for path in study.glob('at_*') for one in read_summary(path)['settings']['networks']}


def _put(made: Path, study: Path) -> list[Path]:
    """Put what is complete in the place of the old."""
    gains, old = study / GAINS, made / 'old'
    if gains.exists():
        gains.rename(old)
    try:
        (made / GAINS).rename(gains)
    except BaseException:
        if old.exists():
            old.rename(gains)
        raise
    if not (made / INSIDE).is_dir():
        return [study / GAINS]
    for path in sorted((made / INSIDE).iterdir()):
        path.replace(study / INSIDE / path.name)
    return [study / GAINS, study / INSIDE]


def _filled(match: re.Match, new: Mapping[str, Path], folder: Path, page: Path) -> str:
    where = f"{page}: {match[0].splitlines()[0]}"
    try:
        study, _, inner = match['file'].partition('/')
        path = new[study] / inner if study in new and (new[study] / inner).is_file() else folder / match['file']
        caption, table = TABLE.findall(path.read_text(encoding='utf-8'))[int(match['number']) - 1]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise UserError(f'{where}: there is no such table below {relative(folder)}; name one that is there') from error
    lines = table.splitlines()
    rows = [line for line in lines[HEAD:] if (match['rows'] or '') in line]
    if not rows:
        raise UserError(f'{where}: no row of that table holds these words')
    mark = match[0].splitlines()[0]
    return '\n'.join([mark, '', *([f'*{caption}*', ''] if caption else []), *lines[:HEAD], *rows]) + '\n'
