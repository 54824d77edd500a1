"""The tables and figures of a page of results, from those results: python tools/build_evidence.py docs/evidence.md"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'docs' / 'evidence' / 'builder'))

from build_page import TOOL, build

from reflash_sr.system.files import relative
from reflash_sr.system.run_command import run_command


def main() -> int:
    parser = argparse.ArgumentParser(
        description='Compare the evaluations that lie in PAGE/STUDY/at_* beside PAGE.md anew (PAGE/STUDY/gains: tables '
        'and figures), gather what ablation, saliency and clusters found (PAGE/STUDY/inside), and fill the tables of '
        'the page. What is there already is replaced.')
    parser.add_argument('page', nargs='?', default='docs/evidence.md', metavar='PAGE.md',
                        help='Markdown file (default: docs/evidence.md)')
    args = parser.parse_args()

    def work() -> None:
        written, lacking = build(args.page)
        print(*lacking, *(f'written: {relative(path)}' for path in written), sep='\n')

    return run_command(work, TOOL)


if __name__ == '__main__':
    raise SystemExit(main())
