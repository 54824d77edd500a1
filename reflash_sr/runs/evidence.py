"""A page of results that cannot drift from them: its tables are copied from files that lie beside it.

Beside ``PAGE.md`` lies the folder ``PAGE``, with a folder for each study: evaluations ``at_*``, which
``tools/evaluate_degradations.py`` wrote, and in ``inside/seed*`` what the tools that look inside wrote.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reflash_sr.errors import UserError
from reflash_sr.files import atomic_write, relative
from reflash_sr.results import SUMMARY
from reflash_sr.runs.seeds import TOOL as COMPARES
from reflash_sr.runs.seeds import compare

TOOL = 'build_evidence'
GAINS, INSIDE = 'gains', 'inside'
MARK = re.compile(r"<!-- from (?P<file>\S+), table (?P<number>[1-9]\d*)(?:, rows with '(?P<rows>[^']+)')? -->\n"
                  r'(?:\n+(?:\|.*\n)+)?')  # the table that stands there so far
TABLE = re.compile(r'(?:^\|.*\n)+', re.MULTILINE)
HEAD = 2  # lines of a Markdown table before its rows
COLUMNS = {  # of the table of what is inside: tool, key of its summary, decimals
    'PSNR, dB': ('ablation', 'psnr_db', 2),
    'Gini of drops': ('ablation', 'gini', 2),
    'largest drop, dB': ('ablation', 'largest_drop_db', 2),
    'may go, in index order': ('ablation', 'share_1db/index', 2),
    'may go, in random order': ('ablation', 'share_1db/random', 2),
    'saliency in 8 channels': ('saliency', 'share_of_8', 2),
    'CHI (t-SNE)': ('clusters', 'chi', 1),
    '± std': ('clusters', 'chi_std', 1),
    'CHI (PCA)': ('clusters', 'chi_pca', 2),
}


def build(page: str | os.PathLike) -> list[Path]:
    """Compare the evaluations of each study anew, gather what is inside, and fill the page's tables.

    A table of the page stands below a line such as ``<!-- from usm/gains/gains.md, table 1, rows with 'mean of' -->``.

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
    written = []
    for study in studies:
        written.append(_compare(study))
        if (study / INSIDE).is_dir():
            written.append(study / INSIDE / 'inside.md')
            with atomic_write(written[-1], 'w') as file:
                file.write(_inside(study / INSIDE))
    filled = MARK.sub(lambda match: _filled(match, folder, page), text)
    if filled != text:
        with atomic_write(page, 'w') as file:
            file.write(filled)
    return [*written, page]


def _compare(study: Path) -> Path:
    """Put new gains in the place of the old ones, once they are complete."""
    if (study / GAINS).exists() and _summary(study / GAINS).get('tool') != COMPARES:
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
        lines = found[int(match['number']) - 1].splitlines()
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise UserError(f'{where}: there is no such table below {relative(folder)}; name one that is there') from error
    rows = [line for line in lines[HEAD:] if (match['rows'] or '') in line]
    if not rows:
        raise UserError(f'{where}: no row of that table holds these words')
    mark = match[0].splitlines()[0]
    return '\n'.join([mark, '', *lines[:HEAD], *rows]) + '\n'


# ---------------------------------------------------------------------- what is inside


def _inside(folder: Path) -> str:
    """A table: what ablation, saliency and clusters say of every network, by p and seed."""
    rows = []
    for seed in sorted(folder.glob('seed*')):
        found = {tool: _by_p(seed / tool) for tool in dict.fromkeys(tool for tool, _, _ in COLUMNS.values())}
        for p in sorted(set().union(*found.values())):
            values = [_value(found[tool].get(p, {}), key, decimals) for tool, key, decimals in COLUMNS.values()]
            rows.append([f'{p:g}', seed.name.removeprefix('seed'), *values])
    lines = [['p', 'seed', *COLUMNS], ['---:'] * (2 + len(COLUMNS)), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'


def _by_p(folder: Path) -> dict[float, Mapping[str, Any]]:
    try:
        summary = _summary(folder)
        by_label = {one['label']: one['dropout_p'] for one in summary['settings']['networks']}
        return {by_label[one['label']]: one.get('layers', [one])[0] for one in summary['models']}
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(f'{folder}: holds no such results; let the tool write into it, with --out') from error


def _summary(folder: Path) -> Mapping[str, Any]:
    """What a folder of results says of itself; nothing where it holds none."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def _value(found: Mapping[str, Any], key: str, decimals: int) -> str:
    value: Any = found
    for part in key.split('/'):
        value = (value or {}).get(part)
    return '–' if value is None else f'{value:.{decimals}f}'
