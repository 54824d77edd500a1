"""Fills the tables of a page of results from the result files beside it, so that the page always matches them.

Beside ``PAGE.md`` is the folder ``PAGE``, with a folder for each study: ``at_*`` holds evaluations by
``tools/evaluate_degradations.py``, ``inside/seed*`` holds results of the ablation, saliency and cluster tools.
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
MARK = re.compile(r"<!-- from (?P<file>\S+), table (?P<number>[1-9]\d*)(?:, rows with '(?P<rows>[^']+)')?"
                  r"(?:, rows without '(?P<others>[^']+)')? -->\n"
                  r'(?:\n+(?:\*[^*\n]+\*\n\n)?(?:\|.*\n)+)?')  # with the present caption and table
PRESETS = re.compile(r'^<!-- presets of (\S+): (\S+) -->$', re.MULTILINE)
BEGINS = re.compile(r'\s*<!--\s*from\b')
TABLE = re.compile(r'(?:^(?P<caption>[^|\n]+)\n\n)?(?P<table>(?:^\|.*\n)+)', re.MULTILINE)


def build(page: str | os.PathLike) -> tuple[list[Path], list[str]]:
    """Compare the evaluations of each study again, gather its results in ``inside``, and fill the page's tables.

    A table of the page is below a line such as ``<!-- from usm/gains/gains.md, table 1, rows with 'mean of' -->`` (or
    ``rows without``, or both), with its caption: the line above it in its file. A study of presets is named in a line
    such as ``<!-- presets of successors: ../options/study_successors.yml -->``. Nothing is replaced until everything is
    computed.

    Args:
        page: Markdown file.

    Returns:
        The files and folders that were written; and lines about what the studies lack.

    Raises:
        UserError: The page, its studies or a table that it names do not exist, or results do not belong together.
    """
    page = Path(page)
    try:
        raw = page.read_bytes().decode('utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{page}: cannot be read; give a Markdown file, such as docs/evidence.md') from error
    text = raw.replace('\r\n', '\n').rstrip('\n') + '\n'
    studies = _studies(page.with_suffix(''))
    presets = dict(PRESETS.findall(text))
    marks = [line for line in text.splitlines() if BEGINS.match(line)]
    odd = next((line for line in marks if not MARK.match(f'{line}\n')), None)
    if odd is not None or not marks:
        raise UserError(f'{page}: {odd or "holds no mark of a table"}; write marks like '
                        '<!-- from STUDY/gains/gains.md, table 1 -->')
    if not os.access(page.resolve().parent, os.W_OK):
        raise UserError(f'{page}: its folder cannot be written; change its permissions')
    missing: list[str] = []
    new: dict[str, Path] = {}
    with contextlib.ExitStack() as stack:
        for study in studies:  # new results are beside the old ones: on the same disk
            made = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=study, prefix='.new_')))
            evaluations, new[study.name] = sorted(study.glob('at_*')), made
            gains, _ = compare(evaluations, made / GAINS,
                               study=page.parent / presets[study.name] if study.name in presets else None)
            missing += [f'{study.name}: {line}' for line in read_summary(gains.path)['missing']]
            if (study / INSIDE).is_dir():
                known = {one['sha256'] for path in evaluations for one in read_summary(path)['settings']['networks']}
                gather(study / INSIDE, made / INSIDE, known)
        filled = MARK.sub(lambda match: _filled(match, new, page), text)
        written = [path for study in studies for path in _replace(study, new[study.name])]
    filled = filled.replace('\n', '\r\n') if '\r\n' in raw else filled
    if filled != raw:
        with atomic_write(page.resolve()) as file:
            file.write(filled.encode())
    return [*written, page], missing


def _studies(folder: Path) -> list[Path]:
    """Folders with evaluations; refuses one that has lost them, and a folder ``gains`` with other contents."""
    studies = sorted({path.parent for path in folder.glob('*/at_*') if path.parent.name[0] != '.'})
    if not studies:
        raise UserError(f'{folder}: holds no STUDY/at_*; put results of tools/evaluate_degradations.py there')
    for study in sorted({path.parent for name in (GAINS, INSIDE) for path in folder.glob(f'*/{name}')}):
        if study.name[0] != '.' and study not in studies:
            raise UserError(f'{study}: holds no at_* to make its tables from; put results of '
                            'tools/evaluate_degradations.py there, or move it away')
    for gains in (study / GAINS for study in studies):
        if os.path.lexists(gains) and read_summary(gains).get('tool') != COMPARES:
            raise UserError(f'{gains}: holds other files than results of tools/{COMPARES}.py; move it away')
    return studies


def _replace(study: Path, new: Path) -> list[Path]:
    """Put new, complete results in the place of the old ones."""
    gains, old = study / GAINS, new / 'old'
    if gains.exists():
        gains.rename(old)
    try:
        (new / GAINS).rename(gains)
    except BaseException:
        if old.exists():
            old.rename(gains)
        raise
    if not (new / INSIDE).is_dir():
        return [gains]
    for path in sorted((new / INSIDE).iterdir()):
        path.replace(study / INSIDE / path.name)
    return [gains, study / INSIDE]


def _filled(match: re.Match, new: Mapping[str, Path], page: Path) -> str:
    """A mark with its caption and table; ``new`` holds the new results of each study."""
    mark, folder = match[0].splitlines()[0], page.with_suffix('')
    study, _, inner = match['file'].partition('/')
    try:
        path = new[study] / inner if study in new and (new[study] / inner).is_file() else folder / match['file']
        caption, table = TABLE.findall(path.read_text(encoding='utf-8'))[int(match['number']) - 1]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise UserError(f'{page}: {mark}: there is no such table below {relative(folder)}; name an existing one'
                        ) from error
    head, line, *rows = table.splitlines()
    rows = [row for row in rows if (match['rows'] or '') in row and not (match['others'] and match['others'] in row)]
    if not rows:
        raise UserError(f'{page}: {mark}: no row of that table holds these words')
    return '\n'.join([mark, '', *([f'*{caption}*', ''] if caption else []), head, line, *rows]) + '\n'
