"""Copy the option files and small weights of the package into a folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from reflash_sr.errors import UserError
from reflash_sr.system.files import atomic_write, relative
from reflash_sr.system.run_command import run_command
from reflash_sr.system.shipped_files import shipped_files


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``reflash-sr options DIR``; returns the exit status."""
    parser = argparse.ArgumentParser(
        description='Copy the option files of reflash-sr to DIR and its small trained networks to DIR/weights. '
        'Existing files are kept; if one differs, nothing is copied.')
    parser.add_argument('folder', metavar='DIR', help='folder for the copies; created if it does not exist')
    args = parser.parse_args(argv)
    return run_command(lambda: print(copy_options(args.folder)), 'options')


def copy_options(folder: str) -> str:
    """Copy the shipped files: option files into ``folder``, weights into ``weights`` inside; returns a line to print.

    Raises:
        UserError: A file of the same name with other content exists; nothing was written.
    """
    out = Path(folder).expanduser()
    targets = {out / ('weights' if path.suffix == '.pth' else '') / path.name: path for path in shipped_files()}
    for target in (target for target, path in targets.items() if target.exists()):
        if not target.is_file() or target.read_bytes() != targets[target].read_bytes():
            raise UserError(f'{target}: exists and differs from the shipped file; rename it, or give another folder')
    new = [target for target in targets if not target.exists()]
    for target in new:
        with atomic_write(target) as file:
            file.write(targets[target].read_bytes())
    return f'{len(new)} files written to {relative(out)}, {len(targets) - len(new)} were there'
