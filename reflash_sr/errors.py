"""Errors that a user can act upon: one line, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave: the message says what is wrong, where, and what to do instead.

    The command line prints the message as one line and exits with ``exit_status``.
    """

    exit_status = 2

    def __init__(self, message: str):
        # A DataLoader worker raises its error again, with its traceback in front of the message.
        if message.startswith('Caught ') and 'Original Traceback' in message:
            message = message.rsplit(f'{type(self).__name__}: ', 1)[-1]
        # A file name may hold characters that move a terminal's cursor, or that cannot be written to a log.
        super().__init__(''.join(c if c.isprintable() else c.encode('unicode_escape').decode()
                                 for c in ' '.join(message.split())))


class RunError(UserError):
    """A run that had to stop for a reason that is not in its input, such as a loss that is not finite."""

    exit_status = 1


def suggest(name: object, known: Iterable[str]) -> str:
    """Name the known word that is nearest to a misspelt one.

    Args:
        name: What was written.
        known: The words that would have been right.

    Returns:
        ``"; did you mean 'x'?"``, or the first 12 known words if none is near.
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f'; known: {", ".join(known[:12])}{", …" if len(known) > 12 else ""}' if known else ''
